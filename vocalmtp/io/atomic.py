"""Files that appear whole or not at all, and one line for what the system has against them."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocalmtp.errors import InputError

# What writing meets on a disk: full, over a quota, over a limit, read-only, broken.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def check_file(path: Path, what: str = "output") -> None:
    """Raise InputError unless a file can be created at `path`."""
    with told(path, what):
        if path.is_dir():
            raise InputError(
                f"{what} '{path}': is a folder; give a file's name", code="invalid_value"
            )
        if path.exists() and not path.is_file():  # a device would be replaced by our file
            raise InputError(
                f"{what} '{path}': is no ordinary file; name one, or pipe with -",
                code="invalid_value",
            )
        if not path.parent.is_dir():
            raise InputError(
                f"{what} '{path}': folder '{path.parent}' does not exist; create it first",
                code="not_found",
            )
        if not os.access(path.parent, os.W_OK):
            raise InputError(
                f"{what} '{path}': folder '{path.parent}' is not writable; choose another",
                code="unusable",
            )


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to: renamed to it at the end, removed if that fails.

    A link stays one: the file it points to is written. Raises InputError if `path` cannot be
    written, or a disk is full inside the block.
    """
    path = Path(path)
    check_file(path)
    with told(path):
        place = Path(os.path.realpath(path))
        partial = place.with_name(f".{place.name}.{os.getpid()}.part")
        partial.touch()
    try:
        with told(path, only=DISK):
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # safetensors lets nobody else read what it writes
            partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path | str) -> Iterator[Path]:
    """An empty folder to write to: its files take their places in `folder` at the end.

    Other files that are there stay. Raises InputError as `atomic_path`.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output '{folder}': is a file; give a folder", code="invalid_value")
    partial = folder.with_name(f".{folder.resolve().name}.{os.getpid()}.part")
    try:
        with told(folder):
            partial.mkdir(parents=True)
        with told(folder, only=DISK):
            yield partial
            for file in sorted(file for file in partial.rglob("*") if file.is_file()):
                place = folder / file.relative_to(partial)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def told(path: Path, what: str = "output", only: set[int] | None = None) -> Iterator[None]:
    """Raise what the system says inside the block (of `only` these numbers) as an InputError."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        reason = (error.strerror or str(error)).lower()
        raise InputError(_refusal(path, what, reason), code="unusable") from error
    except SafetensorError as error:  # which has no number for a full disk
        raise InputError(
            _refusal(path, what, " ".join(str(error).split())), code="unusable"
        ) from error


def _refusal(path: Path, what: str, reason: str) -> str:
    shown = str(path) if len(str(path)) <= 100 else f"{str(path)[:97]}..."
    return f"{what} '{shown}': cannot be written ({reason}); free some space, or choose another"
