"""Speech tokenizers behind one contract, and how to load one by name or folder."""

from vocalmtp.tokenizers.base import (
    CodecStream,
    SpeechCodes,
    SpeechTokenizer,
    StreamSpec,
    TokenizerSpec,
)
from vocalmtp.tokenizers.cards import CatalogueEntry, find_entry, list_entries
from vocalmtp.tokenizers.registry import TYPES, load_tokenizer

__all__ = [
    "TYPES",
    "CatalogueEntry",
    "CodecStream",
    "SpeechCodes",
    "SpeechTokenizer",
    "StreamSpec",
    "TokenizerSpec",
    "find_entry",
    "list_entries",
    "load_tokenizer",
]
