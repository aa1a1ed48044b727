"""Ultralytics networks with random weights that tell places apart, for tests of what heads make of them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ingest.scene import photo_path


def liven(network: Any) -> None:
    """Normalises the activations of a network by two photographs' and makes the last convolution of each branch of its
    head speak louder; as built, an untrained network says the same of every place."""
    import torch

    pictures = np.stack([cv2.resize(cv2.imread(str(photo_path(n))), (256, 256)) for n in ("bus.jpg", "zidane.jpg")])
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        for branch in ("cv2", "cv3", "cv4"):
            for level in getattr(network.model[-1], branch, ()):
                level[-1].weight.mul_(2)
    network.eval()
