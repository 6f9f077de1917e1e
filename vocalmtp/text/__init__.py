"""The text front end: English text to the characters that models read."""

from vocalmtp.text.normalizer import ALPHABET, VERSION, char_ids, char_text, normalize, shorten
from vocalmtp.text.segmentation import (
    ClauseSplitter,
    sayable,
    split_sentences,
    word_spans,
)

__all__ = [
    "ALPHABET",
    "VERSION",
    "ClauseSplitter",
    "char_ids",
    "char_text",
    "normalize",
    "sayable",
    "shorten",
    "split_sentences",
    "word_spans",
]
