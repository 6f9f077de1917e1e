"""What a run goes on from: the last checkpoint that was written to its end."""

import json
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch

from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import reason

STATE = "trainer_state.json"  # what the Trainer writes last


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint in `folder`, or None; one that a killed run left unfinished is no one.

    Raises InputError if a checkpoint that was finished is damaged now.
    """
    found = []
    for path in folder.glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if step and (path / STATE).is_file():
            found.append((int(step[1]), path))
    if not found:
        return None
    _, path = max(found)
    for file in sorted(path.iterdir()):
        if not _whole(file):
            raise InputError(
                f"checkpoint '{path}': {file.name} is damaged; delete that folder to go on from "
                "the checkpoint before it",
                code="damaged",
            )
    return str(path)


def _whole(file: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt"):
                return True
        if file.suffix == ".json":
            return isinstance(json.loads(file.read_bytes()), dict)
        if file.suffix in (".pt", ".pth"):
            return is_zipfile(file)
        return True
    except (SafetensorError, ValueError, OSError):
        return False


def write_state(path: Path, state: dict[str, Any]) -> None:
    """`torch.save` of `state`, whole or not at all."""
    with atomic_path(path) as partial:
        torch.save(state, partial)


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote to `path`. Raises InputError if it is not whole."""
    try:
        state = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, UnpicklingError) as error:
        raise InputError(
            f"checkpoint '{path}': is damaged ({reason(error)}); delete it to start anew",
            code="damaged",
        ) from error
    if not isinstance(state, dict):
        raise InputError(
            f"checkpoint '{path}': is no state of a run; delete it to start anew", code="damaged"
        )
    return state
