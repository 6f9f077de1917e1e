"""Speech tokenizers behind one contract, and how to load one by name or folder."""

from pathlib import Path

from vocalmtp.errors import InputError, nearest
from vocalmtp.reading import check_format, read_object
from vocalmtp.tokenizers.base import (
    CodecStream,
    SpeechCodes,
    SpeechTokenizer,
    StreamSpec,
    TokenizerCard,
)
from vocalmtp.tokenizers.neural import NeuralTokenizer

__all__ = [
    "CodecStream",
    "SpeechCodes",
    "SpeechTokenizer",
    "StreamSpec",
    "TokenizerCard",
    "load_tokenizer",
]

TYPES = {"neural": NeuralTokenizer}


def load_tokenizer(folder: Path | str) -> SpeechTokenizer:
    """The tokenizer saved in `folder` (its `tokenizer.json` says of which type it is).

    Raises InputError if the folder is not whole, damaged, or of a later version.
    """
    what = f"tokenizer '{folder}'"
    if not (Path(folder) / "tokenizer.json").is_file():
        raise InputError(f"{what}: no tokenizer.json there; give a tokenizer's folder")
    data = check_format(read_object(Path(folder) / "tokenizer.json", what), what)
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise InputError(f"{what}: its type {kind!r} is unknown; {nearest(str(kind), TYPES)}")
    return TYPES[kind].from_pretrained(folder)
