"""The documents as files: `asyncapi.yaml`, and `schemas/<name>.json` for every body and its headers."""

from __future__ import annotations

import json
from pathlib import Path

from publish.contract import asyncapi
from publish.contract.schemas import documents


def files() -> dict[str, str]:
    """Their texts, by their paths in the folder."""
    schemas = {f"schemas/{name}.json": json.dumps(schema, indent=2) + "\n" for name, schema in documents().items()}
    return {"asyncapi.yaml": asyncapi.text(), **schemas}


def write(folder: Path) -> None:
    for path, text in files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
