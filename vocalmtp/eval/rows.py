"""Results of single utterances as JSON lines, so that an interrupted evaluation goes on."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vocalmtp.errors import InputError

T = TypeVar("T")
Row = dict[str, Any]


class RowFile:
    """A JSONL file of rows with an `id`; what is appended is on disk at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        # A line cut by an interruption is dropped; the utterance is simply measured again.
        whole, _, cut = text.rpartition("\n")
        for line in whole.splitlines():
            row = json.loads(line)
            self.rows[row["id"]] = row
        if cut:
            self.path.write_text(whole + "\n" if whole else "", encoding="utf-8")

    def get(self, item_id: str) -> Row | None:
        """The latest row of an utterance, or None."""
        return self.rows.get(item_id)

    def append(self, row: Row) -> None:
        """Keep a row and write it out; NaN becomes null."""
        clean = {key: _finite(value) for key, value in row.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, ensure_ascii=False) + "\n")
        self.rows[clean["id"]] = clean


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_settings(folder: Path, settings: Row, *, fresh: bool) -> None:
    """Refuse to mix rows of different settings in one folder.

    Args:
        folder: the results; its settings.json holds what the rows were made with.
        settings: what they would be made with now.
        fresh: drop the folder's rows instead of continuing them; those of natural speech stay as
            long as the manifest is the same.

    Raises:
        InputError: the folder's rows were made with other settings.
    """
    path = folder / "settings.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
    if fresh:
        same = before.get("manifest") == settings.get("manifest")
        for rows in folder.glob("rows/*.jsonl"):
            if not (same and rows.stem.endswith("-natural")):
                rows.unlink()
    else:
        for key in sorted(settings.keys() | before.keys()):
            if before.get(key) != settings.get(key):
                raise InputError(
                    f"output '{folder}': its rows were made with {key} {before.get(key)!r}, not "
                    f"{settings.get(key)!r}; choose another folder, or --fresh to start again"
                )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def progress(values: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Pass `values` on with a progress bar on stderr."""
    from tqdm import tqdm

    yield from tqdm(values, total=total, desc=label, mininterval=1.0, leave=False, unit="utt")
