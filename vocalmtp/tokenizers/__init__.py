"""Speech tokenizers behind one contract, and how to load one by name or folder.

Names are imported when they are first used: specs alone need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vocalmtp.tokenizers.base import TOKENIZERS as TOKENIZERS
    from vocalmtp.tokenizers.base import CodecStream as CodecStream
    from vocalmtp.tokenizers.base import SpeechCodes as SpeechCodes
    from vocalmtp.tokenizers.base import SpeechTokenizer as SpeechTokenizer
    from vocalmtp.tokenizers.cards import TokenizerCard as TokenizerCard
    from vocalmtp.tokenizers.cards import find_card as find_card
    from vocalmtp.tokenizers.cards import list_cards as list_cards
    from vocalmtp.tokenizers.registry import load_tokenizer as load_tokenizer
    from vocalmtp.tokenizers.spec import StreamSpec as StreamSpec
    from vocalmtp.tokenizers.spec import TokenizerSpec as TokenizerSpec

_HOME = {
    "TOKENIZERS": "base",
    "CodecStream": "base",
    "SpeechCodes": "base",
    "SpeechTokenizer": "base",
    "StreamSpec": "spec",
    "TokenizerCard": "cards",
    "TokenizerSpec": "spec",
    "find_card": "cards",
    "list_cards": "cards",
    "load_tokenizer": "registry",
}
__all__ = list(_HOME)  # noqa: PLE0605 (the names of the table)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vocalmtp.tokenizers' has no attribute '{name}'")
    return getattr(import_module(f"vocalmtp.tokenizers.{_HOME[name]}"), name)
