"""Inference: from model-sized pictures in the ring to boxes in source-frame pixels."""
