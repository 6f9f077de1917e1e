"""Speech tokenizers behind one contract, and how to load one by name or folder."""

from vocalmtp.tokenizers.base import (
    CodecStream,
    SpeechCodes,
    SpeechTokenizer,
    StreamSpec,
    TokenizerSpec,
)
from vocalmtp.tokenizers.cards import TokenizerCard, find_card, list_cards
from vocalmtp.tokenizers.registry import TYPES, load_tokenizer

__all__ = [
    "TYPES",
    "TokenizerCard",
    "CodecStream",
    "SpeechCodes",
    "SpeechTokenizer",
    "StreamSpec",
    "TokenizerSpec",
    "find_card",
    "list_cards",
    "load_tokenizer",
]
