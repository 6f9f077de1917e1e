"""Conversion of published checkpoints: pickles are read as tensors only, and checked.

Every key and shape is compared with the implementation before anything is kept; the result is saved
as safetensors.
"""

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocalmtp.engines.device import float32_on_cpu
from vocalmtp.errors import InputError
from vocalmtp.io.read import check_finite, read_tensors
from vocalmtp.tokenizers.base import TOKENIZERS
from vocalmtp.tokenizers.cards import TokenizerCard, find_card, list_cards
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer

SHOWN = 3  # differences that an error names


def published_types() -> dict[str, type[PublishedTokenizer]]:
    """Return the classes whose weights are converted, by the type of their cards."""
    return {name: kind for name, kind in TOKENIZERS.items() if issubclass(kind, PublishedTokenizer)}


def convert(
    name: str, files: Sequence[Path], config: PublishedConfig | None = None
) -> PublishedTokenizer:
    """Load published weights into a tokenizer.

    Args:
        name: of the card.
        files: the published checkpoint, all of its files.
        config: for weights of other sizes than the published ones.

    Raises:
        InputError: there is no such card, a file holds more than tensors, or a key, a shape or a
            number is wrong.

    """
    card, kinds = find_card(name), published_types()
    if card.type not in kinds:
        cards = [card.name for card in list_cards().values() if card.type in kinds]
        raise InputError(
            f"tokenizer '{name}': needs no conversion, it is used as it is published; "
            f"choose one of: {', '.join(cards)}",
            code="unsupported",
        )
    kind = kinds[card.type]
    with float32_on_cpu():
        model = kind(config or kind.Config.of(card))
    found: dict[str, Tensor] = {}
    for file in files:
        tensors = {
            kind.checkpoint_key(file.stem, key): tensor
            for key, tensor in read_checkpoint(file).items()
        }
        twice = found.keys() & tensors.keys()
        if twice:
            raise InputError(
                f"file '{file}': holds '{min(twice)}', which another file has too; "
                "give each file once",
                code="conflict",
            )
        found |= tensors
    needed = without_prefix(found, kind.PREFIX)
    needed = {key: needed[key] for key in needed if not re.fullmatch(kind.UNUSED, key)}
    own = model.state_dict()
    published = {model.published_key(key): key for key in own}
    check_layout(needed, {key: own[ours] for key, ours in published.items()}, card)
    check_finite(needed, "the checkpoint", f"tokenizer '{name}'")
    model.load_state_dict({published[key]: tensor for key, tensor in needed.items()})
    model.config = model.config.model_copy(update={"codes": fingerprint(model)})
    model.spec = model.config.spec()
    return model.eval()


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file or a PyTorch checkpoint, by key.

    Tensors of nested tables have the key "table.key"; numbers and strings are skipped.

    Raises:
        InputError: there is no such file, it holds no tensors, or unpickling it would run code.

    """
    if not file.is_file():
        raise InputError(
            f"file '{file}': no such file; give a published checkpoint", code="not_found"
        )
    if file.suffix == ".safetensors":
        return read_tensors(file, f"file '{file}'")
    try:
        data = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError) as error:
        raise InputError(
            f"file '{file}': is torn, or no checkpoint of tensors alone; download it again",
            code="damaged",
        ) from error
    tensors = dict(_tensors(data)) if isinstance(data, Mapping) else {}
    if not tensors:
        raise InputError(
            f"file '{file}': is not a table of tensors; give a published checkpoint",
            code="invalid_value",
        )
    return tensors


def _tensors(table: Mapping[Any, Any], place: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a table and of the tables in it."""
    for key, value in table.items():
        if isinstance(value, Tensor):
            yield f"{place}{key}", value
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{place}{key}.")


def without_prefix(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose key begins with `prefix`, without it; all, if none does."""
    part = {key.removeprefix(prefix): found[key] for key in found if key.startswith(prefix)}
    return part or dict(found)


def check_layout(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], card: TokenizerCard
) -> None:
    """Raise InputError with the first three differences of keys and shapes."""
    differences = []
    for key in sorted(found.keys() | expected.keys()):
        if key not in found:
            differences.append(f"'{key}' is missing")
        elif key not in expected:
            differences.append(f"'{key}' is unknown")
        elif found[key].shape != expected[key].shape:
            shapes = f"{list(found[key].shape)}, not {list(expected[key].shape)}"
            differences.append(f"'{key}' is {shapes}")
    if differences:
        shown, more = "; ".join(differences[:SHOWN]), len(differences) - SHOWN
        raise InputError(
            f"tokenizer '{card.name}': the checkpoint differs from the published layout: {shown}"
            f"{f'; and {more} more' if more > 0 else ''}; give {' and '.join(card.files)}",
            code="mismatch",
        )


def fingerprint(model: PublishedTokenizer) -> str:
    """Return a digest of the weights: those of another training make other codes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
