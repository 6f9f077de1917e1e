"""The rows of an evaluation: of one setting in a folder, made under a progress bar."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import read_object
from vocalmtp.io.run_folder import Row

T = TypeVar("T")


def check_settings(folder: Path, settings: Row, *, fresh: bool) -> None:
    """Refuse to mix rows of different settings in one folder.

    Args:
        folder: the results; its settings.json holds what the rows were made with.
        settings: what they would be made with now.
        fresh: drop the folder's rows instead of continuing them; those of natural speech stay as
            long as what is said is the same.

    Raises:
        InputError: the folder's rows were made with other settings, or its settings are damaged.
    """
    path = folder / "settings.json"
    before = read_object(path, f"output '{folder}'") if path.exists() else settings
    if fresh:
        of = ("manifest", "list", "data")  # what is said
        same = all(before.get(key) == settings.get(key) for key in of)
        for rows in folder.glob("rows/*.jsonl"):
            if not (same and rows.stem.endswith("-natural")):
                rows.unlink()
    else:
        for key in sorted(settings.keys() | before.keys()):
            if before.get(key) != settings.get(key):
                raise InputError(
                    f"output '{folder}': its rows were made with {key} {before.get(key)!r}, not "
                    f"{settings.get(key)!r}; choose another folder, or --fresh to start again",
                    code="invalid_value",
                )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def progress(values: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Pass `values` on with a progress bar on stderr."""
    from tqdm import tqdm

    yield from tqdm(values, total=total, desc=label, mininterval=1.0, leave=False, unit="utt")
