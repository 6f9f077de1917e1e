"""What a unit of a grid (a tokenizer, a cell) was begun with, so that two never share a folder."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import read_object

FILE = "settings.json"


def check_begun(folder: Path, what: str, settings: Mapping[str, Any]) -> None:
    """Raise InputError if `what` was begun in `folder` with other settings."""
    if not (folder / FILE).is_file():
        return
    before = dict(_flat(read_object(folder / FILE, f"{what}: '{folder}'")))
    now = dict(_flat(json.loads(json.dumps(settings))))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise InputError(
                f"{what}: was begun with {key} {before.get(key)!r}, not {now.get(key)!r}; delete "
                f"'{folder}' to begin it anew, or choose another --output",
                code="other_run",
            )


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make `folder` and note its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / FILE) as partial:
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def drop(folder: Path) -> None:
    """Remove what a finished training no longer needs."""
    shutil.rmtree(folder, ignore_errors=True)


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
