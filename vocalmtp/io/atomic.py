"""Atomic writes: files appear completely or not at all, and system errors become one line."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocalmtp.errors import InputError

# Errors of a disk: full, over a quota, over a size limit, read-only, broken.
DISK_ERRORS = {errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EIO}
if hasattr(errno, "EDQUOT"):  # not on Windows
    DISK_ERRORS.add(errno.EDQUOT)


def check_file(path: Path, what: str = "output") -> None:
    """Raise InputError unless a file can be created at `path`."""
    with os_errors(path, what):
        if path.is_dir():
            raise InputError(
                f"{what} '{path}': is a folder; give a file's name", code="invalid_value"
            )
        if path.exists() and not path.is_file():  # a device would be replaced by our file
            raise InputError(
                f"{what} '{path}': is not a regular file; give a file's name, or - for a pipe",
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
    """Yield a temporary path that replaces `path` at the end of the block, or is removed.

    A symbolic link is kept: the file that it points to is replaced. Raises InputError if `path`
    cannot be written, or the disk fails inside the block.
    """
    path = Path(path)
    check_file(path)
    with os_errors(path):
        target = Path(os.path.realpath(path))
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        partial.touch()
    try:
        with os_errors(path, only=DISK_ERRORS):
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # as below
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder whose files move to `folder` at the end of the block.

    Other files in `folder` stay. Raises InputError as `atomic_path`.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output '{folder}': is a file; give a folder", code="invalid_value")
    partial = folder.with_name(f".{folder.resolve().name}.{os.getpid()}.part")
    try:
        with os_errors(folder):
            partial.mkdir(parents=True)
        with os_errors(folder, only=DISK_ERRORS):
            mode = partial.stat().st_mode & 0o666
            yield partial
            for file in sorted(file for file in partial.rglob("*") if file.is_file()):
                target = folder / file.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.chmod(mode)  # safetensors writes files that only their owner can read
                file.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def os_errors(path: Path, what: str = "output", only: set[int] | None = None) -> Iterator[None]:
    """Convert system errors inside the block to InputError.

    Args:
        path: the file that the message names.
        what: the field that the message names.
        only: error numbers to convert; None for all.

    """
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        raise _unwritable(path, what, (error.strerror or str(error)).lower()) from error
    except SafetensorError as error:  # has no error number for a full disk
        raise _unwritable(path, what, " ".join(str(error).split())) from error


def _unwritable(path: Path, what: str, reason: str) -> InputError:
    shown = str(path) if len(str(path)) <= 100 else f"{str(path)[:97]}..."
    return InputError(
        f"{what} '{shown}': cannot be written ({reason}); free some space, or choose another",
        code="unusable",
    )
