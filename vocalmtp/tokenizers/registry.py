"""Loading of speech tokenizers: by the name of a card, by a folder, or inside a model."""

import os
from pathlib import Path

from vocalmtp.engines.device import float32_on_cpu
from vocalmtp.errors import InputError, nearest
from vocalmtp.fetch.cards import fetched_folder, is_fetchable
from vocalmtp.io.read import check_format, read_object
from vocalmtp.tokenizers.base import TOKENIZERS, SpeechTokenizer
from vocalmtp.tokenizers.cards import BUNDLED, TokenizerCard, find_card, list_cards, load_card

VARIABLE = "VOCALMTP_TOKENIZERS"  # a folder with one folder of weights per card, or repository


def load_tokenizer(source: Path | str) -> SpeechTokenizer:
    """Load a speech tokenizer in float32 on the CPU.

    Args:
        source: NAME of a card or a model, FOLDER, or NAME=FOLDER. NAME=FOLDER takes the weights of
            a published codec from a folder and its card from the catalogue; a FOLDER alone is one
            that holds a `tokenizer.json` or `card.yaml`.

    Raises:
        InputError: there is no such tokenizer, or its weights are absent, damaged, or of a later
            version.

    """
    with float32_on_cpu():
        return _load(source)


def _load(source: Path | str) -> SpeechTokenizer:
    name, equals, folder = str(source).partition("=")
    if Path(source).is_dir():
        return _from_folder(Path(source))
    if equals:
        card = find_card(name)
        if not Path(folder).is_dir():
            raise InputError(
                f"tokenizer '{source}': no folder '{folder}'; {how_to_get(card)}", code="not_found"
            )
        return _from_card(Path(folder), card)
    if name in list_cards() and find_card(name).weights != BUNDLED:
        card = find_card(name)
        found = weights_folder(card)
        if found is None:
            raise InputError(
                f"tokenizer '{name}': its weights are not here; {how_to_get(card)}",
                code="not_found",
            )
        return _from_card(found, card)
    return _from_tokenizer_json(_model_tokenizer(name), f"tokenizer '{name}'")


def weights_folder(card: TokenizerCard) -> Path | None:
    """Find the weights of `card` on this machine: bundled, in $VOCALMTP_TOKENIZERS, or fetched."""
    from vocalmtp.hub import PRETRAINED

    if card.weights == BUNDLED:
        folder = PRETRAINED / card.name / "tokenizer"
        return folder if folder.is_dir() else None
    if root := os.environ.get(VARIABLE):
        for name in (card.name, Path(card.weights).name):
            if any((Path(root) / name).glob("*.safetensors")):
                return Path(root) / name
    if (fetched := fetched_folder(card.name)) is not None:
        return fetched
    from huggingface_hub import try_to_load_from_cache

    for file in ("model.safetensors", "model.safetensors.index.json"):
        found = try_to_load_from_cache(card.weights, file)
        if isinstance(found, str):
            return Path(found).parent
    return None


def how_to_get(card: TokenizerCard) -> str:
    """Return the command that fetches or makes the weights of `card`."""
    if card.type == "neural":
        return (
            f"train it: vocalmtp train {card.weights}/base.yaml kind={card.kind} "
            f"model.name={card.name} corpus=CORPUS output=FOLDER, then give {card.name}=FOLDER"
        )
    if is_fetchable(card.name):
        return f"run: vocalmtp get {card.name}, or give {card.name}=FOLDER"
    if card.files:
        files = " ".join(card.files)
        return (
            f"download {files} of {card.weights}, then run: vocalmtp tokenizers convert "
            f"{card.name} {files} -o ${VARIABLE}/{card.name}"
        )
    return (
        f"run: hf download {card.weights} (found in its cache), or put them into "
        f"${VARIABLE}/{card.name}, or give {card.name}=FOLDER"
    )


def _from_folder(folder: Path) -> SpeechTokenizer:
    """Load from a folder that describes itself, or from a model's folder."""
    what = f"tokenizer '{folder}'"
    if (folder / "card.yaml").is_file():
        return _from_card(folder, load_card(folder / "card.yaml"))
    if not (folder / "tokenizer.json").is_file() and (folder / "config.json").is_file():
        kind = read_object(folder / "config.json", what).get("model_type")
        names = [card.name for card in list_cards().values() if card.type == kind]
        if names:
            raise InputError(
                f"{what}: has no card; give one: "
                + ", ".join(f"{name}={folder}" for name in names),
                code="missing",
            )
    if (folder / "config.json").is_file():
        folder = _model_tokenizer(str(folder))
    return _from_tokenizer_json(folder, what)


def _from_tokenizer_json(folder: Path, what: str) -> SpeechTokenizer:
    if not (folder / "tokenizer.json").is_file():
        raise InputError(
            f"{what}: no tokenizer.json there; give a tokenizer's folder", code="not_found"
        )
    data = check_format(read_object(folder / "tokenizer.json", what), what)
    return _class_of(data.get("type"), what).from_pretrained(folder)


def _from_card(folder: Path, card: TokenizerCard) -> SpeechTokenizer:
    """Load the weights in `folder`, which must be what `card` describes."""
    what = f"tokenizer '{card.name}'"
    if not (folder / "tokenizer.json").is_file():
        return _class_of(card.type, what).from_pretrained(folder, card)
    tokenizer = _from_tokenizer_json(folder, what)
    expected, found = card.spec(), tokenizer.spec
    for name in ("kind", "sample_rate", "frame_rate", "streams"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if name == "streams":
            ours, theirs = ([(s.name, s.size) for s in streams] for streams in (ours, theirs))
        if ours != theirs:
            raise InputError(
                f"{what}: '{folder}' holds '{found.name}', whose {name} is {ours}, not {theirs}; "
                "give the folder alone",
                code="mismatch",
            )
    return tokenizer


def _class_of(kind: object, what: str) -> type[SpeechTokenizer]:
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise InputError(
            f"{what}: its type {kind!r} is unknown; {nearest(str(kind), TOKENIZERS)}",
            code="unknown_name",
        )
    return TOKENIZERS[kind]


def _model_tokenizer(name: str) -> Path:
    """Return the folder of a tokenizer that belongs to a model, by the model's name or folder."""
    from vocalmtp.hub import list_models, tokenizer_folder

    try:
        return tokenizer_folder(name)
    except InputError as error:
        names = [*list_cards(), *list_models()]
        raise InputError(
            f"tokenizer '{name}': no such card, model or folder; {nearest(name, names)}",
            code="not_found",
        ) from error
