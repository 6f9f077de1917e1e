"""The text front end: from what people write to the letters that the models read."""

from vocalmtp.text.alphabet import ALPHABET, char_ids
from vocalmtp.text.normalizer import normalize
from vocalmtp.text.sentences import split_sentences, word_spans
from vocalmtp.text.version import VERSION

__all__ = ["ALPHABET", "VERSION", "char_ids", "normalize", "split_sentences", "word_spans"]
