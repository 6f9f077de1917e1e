"""How a speech tokenizer is found: by its card's name, by a folder, or inside a model."""

import os
from pathlib import Path

from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import check_format, read_object
from vocalmtp.tokenizers.base import SpeechTokenizer
from vocalmtp.tokenizers.cards import (
    BUNDLED,
    TokenizerCard,
    find_card,
    list_cards,
    load_card,
)
from vocalmtp.tokenizers.dac import DacTokenizer
from vocalmtp.tokenizers.encodec import EncodecTokenizer
from vocalmtp.tokenizers.mimi import MimiTokenizer
from vocalmtp.tokenizers.neural import NeuralTokenizer
from vocalmtp.tokenizers.published.bigcodec import BigCodec
from vocalmtp.tokenizers.published.facodec import FACodec
from vocalmtp.tokenizers.published.s3 import S3Tokenizer
from vocalmtp.tokenizers.published.snac import Snac
from vocalmtp.tokenizers.published.speechtokenizer import SpeechTokenizerModel
from vocalmtp.tokenizers.published.wavtokenizer import WavTokenizer
from vocalmtp.tokenizers.xcodec import XcodecTokenizer
from vocalmtp.tokenizers.xcodec2 import Xcodec2Tokenizer

TYPES: dict[str, type[SpeechTokenizer]] = {
    "bigcodec": BigCodec,
    "dac": DacTokenizer,
    "encodec": EncodecTokenizer,
    "facodec": FACodec,
    "mimi": MimiTokenizer,
    "neural": NeuralTokenizer,
    "s3": S3Tokenizer,
    "snac": Snac,
    "speechtokenizer": SpeechTokenizerModel,
    "wavtokenizer": WavTokenizer,
    "xcodec": XcodecTokenizer,
    "xcodec2": Xcodec2Tokenizer,
}
VARIABLE = "VOCALMTP_TOKENIZERS"  # a folder with one folder of weights per card, or repository


def load_tokenizer(source: Path | str) -> SpeechTokenizer:
    """A speech tokenizer by NAME (of a card or a model), FOLDER, or NAME=FOLDER.

    NAME=FOLDER takes the weights of a published codec from a folder, its card from the catalogue;
    a FOLDER alone says itself what it is, in `tokenizer.json` or `card.yaml`. Raises InputError if
    there is no such tokenizer, its weights are not here, damaged, or of a later version.
    """
    name, equals, folder = str(source).partition("=")
    if Path(source).is_dir():
        return _from_folder(Path(source))
    if equals:
        card = find_card(name)
        if not Path(folder).is_dir():
            raise InputError(
                f"tokenizer '{source}': no folder '{folder}'; {how_to_get(card)}", code="not_found"
            )
        return _with_card(Path(folder), card)
    if name in list_cards() and find_card(name).weights != BUNDLED:
        card = find_card(name)
        found = weights_folder(card)
        if found is None:
            raise InputError(
                f"tokenizer '{name}': its weights are not here; {how_to_get(card)}",
                code="not_found",
            )
        return _with_card(found, card)
    return _from_folder(_model_tokenizer(name))


def weights_folder(card: TokenizerCard) -> Path | None:
    """Where the weights of `card` are on this machine: in our folder, or Hugging Face's cache."""
    from vocalmtp.hub import PRETRAINED

    if card.weights == BUNDLED:
        folder = PRETRAINED / card.name / "tokenizer"
        return folder if folder.is_dir() else None
    if root := os.environ.get(VARIABLE):
        for name in (card.name, Path(card.weights).name):
            if any((Path(root) / name).glob("*.safetensors")):
                return Path(root) / name
    from huggingface_hub import try_to_load_from_cache

    for file in ("model.safetensors", "model.safetensors.index.json"):
        found = try_to_load_from_cache(card.weights, file)
        if isinstance(found, str):
            return Path(found).parent
    return None


def how_to_get(card: TokenizerCard) -> str:
    """The command that brings the weights of `card`."""
    if card.type == "neural":
        return (
            f"train it: vocalmtp train {card.weights}/base.yaml kind={card.kind} "
            f"model.name={card.name} corpus=CORPUS output=FOLDER, then say {card.name}=FOLDER"
        )
    if card.files:
        files = " ".join(card.files)
        return (
            f"download {files} of {card.weights}, then run: vocalmtp tokenizers convert "
            f"{card.name} {files} -o ${VARIABLE}/{card.name}"
        )
    return (
        f"run: hf download {card.weights} (found in its cache), or put them into "
        f"${VARIABLE}/{card.name}, or say {card.name}=FOLDER"
    )


def _from_folder(folder: Path) -> SpeechTokenizer:
    """The tokenizer in `folder`, which says what it is; a model has one in `tokenizer/`."""
    what = f"tokenizer '{folder}'"
    if (folder / "card.yaml").is_file():
        return _with_card(folder, load_card(folder / "card.yaml"))
    if not (folder / "tokenizer.json").is_file() and (folder / "config.json").is_file():
        kind = read_object(folder / "config.json", what).get("model_type")
        names = [card.name for card in list_cards().values() if card.type == kind]
        if names:
            raise InputError(
                f"{what}: has no card; name one: "
                + ", ".join(f"{name}={folder}" for name in names),
                code="missing",
            )
    if (folder / "config.json").is_file():
        folder = _model_tokenizer(str(folder))
    return _from_json(folder, what)


def _from_json(folder: Path, what: str) -> SpeechTokenizer:
    if not (folder / "tokenizer.json").is_file():
        raise InputError(
            f"{what}: no tokenizer.json there; give a tokenizer's folder", code="not_found"
        )
    data = check_format(read_object(folder / "tokenizer.json", what), what)
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise InputError(
            f"{what}: its type {kind!r} is unknown; {nearest(str(kind), TYPES)}",
            code="unknown_name",
        )
    return TYPES[kind].from_pretrained(folder)


def _with_card(folder: Path, card: TokenizerCard) -> SpeechTokenizer:
    """The weights in `folder` as `card` describes them."""
    what = f"tokenizer '{card.name}'"
    if card.type not in TYPES:
        raise InputError(
            f"{what}: its type '{card.type}' is unknown; {nearest(card.type, TYPES)}",
            code="unknown_name",
        )
    if (folder / "tokenizer.json").is_file():
        return _checked(_from_json(folder, what), folder, card)
    loader = TYPES[card.type]
    if not hasattr(loader, "load"):
        raise InputError(
            f"{what}: no tokenizer.json in '{folder}'; give a tokenizer's folder", code="not_found"
        )
    return loader.load(folder, card)


def _checked(made: SpeechTokenizer, folder: Path, card: TokenizerCard) -> SpeechTokenizer:
    """Raise InputError if the tokenizer in `folder` is of another make than `card` says."""
    requested, spec = card.spec(), made.spec
    for name in ("kind", "sample_rate", "frame_rate", "streams"):
        mine, theirs = getattr(requested, name), getattr(spec, name)
        if name == "streams":
            mine, theirs = ([(s.name, s.size) for s in streams] for streams in (mine, theirs))
        if mine != theirs:
            raise InputError(
                f"tokenizer '{card.name}': '{folder}' holds '{spec.name}', whose {name} is "
                f"{theirs}, not {mine}; give the folder alone",
                code="mismatch",
            )
    return made


def _model_tokenizer(name: str) -> Path:
    """The folder of a tokenizer that belongs to a model, by the model's name or folder."""
    from vocalmtp.hub import list_models, tokenizer_folder

    try:
        return tokenizer_folder(name)
    except InputError as error:
        names = [*list_cards(), *list_models()]
        raise InputError(
            f"tokenizer '{name}': no such card, model or folder; {nearest(name, names)}",
            code="not_found",
        ) from error
