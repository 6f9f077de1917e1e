"""Output folders of resumable runs: one writer, fixed settings, append-only rows.

Batch synthesis, tokenizing, distillation, evaluation and ablation all write such folders: the same
command continues where it stopped, and another configuration is refused.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import read_object

LOCK = ".lock"
SETTINGS = "settings.json"

Row = dict[str, Any]


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Create `folder` if necessary and lock it against other processes inside the block.

    The lock of a process that has died is released by the operating system. A folder that was created
    here is removed if the block fails before it has written anything.

    Raises:
        InputError: the folder cannot be written to, or another process holds its lock.

    """
    from filelock import FileLock, Timeout

    if folder.exists() and not folder.is_dir():
        raise InputError(f"output '{folder}': is a file; give a folder", code="invalid_value")
    lock, created = FileLock(folder / LOCK, blocking=False, thread_local=False), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"output '{folder}': another process is writing there; wait until it is done",
            code="unusable",
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"output '{folder}': cannot be written to ({reason}); choose another folder",
            code="unusable",
        ) from error
    try:
        yield
    except BaseException:
        if created and [each.name for each in folder.iterdir()] == [LOCK]:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


@contextmanager
def run_folder(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    restart: str = "--overwrite",
    clear: Callable[[Path], object] | None = None,
    name: str = SETTINGS,
) -> Iterator[Path]:
    """Lock `folder` for a run with `settings`, which are written there.

    Args:
        folder: created if necessary.
        settings: everything that the results depend on, as JSON.
        restart: the option that starts anew, as the error message names it.
        clear: removes the results of an earlier run, whatever its settings; None to continue it.
        name: the file of the settings.

    Raises:
        InputError: the folder is locked, cannot be written to, or belongs to other settings.

    """
    with only_writer(folder):
        if clear is not None:
            clear(folder)
        else:
            check_settings(folder, settings, restart=restart, name=name)
        write_settings(folder, settings, name)
        yield folder


def check_settings(
    folder: Path, settings: Mapping[str, Any], *, restart: str, name: str = SETTINGS
) -> None:
    """Raise InputError (`other_run`) if the run in `folder` was started with other settings."""
    path = folder / name
    if not path.is_file():
        return
    before = dict(_flat(read_object(path, f"output '{folder}'")))
    now = dict(_flat(json.loads(json.dumps(settings))))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise InputError(
                f"output '{folder}': was made with {key} {before.get(key)!r}, not "
                f"{now.get(key)!r}; choose another folder, or {restart} to start anew",
                code="other_run",
            )


def write_settings(folder: Path, settings: Mapping[str, Any], name: str = SETTINGS) -> None:
    """Write the settings of a run into `folder`, which is created if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / name) as partial:
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class JsonlStore:
    """A JSONL file of rows with an `id`; an appended row is on disk at once.

    A last line that an interruption has cut off is dropped. Raises InputError if the file holds
    anything but rows.
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
        complete, _, cut = text.rpartition("\n")
        for line in complete.splitlines():
            row = json.loads(line)
            self.rows[row["id"]] = row
        if cut:
            with atomic_path(self.path) as partial:
                partial.write_text(complete + "\n" if complete else "", encoding="utf-8")

    def get(self, item_id: str) -> Row | None:
        """Return the latest row of an id, or None."""
        return self.rows.get(item_id)

    def append(self, row: Row) -> None:
        """Store a row and write it out; NaN and infinity become null."""
        clean = {key: _finite(value) for key, value in row.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, ensure_ascii=False) + "\n")
        self.rows[clean["id"]] = clean


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
