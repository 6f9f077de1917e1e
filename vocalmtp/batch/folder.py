"""The folder that a batch fills: one audio file an item, manifest.jsonl, job.json, and a lock.

An item is done when its row is in the manifest; its audio, if it has some, is there before.
Whatever else a killed run has left (a torn line, a hidden file, a row of a failure) is cleared when
the folder is opened.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vocalmtp.audio.io import FORMATS
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path, told
from vocalmtp.io.run_folder import only_writer

MANIFEST, JOB, OLD = "manifest.jsonl", "job.json", ".manifest.old"

Row = dict[str, Any]


class OutputFolder:
    """An open folder; `open_folder` makes one. `seconds` is the audio of what is done, `done`."""

    def __init__(self, path: Path, lines: int):
        self.path = path
        self.done, self.seconds = 0, 0.0
        self._lines = bytearray(lines + 1)  # 1 for the line of every item that is done
        self._file: BinaryIO | None = None

    def has(self, line: int) -> bool:
        """Whether the item of this line of the list is done."""
        return self._lines[line : line + 1] == b"\1"

    def add(self, row: Row, audio: bytes | None) -> None:
        """Write an item's audio, if it has some, to the file that `row` names; then its row."""
        if audio is not None:
            with atomic_path(self.path / row["audio"]) as partial:
                partial.write_bytes(audio)
        with told(self.path / MANIFEST):
            self._file.write(_line(row))
            self._file.flush()

    def read(self) -> Iterator[Row]:
        """The rows of what is done, which `has` knows from then on; other rows are passed over."""
        for row in _rows(self.path / MANIFEST):
            line = row.get("line")
            if row.get("status") != "ok" or not isinstance(line, int) or self.has(line):
                continue
            there = "audio" not in row or _audio(self.path, row)
            if 0 < line < len(self._lines) and there:
                self._lines[line] = 1
                self.done += 1
                self.seconds += row.get("seconds") or 0.0
                yield row


@contextmanager
def open_folder(
    path: Path, identity: Row, lines: int, overwrite: bool = False
) -> Iterator[OutputFolder]:
    """The folder, for this process alone, with nothing in it but what is done.

    Args:
        identity: what the audio depends on; see `Job.identity`.
        lines: of the list.
        overwrite: remove what is done, whatever it was made of.

    Raises:
        InputError: another process writes there, or the folder holds something else.
    """
    _check_place(path, overwrite)  # before anything is written there
    with only_writer(path):
        check_folder(path, identity, lines, overwrite)
        _clear(path, overwrite)
        with atomic_path(path / JOB) as partial:
            partial.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
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
                f"output '{path}': holds {file.name}, which is no batch's; choose an empty folder",
                code="other_run",
            )


def check_folder(path: Path, identity: Row, lines: int, overwrite: bool) -> OutputFolder:
    """The folder as it is, for reading; raises InputError if `identity` cannot go on there."""
    _check_place(path, overwrite)
    folder = OutputFolder(path, lines)
    if overwrite or not (path / JOB).is_file():
        return folder
    for _ in folder.read():
        pass
    try:
        before = json.loads((path / JOB).read_text(encoding="utf-8"))
        changed = [key for key in identity if before.get(key) != identity[key]]
    except (ValueError, AttributeError):
        before, changed = {}, list(identity)
    if changed and folder.done:
        raise InputError(
            f"output '{path}': {_difference(changed[0], before, identity)}; go on with that one, "
            "choose another folder, or start anew with --overwrite",
            code="other_run",
        )
    return folder


def _difference(key: str, before: Row, now: Row) -> str:
    if key in ("list", "model"):
        return f"was made with another {key}"
    return f"was made with {key} {before.get(key)!r}, not {now[key]!r}"


def _clear(path: Path, overwrite: bool) -> None:
    """Remove what a killed run has left; and what is done, if that is asked for."""
    for partial in path.glob(".*.part"):
        partial.unlink()
    if overwrite and (path / MANIFEST).exists():
        (path / MANIFEST).replace(path / OLD)
    if (path / OLD).exists():  # also when a run was killed before it had removed all of it
        for row in _rows(path / OLD):
            audio = _audio(path, row)
            if audio is not None:
                audio.unlink()
        (path / OLD).unlink()


def _audio(path: Path, row: Row) -> Path | None:
    """The audio of a row, if it is there."""
    name = row.get("audio")
    if not isinstance(name, str) or Path(name).name != name or not (path / name).is_file():
        return None
    return path / name


def _rows(manifest: Path) -> Iterator[Row]:
    """The rows that are whole."""
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
    # What UTF-8 cannot say (half of a surrogate pair) becomes the escape that JSON has for it.
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
