"""What can go wrong with a model."""

from __future__ import annotations

from ingest.errors import VigilError


class ModelError(VigilError):
    """A model cannot be found, loaded or understood; start-up fails with it."""

    code = "model.failed"
