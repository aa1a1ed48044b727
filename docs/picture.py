"""Draws docs/demo.png: the demo's cameras with what Vigil sees in them, through its own decoder, detector and tracker.

python docs/picture.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import supervision as sv

from inference.config import DetectorConfig
from inference.detections import Detections
from inference.heads import load_head
from inference.letterbox import Letterbox
from inference.model import STARTER
from inference.runtimes import load_runtime
from ingest.config import SourceConfig
from ingest.scene import SCENES, Scene, encoded
from ingest.sources import open_source
from tracking.config import TrackerConfig
from tracking.trackers import new_tracker

HEIGHT_PX = 360
SHOWN_AT = {"street": 0.86, "stage": 0.2, "stop": 0.3}


def picture(scene: Scene, folder: Path) -> np.ndarray:
    """The scene's frame at its moment, annotated, HEIGHT_PX high."""
    config = DetectorConfig(image_size=416, confidence=0.3)
    runtime = load_runtime(STARTER, config)
    head = load_head(runtime.info, 0.1, config.iou, None, config.max_detections)
    tracker = new_tracker(TrackerConfig(), scene.fps)
    last = int(SHOWN_AT[scene.name] * scene.fps * scene.seconds)
    with open_source(SourceConfig(url=str(encoded(scene, folder)))) as source:
        for index, frame in enumerate(source.frames()):
            image = frame.to_ndarray(format="bgr24")
            box = Letterbox.fit(frame.width, frame.height, config.image_size)
            slot = np.empty((box.height, box.width, 3), np.uint8)
            box.apply(image, slot)
            runtime.prepare(box.height, box.width)
            seen_in_slot = head.decode([output[0] for output in runtime.infer([slot])], box.height, box.width)
            found = Detections.in_source(seen_in_slot, box)
            tracks = tracker.update(found, index * 1_000_000_000 // scene.fps)
            if index == last:
                break
    seen = sv.Detections(xyxy=tracks.boxes, class_id=tracks.class_ids, tracker_id=tracks.track_ids)
    labels = [f"{runtime.info.names[c]} {i}" for c, i in zip(tracks.class_ids, tracks.track_ids, strict=True)]
    annotated = sv.BoxAnnotator(thickness=2, color_lookup=sv.ColorLookup.TRACK).annotate(image.copy(), seen)
    annotated = sv.LabelAnnotator(text_scale=0.5, text_padding=4, color_lookup=sv.ColorLookup.TRACK).annotate(
        annotated, seen, labels
    )
    cv2.putText(annotated, scene.name, (10, annotated.shape[0] - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3, 2)
    return cv2.resize(annotated, (round(annotated.shape[1] * HEIGHT_PX / annotated.shape[0]), HEIGHT_PX))


def main() -> None:
    with TemporaryDirectory() as folder:
        pictures = [picture(scene, Path(folder)) for scene in SCENES]
    cv2.imwrite(str(Path(__file__).with_name("demo.png")), np.hstack(pictures), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
