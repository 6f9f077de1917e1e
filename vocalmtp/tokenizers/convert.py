"""Published checkpoints to tokenizers of ours: pickles are read here, as tensors only, and checked.

Every key and shape is compared with ours before anything is kept; afterwards there is safetensors.
"""

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocalmtp.errors import InputError
from vocalmtp.io.read import check_finite, read_tensors
from vocalmtp.tokenizers.cards import TokenizerCard, find_card, list_cards
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.bigcodec import BigCodec
from vocalmtp.tokenizers.published.facodec import FACodec
from vocalmtp.tokenizers.published.s3 import S3Tokenizer
from vocalmtp.tokenizers.published.snac import Snac
from vocalmtp.tokenizers.published.speechtokenizer import SpeechTokenizerModel
from vocalmtp.tokenizers.published.wavtokenizer import WavTokenizer

KINDS = (BigCodec, FACodec, S3Tokenizer, Snac, SpeechTokenizerModel, WavTokenizer)
CONVERTIBLE = {kind.TYPE: kind for kind in KINDS}
SHOWN = 3  # differences that an error names


def convert(
    name: str, files: Sequence[Path], config: PublishedConfig | None = None
) -> PublishedTokenizer:
    """The tokenizer of card `name` with the weights in its published `files`.

    `config` differs from the card's for weights of other sizes than the published ones.
    Raises InputError if there is no such card, a file holds more than tensors, or a key, a shape or
    a number is not as it should be.
    """
    card = find_card(name)
    if card.type not in CONVERTIBLE:
        cards = [card.name for card in list_cards().values() if card.type in CONVERTIBLE]
        raise InputError(
            f"tokenizer '{name}': has nothing to convert, it is used as it is published; "
            f"choose one of: {', '.join(cards)}",
            code="empty",
        )
    kind = CONVERTIBLE[card.type]
    model = kind(config or kind.Config.of(card))
    found: dict[str, Tensor] = {}
    for file in files:
        tensors = read_checkpoint(file)
        twice = found.keys() & tensors.keys()
        if twice:
            raise InputError(
                f"file '{file}': '{min(twice)}' came before; give each file once",
                code="invalid_value",
            )
        found |= tensors
    needed = without_prefix(found, kind.PREFIX)
    needed = {key: needed[key] for key in needed if not re.fullmatch(kind.UNUSED, key)}
    own = model.state_dict()
    published = {model.published_key(key): key for key in own}
    check_layout(needed, {key: own[mine] for key, mine in published.items()}, card)
    check_finite(needed, "the checkpoint", f"tokenizer '{name}'")
    model.load_state_dict({published[key]: tensor for key, tensor in needed.items()})
    model.config = model.config.model_copy(update={"codes": fingerprint(model)})
    model.spec = model.config.spec()
    return model.eval()


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a PyTorch checkpoint, by key.

    Those in tables of the checkpoint have "table.key"; numbers and texts beside them are left out.
    Raises InputError if there are none, or unpickling them would run code.
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
    """The tensors of a table, and of the tables in it."""
    for key, value in table.items():
        if isinstance(value, Tensor):
            yield f"{place}{key}", value
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{place}{key}.")


def without_prefix(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What begins with `prefix`, without it; everything, if nothing does."""
    part = {key.removeprefix(prefix): found[key] for key in found if key.startswith(prefix)}
    return part or dict(found)


def check_layout(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], card: TokenizerCard
) -> None:
    """Raise InputError with the first three differences of keys and shapes."""
    differences = []
    for key in sorted(found.keys() | wanted.keys()):
        if key not in found:
            differences.append(f"'{key}' is missing")
        elif key not in wanted:
            differences.append(f"'{key}' is unknown")
        elif found[key].shape != wanted[key].shape:
            shapes = f"{list(found[key].shape)}, not {list(wanted[key].shape)}"
            differences.append(f"'{key}' is {shapes}")
    if differences:
        shown, more = "; ".join(differences[:SHOWN]), len(differences) - SHOWN
        raise InputError(
            f"tokenizer '{card.name}': the checkpoint differs from the published layout: {shown}"
            f"{f'; and {more} more' if more > 0 else ''}; give {' and '.join(card.files)}",
            code="mismatch",
        )


def fingerprint(model: PublishedTokenizer) -> str:
    """Digest of the weights: those of another training make other codes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
