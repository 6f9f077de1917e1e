"""Reading what was saved before: one line for what is missing, torn, damaged or newer than we are.

`what` names the thing in every message, such as "model 'mine'".
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from pydantic import ValidationError
    from torch import Tensor, nn

FORMAT = 1  # of what is saved; a later one would be misread by this version
LONGEST_LINE = 1 << 24  # bytes


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError if there is none."""
    content = _content(path, what)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{what}: {path.name} is not valid JSON ({reason(error)}); copy or make it again",
            code="damaged",
        ) from error
    if not isinstance(data, dict):
        raise InputError(
            f"{what}: {path.name} must be a JSON object; copy or make it again", code="damaged"
        )
    return data


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{what}: {path.name} is missing; copy or make it again", code="damaged"
        ) from error
    except OSError as error:
        raise InputError(
            f"{what}: {path.name} cannot be read ({reason(error)}); copy or make it again",
            code="damaged",
        ) from error


def read_lines(path: Path, what: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1.

    Raises InputError if it cannot be read, or a line is longer than text ever is.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise InputError(
                        f"{what}: {path.name} line {number} is over {LONGEST_LINE >> 20} MiB; "
                        "it is no list of rows",
                        code="wrong_length",
                    )
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InputError(
            f"{what}: {path.name} cannot be read ({reason(error)})", code="unusable"
        ) from error


def problem_of(error: "ValidationError") -> str:
    """The first thing that pydantic found wrong, with the place of it."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    said = first["msg"][:1].lower() + first["msg"][1:]
    return f"'{place}': {said}" if place else said


def check_format(data: dict[str, Any], what: str) -> dict[str, Any]:
    """`data` without its "format". Raises InputError if a later version wrote it."""
    data = dict(data)
    found = data.pop("format", FORMAT)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise InputError(
            f"{what}: its format is {found!r}, not a number; copy or make it again", code="damaged"
        )
    if found > FORMAT:
        raise InputError(
            f"{what}: has format {found} and this version reads {FORMAT}; "
            "run: pip install --upgrade vocalmtp",
            code="version_too_new",
        )
    return data


def read_tensors(path: Path, what: str) -> dict[str, "Tensor"]:
    """All tensors of a safetensors file. Raises InputError unless they are whole and finite."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{what}: {path.name} is missing; copy or make it again", code="damaged")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{what}: {path.name} is torn or damaged ({reason(error)}); copy or make it again",
            code="damaged",
        ) from error
    check_finite(tensors, path.name, what)
    return tensors


def read_shapes(path: Path, what: str) -> dict[str, list[int]]:
    """Shapes of the tensors of a safetensors file, by its header alone. Raises InputError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{what}: {path.name} is torn or damaged ({reason(error)}); copy or make it again",
            code="damaged",
        ) from error


def check_finite(tensors: Mapping[str, "Tensor"], file: str, what: str) -> None:
    """Raise InputError if a number is infinite or none."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise InputError(
                f"{what}: '{name}' in {file} is not finite; copy or make it again", code="damaged"
            )


def fill(module: "nn.Module", path: Path, what: str) -> None:
    """Load the weights in a safetensors file into `module`. Raises InputError unless they fit."""
    tensors, own = read_tensors(path, what), module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own:
            side = "lacks" if name not in tensors else "has an unknown"
            raise InputError(
                f"{what}: {path.name} {side} '{name}'; copy or make it again", code="damaged"
            )
        mine, theirs = own[name], tensors[name]
        if mine.shape != theirs.shape or mine.is_floating_point() != theirs.is_floating_point():
            raise InputError(
                f"{what}: '{name}' in {path.name} is {dtype_and_shape(theirs)}, "
                f"not {dtype_and_shape(mine)}; copy or make it again",
                code="damaged",
            )
    module.load_state_dict(tensors)  # converts


def dtype_and_shape(tensor: "Tensor") -> str:
    """Name the dtype and the shape of a tensor, as in "float32 [2, 3]"."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def reason(error: BaseException, limit: int = 120) -> str:
    """What an error says, on one line and not too long."""
    line = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def digest(path: Path) -> str:
    """16 hex digits that tell the content of a file, or of all files in a folder."""
    state = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            state.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    state.update(block)
    return state.hexdigest()[:16]
