"""Trains the starter detector from scratch and writes `starter.onnx` (see MODEL_CARD.md).

    python -m inference.starter.train --data ../shared/data --hours 1.25

On a CPU the forward pass runs in bfloat16, which is 2 to 2.6 times faster on processors with AMX.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

from inference.starter import dataset

HERE = Path(__file__).parent


class CpuBf16Model(DetectionModel):
    """YOLO whose layers run under bfloat16 autocast on the CPU; outputs, loss and weights stay float32."""

    def _predict_once(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=x.device.type == "cpu" and self.training):
            return _float32(super()._predict_once(x, *args, **kwargs))


def _float32(value: Any) -> Any:
    if torch.is_tensor(value):
        return value.float()
    if isinstance(value, dict):
        return {key: _float32(item) for key, item in value.items()}
    return [_float32(item) for item in value] if isinstance(value, list) else value


class StarterTrainer(DetectionTrainer):
    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> DetectionModel:
        model = CpuBf16Model(cfg, nc=self.data["nc"], ch=3, verbose=verbose)
        if weights is not None:
            model.load(weights)
        return model


def store_weights_as_fp16(path: Path) -> None:
    """Halves the file: large weights are kept in float16 with a Cast that runtimes fold away at load."""
    model = onnx.load(str(path))
    casts = []
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if weight.data_type == TensorProto.FLOAT and array.size >= 256:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(array.astype("float16"), name + "_fp16"))
            casts.append(helper.make_node("Cast", [name + "_fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with weights/, videos/ and images/")
    parser.add_argument("--work", type=Path, default=Path(".starter"), help="pictures and checkpoints go here")
    parser.add_argument("--hours", type=float, default=1.25)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "starter.onnx")
    args = parser.parse_args()

    teacher = dataset.Teacher(args.data / "weights/yolov8n.pt")
    sources = dataset.training_sources(args.data)
    bank = dataset.object_bank(sources, teacher)
    print({dataset.NAMES[index]: len(objects) for index, objects in bank.items()}, flush=True)
    dataset.write_split(args.work, "train", dataset.compose(sources, bank, args.images, seed=1), teacher)
    held_out = {s.name: dataset.write_split(args.work, s.name, s.images, teacher) for s in
                dataset.held_out_sources(args.data)}  # fmt: skip

    run = YOLO(str(HERE / "starter.yaml"), task="detect")
    run.train(
        trainer=StarterTrainer, data=str(held_out["car-park"]), time=args.hours, epochs=100, imgsz=416, batch=32,
        device=args.device, workers=0, cache="ram", optimizer="AdamW", lr0=0.002, cos_lr=True, warmup_epochs=1,
        weight_decay=0.02, close_mosaic=8, degrees=3, translate=0.1, scale=0.5, mixup=0.05, erasing=0.0, amp=False,
        val=False, plots=False, project=str(args.work.resolve()), name="run", exist_ok=True, verbose=False,
    )  # fmt: skip
    best = YOLO(str(args.work / "run/weights/last.pt"))
    exported = Path(best.export(format="onnx", imgsz=416, dynamic=True, simplify=True, opset=17))
    store_weights_as_fp16(exported)
    args.out.write_bytes(exported.read_bytes())

    report = {}
    for name, spec in held_out.items():
        metrics = best.val(data=str(spec), imgsz=640, conf=0.25, device="cpu", plots=False, workers=0)
        report[name] = {"precision": metrics.box.mp, "recall": metrics.box.mr, "mAP50": metrics.box.map50}
    (args.work / "report.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
