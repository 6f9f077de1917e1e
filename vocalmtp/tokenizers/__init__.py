"""Speech tokenizers behind one contract, and how to load one by name or folder."""

from vocalmtp.tokenizers.base import (
    TOKENIZERS,
    CodecStream,
    SpeechCodes,
    SpeechTokenizer,
    StreamSpec,
    TokenizerSpec,
)
from vocalmtp.tokenizers.cards import TokenizerCard, find_card, list_cards
from vocalmtp.tokenizers.registry import load_tokenizer

__all__ = [
    "TOKENIZERS",
    "CodecStream",
    "SpeechCodes",
    "SpeechTokenizer",
    "StreamSpec",
    "TokenizerCard",
    "TokenizerSpec",
    "find_card",
    "list_cards",
    "load_tokenizer",
]
