"""Boxes from a YOLO head's raw output, on the device that computed it: what `heads/yolo.py` does, for a whole batch.

Every step has a fixed size and none asks the host, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import torch

# Most candidates of a picture that are sorted out on the device; the overlaps of a batch of 32 are 8 million numbers.
CANDIDATES = 512
# Which boxes go depends on which better ones stay, and so on; this many links of such a chain are followed.
ROUNDS = 10


class YoloDecoder:
    """Constructed for `classes` classes, of which `class_ids` are wanted (None: all), reporting at most `limit`."""

    def __init__(
        self, confidence: float, iou: float, class_ids: list[int] | None, classes: int, limit: int, device: torch.device
    ) -> None:
        self._confidence = confidence
        self._iou = iou
        self._limit = limit
        self._wanted: torch.Tensor | None = None
        if class_ids is not None:
            self._wanted = torch.zeros(classes, dtype=torch.bool, device=device)
            self._wanted[class_ids] = True

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """float32 [batch, 1 + most boxes, 6] from a raw output, float32 [batch, 4 + classes, anchors].

        The first row says how many boxes there are, and 1 where they are what the head would give, or 0 where the
        picture was too crowded to know. The others are x1, y1, x2, y2 in input pixels, score and class id, best first.
        """
        best, class_ids = output[:, 4:].max(1)
        good = best > self._confidence
        if self._wanted is not None:
            good &= self._wanted[class_ids]
        scores, at = best.masked_fill(~good, -1.0).topk(min(CANDIDATES, best.shape[1]), 1)
        class_ids = class_ids.gather(1, at)
        places = output[:, :4].gather(2, at[:, None].expand(-1, 4, -1))
        centre, half = places[:, :2], places[:, 2:] * 0.5
        boxes = torch.cat([centre - half, centre + half], 1)
        kept, settled = best_of_overlapping(boxes, class_ids, scores > self._confidence, self._iou)
        number = kept.cumsum(1)
        kept &= number <= self._limit
        rows = torch.cat([boxes.transpose(1, 2), scores[..., None], class_ids[..., None].to(scores.dtype)], 2)
        # The nth box that stays goes to row n, the others to row 0, which is written over.
        out = rows.new_zeros(len(rows), 1 + min(self._limit, rows.shape[1]), 6)
        out.scatter_(1, (number * kept)[..., None].expand(-1, -1, 6), rows)
        out[:, 0] = 0
        out[:, 0, 0] = kept.sum(1)
        out[:, 0, 1] = settled & (good.sum(1) <= rows.shape[1])
        return out


def best_of_overlapping(
    boxes: torch.Tensor, class_ids: torch.Tensor, candidates: torch.Tensor, iou: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy non-maximum suppression of a batch, in parallel: which boxes stay, and whether that is certain.

    A box stays if it is a candidate and overlaps no better one of its class that stays. Started from all candidates and
    repeated, this settles after as many rounds as the longest chain of overlaps has links, and what has settled is the
    greedy result, as the statement has but one solution (by induction from the best box on).

    Args:
        boxes: [batch, 4, N] xyxy, best first.
        class_ids: [batch, N].
        candidates: bool [batch, N].
        iou: a box that overlaps a better one by more than this goes.

    Returns:
        bool [batch, N] and bool [batch].
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1) * (y2 - y1)
    width = torch.minimum(x2[:, :, None], x2[:, None]) - torch.maximum(x1[:, :, None], x1[:, None])
    height = torch.minimum(y2[:, :, None], y2[:, None]) - torch.maximum(y1[:, :, None], y1[:, None])
    common = width.clamp_(min=0) * height.clamp_(min=0)
    overlap = common > iou * (areas[:, :, None] + areas[:, None] - common)
    overlap &= class_ids[:, :, None] == class_ids[:, None]
    # Counting by a matrix product: [batch, better, worse]; exact, as there are fewer than 2048 boxes.
    links = overlap.triu_(1).to(torch.float16 if boxes.is_cuda else torch.float32)
    kept = before = candidates
    for _ in range(ROUNDS):
        before = kept
        kept = candidates & (torch.bmm(kept.to(links.dtype)[:, None], links)[:, 0] == 0)
    return kept, (kept == before).all(1)
