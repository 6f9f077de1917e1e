"""The output folder of a batch: one audio file per item, manifest.jsonl, job.json and a lock.

An item is complete when its row is in the manifest; its audio file, if any, is written before.
Whatever else an interrupted run left (a cut line, a partial file, the row of a failure) is removed
when the folder is opened.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vocalmtp.audio.formats import FORMATS
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path, os_errors
from vocalmtp.io.run_folder import check_settings, only_writer, write_settings

MANIFEST, JOB, REMOVED = "manifest.jsonl", "job.json", ".manifest.old"

FILES = ("audio", "timestamps")  # keys of a row that name files

Row = dict[str, Any]


class OutputFolder:
    """An open output folder, see `open_folder`.

    Attributes:
        completed: number of complete items.
        seconds: duration of their audio.

    """

    def __init__(self, path: Path, lines: int):
        self.path = path
        self.completed, self.seconds = 0, 0.0
        self._lines = bytearray(lines + 1)  # 1 at the line number of every complete item
        self._file: BinaryIO | None = None

    def has(self, line: int) -> bool:
        """Return whether the item on this line of the list is complete."""
        return self._lines[line : line + 1] == b"\1"

    def add(self, row: Row, audio: bytes | None, timestamps: str | None = None) -> None:
        """Write an item's audio and word times, if any, to the files that `row` names; then `row`."""
        times = None if timestamps is None else timestamps.encode()
        for name, content in zip(FILES, (audio, times), strict=True):
            if content is not None:
                with atomic_path(self.path / row[name]) as partial:
                    partial.write_bytes(content)
        assert self._file is not None, "open_folder opens the manifest"
        with os_errors(self.path / MANIFEST):
            self._file.write(_line(row))
            self._file.flush()

    def read(self) -> Iterator[Row]:
        """Yield the rows of complete items, and register them; other rows are skipped."""
        for row in _rows(self.path / MANIFEST):
            line = row.get("line")
            if row.get("status") != "ok" or not isinstance(line, int) or self.has(line):
                continue
            present = all(name not in row or _file(self.path, row, name) for name in FILES)
            if 0 < line < len(self._lines) and present:
                self._lines[line] = 1
                self.completed += 1
                self.seconds += row.get("seconds") or 0.0
                yield row


@contextmanager
def open_folder(
    path: Path, identity: Row, lines: int, overwrite: bool = False
) -> Iterator[OutputFolder]:
    """Lock and clean an output folder; only complete items remain in it.

    Args:
        path: created if necessary.
        identity: everything that the audio depends on, see `Job.identity`.
        lines: number of lines of the list.
        overwrite: remove complete items as well, whatever they were made of.

    Raises:
        InputError: another process holds the folder, or it belongs to something else.

    """
    _check_place(path, overwrite)  # before anything is written there
    with only_writer(path):
        check_folder(path, identity, lines, overwrite)
        _clear(path, overwrite)
        write_settings(path, identity, JOB)
        folder = OutputFolder(path, lines)
        if (path / MANIFEST).exists():
            with atomic_path(path / MANIFEST) as partial, partial.open("wb") as file:
                file.writelines(_line(row) for row in folder.read())
        with (path / MANIFEST).open("ab") as folder._file:
            yield folder


def _check_place(path: Path, overwrite: bool) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"output '{path}': is a file; give a folder", code="invalid_value")
    if overwrite or not path.exists() or (path / JOB).is_file():
        return
    for file in sorted(path.iterdir()):
        if file.name == MANIFEST or file.suffix[1:].lower() in FORMATS:
            raise InputError(
                f"output '{path}': holds {file.name}, which is not of a batch; "
                "choose an empty folder",
                code="other_run",
            )


def check_folder(path: Path, identity: Row, lines: int, overwrite: bool) -> OutputFolder:
    """Read the state of an output folder without changing it.

    Raises InputError if its complete items were made with another `identity`.
    """
    _check_place(path, overwrite)
    folder = OutputFolder(path, lines)
    if overwrite or not (path / JOB).is_file():
        return folder
    for _ in folder.read():
        pass
    if folder.completed:
        check_settings(path, identity, restart="--overwrite", name=JOB)
    return folder


def _clear(path: Path, overwrite: bool) -> None:
    """Remove what an interrupted run left, and complete items if `overwrite` is set."""
    for partial in path.glob(".*.part"):
        partial.unlink()
    if overwrite and (path / MANIFEST).exists():
        (path / MANIFEST).replace(path / REMOVED)
    if (path / REMOVED).exists():  # also if a run was killed while it removed them
        for row in _rows(path / REMOVED):
            for name in FILES:
                if (file := _file(path, row, name)) is not None:
                    file.unlink()
        (path / REMOVED).unlink()


def _file(path: Path, row: Row, key: str) -> Path | None:
    """The file that a row names under `key`, or None if it does not exist."""
    name = row.get(key)
    if not isinstance(name, str) or Path(name).name != name or not (path / name).is_file():
        return None
    return path / name


def _rows(manifest: Path) -> Iterator[Row]:
    """Complete rows of a manifest."""
    if not manifest.is_file():
        return
    with manifest.open("rb") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if line.endswith(b"\n") and isinstance(row, dict):
                yield row


def _line(row: Row) -> bytes:
    # Lone surrogates, which UTF-8 cannot encode, become their JSON escape.
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
