"""Published checkpoints to tokenizers of ours: pickles are read here, as tensors only, and checked.

Every key and shape is compared with ours before anything is kept; afterwards there is safetensors.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vocalmtp.errors import InputError, nearest
from vocalmtp.reading import check_finite
from vocalmtp.tokenizers.cards import CatalogueEntry, find_entry, list_entries
from vocalmtp.tokenizers.facodec import FACodec
from vocalmtp.tokenizers.published import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.speechtokenizer import SpeechTokenizerModel

CONVERTIBLE = {kind.TYPE: kind for kind in (FACodec, SpeechTokenizerModel)}
SHOWN = 3  # differences that an error names


def convert(
    name: str, files: Sequence[Path], config: PublishedConfig | None = None
) -> PublishedTokenizer:
    """The tokenizer of card `name` with the weights in its published `files`.

    `config` differs from the card's for weights of other sizes than the published ones.
    Raises InputError if there is no such card, a file holds more than tensors, or a key, a shape or
    a number is not as it should be.
    """
    entry = find_entry(name)
    if entry.type not in CONVERTIBLE:
        cards = [card.name for card in list_entries().values() if card.type in CONVERTIBLE]
        raise InputError(f"tokenizer '{name}': has nothing to convert; {nearest(name, cards)}")
    model = CONVERTIBLE[entry.type](config or config_of(entry))
    found: dict[str, Tensor] = {}
    for file in files:
        tensors = read_checkpoint(file)
        twice = found.keys() & tensors.keys()
        if twice:
            raise InputError(f"file '{file}': '{min(twice)}' came before; give each file once")
        found |= tensors
    needed = {
        key: tensor for key, tensor in found.items() if not re.fullmatch(model.TRAINING_ONLY, key)
    }
    own = model.state_dict()
    published = {model.published_key(key): key for key in own}
    check_layout(needed, {key: own[mine] for key, mine in published.items()}, model)
    check_finite(needed, "the checkpoint", f"tokenizer '{name}'")
    model.load_state_dict({published[key]: tensor for key, tensor in needed.items()})
    model.config = model.config.model_copy(update={"codes": fingerprint(model)})
    model.card = model.config.card()
    return model.eval()


def config_of(entry: CatalogueEntry) -> PublishedConfig:
    """The settings of a card of ours: the published sizes, and as many streams as it has."""
    return CONVERTIBLE[entry.type].Config(name=entry.name, streams=len(entry.specs()))


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch checkpoint by key. Raises InputError if it holds anything else."""
    if not file.is_file():
        raise InputError(f"file '{file}': no such file; give a published checkpoint")
    try:
        data = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError) as error:
        raise InputError(
            f"file '{file}': is torn, or no checkpoint of tensors alone; download it again"
        ) from error
    whole = isinstance(data, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in data.items()
    )
    if not whole:
        raise InputError(f"file '{file}': is not a table of tensors; give a published checkpoint")
    return dict(data)


def check_layout(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], model: PublishedTokenizer
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
            f"tokenizer '{model.TYPE}': the checkpoint differs from the published layout: {shown}"
            f"{f'; and {more} more' if more > 0 else ''}; give {' and '.join(model.FILES)}"
        )


def fingerprint(model: PublishedTokenizer) -> str:
    """Digest of the weights: those of another training make other codes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
