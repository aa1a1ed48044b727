"""Imports what asks for PyTorch without loading it: a second, and a hundred megabytes, for what nobody calls.

BoxMOT's trackers are NumPy; the modules around them have PyTorch's name in their annotations and in ways of calling
them that we do not use. While they are imported, `import torch` gives them a stand-in that loads the real one when
something of it is asked for. Afterwards nothing is left of it but in those modules.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_importing = threading.RLock()


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        with _importing:  # another thread that imports PyTorch meanwhile waits here until its name is free again
            if sys.modules.get("torch") is self:
                raise AttributeError(f"PyTorch's {name} is wanted while what must not load it is imported")
            return getattr(import_module("torch"), name)


@contextmanager
def torch_later() -> Iterator[None]:
    """Within, `import torch` loads nothing, unless it is loaded already."""
    with _importing:
        if "torch" in sys.modules:
            yield
            return
        sys.modules["torch"] = _Later("torch")
        try:
            yield
        finally:
            del sys.modules["torch"]
