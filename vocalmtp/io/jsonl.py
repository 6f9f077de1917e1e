"""Rows with an id as JSON lines, so that what was interrupted goes on."""

import json
import math
from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path

Row = dict[str, Any]


class JsonlStore:
    """A JSONL file of rows with an `id`; what is appended is on disk at once.

    Raises InputError if the file holds anything else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.exists():
            try:
                self._read()
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputError(
                    f"output '{path}': is damaged; delete it to start anew", code="damaged"
                ) from error

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        # A line cut by an interruption is dropped; its row is simply made again.
        whole, _, cut = text.rpartition("\n")
        for line in whole.splitlines():
            row = json.loads(line)
            self.rows[row["id"]] = row
        if cut:
            with atomic_path(self.path) as partial:
                partial.write_text(whole + "\n" if whole else "", encoding="utf-8")

    def get(self, item_id: str) -> Row | None:
        """The latest row of an id, or None."""
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
