"""Speech tokenizers behind one contract, and how to load one by name or folder."""

import json
from pathlib import Path

from vocalmtp.errors import InputError
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
    """The tokenizer saved in `folder` (its `tokenizer.json` says of which type it is)."""
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise InputError(
            f"tokenizer '{folder}': no tokenizer.json there; give a tokenizer's folder"
        )
    kind = json.loads(path.read_text()).get("type")
    if kind not in TYPES:
        raise InputError(
            f"tokenizer type '{kind}' in {path}: unknown; known are {', '.join(TYPES)}"
        )
    return TYPES[kind].from_pretrained(folder)
