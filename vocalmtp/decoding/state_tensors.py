"""The tensors of a decode state by name: copies with other tensors, and values written back.

Letters: B rows, R rows of room, P positions.
"""

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor

from vocalmtp.decoding.draft_state import DraftState
from vocalmtp.decoding.sampling import RowSamplers
from vocalmtp.engines.cache import AlignedCache
from vocalmtp.heads.draft.base import DraftCache
from vocalmtp.models.noise import RowNoise
from vocalmtp.models.state import DecodeState

PARTS = (AlignedCache, DraftCache, DraftState, RowNoise, RowSamplers)  # with tensors of a state


def map_tensors(part: Any, change: Callable[[str, Tensor], Tensor], path: str = "") -> Any:
    """Copy a state, or a part of one, with `change` applied to the name and value of its tensors."""
    made = copy(part)
    for name, value in vars(part).items():
        place = f"{path}.{name}" if path else name
        if isinstance(value, Tensor):
            setattr(made, name, change(place, value))
        elif isinstance(value, list) and value and isinstance(value[0], Tensor):
            changed = [change(f"{place}.{i}", x) for i, x in enumerate(value)]
            setattr(made, name, changed)
        elif isinstance(value, PARTS):
            setattr(made, name, map_tensors(value, change, place))
    return made


def named_tensors(state: DecodeState) -> dict[str, Tensor]:
    """Return all tensors of a state by their names."""
    found: dict[str, Tensor] = {}

    def note(name: str, value: Tensor) -> Tensor:
        found[name] = value
        return value

    map_tensors(state, note)
    return found


def row_axis(name: str) -> int:
    """Return the dimension of a tensor that counts the rows."""
    return 1 if name.endswith("key_values") else 0


def first_rows(name: str, value: Tensor, rows: int, positions: int) -> Tensor:
    """Return the part of a tensor with room for R rows that programs of b rows work on."""
    return value[:, :rows, :positions] if row_axis(name) else value[:rows]


def write_back(state: DecodeState, view: DecodeState, alive: Tensor) -> None:
    """Write the values of `state`, after a pass, into the tensors of `view`, before it.

    What counts something, in rows that are not `alive` [B], stays as it is.

    Raises:
        RuntimeError: the pass has changed a shape.

    """
    old, storages = named_tensors(view), set()
    for value in old.values():
        storages.add(value.untyped_storage().data_ptr())
    changed: dict[str, Tensor] = {}
    for name, value in named_tensors(state).items():
        if value.shape != old[name].shape or value.dtype != old[name].dtype:
            raise RuntimeError(f"{name}: {value.dtype} {value.shape}, was {old[name].shape}")
        if value.data_ptr() == old[name].data_ptr():
            continue
        borrowed = value.untyped_storage().data_ptr() in storages  # and overwritten below
        changed[name] = value.clone() if borrowed else value
    for name, value in changed.items():
        if value.dim() == 1 and value.dtype == torch.long:
            value = torch.where(alive, value, old[name])
        old[name].copy_(value)
