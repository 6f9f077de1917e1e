"""One writer for a folder at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocalmtp.errors import InputError

LOCK = ".lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Make `folder` if need be, and keep other processes out of it inside the block.

    The system drops the lock of a process that has died. Raises InputError if the folder cannot be
    written to, or another process is at work there.
    """
    import fcntl

    if folder.exists() and not folder.is_dir():
        raise InputError(f"output '{folder}': is a file; give a folder", code="invalid_value")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")
    except OSError as error:
        raise InputError(
            f"output '{folder}': cannot be written to ({error.strerror}); choose another folder",
            code="unusable",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"output '{folder}': another process is writing there; wait until it is done",
                code="invalid_value",
            ) from error
        yield
