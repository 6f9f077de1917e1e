"""The trainable speech tokenizer of this project: vocalmtp's own networks, in three kinds."""

from vocalmtp.tokenizers.neural.model import (
    EXCITATION_LEAD,
    LOOKAHEAD,
    DecoderState,
    NeuralTokenizerConfig,
)
from vocalmtp.tokenizers.neural.tokenizer import NeuralStream, NeuralTokenizer

__all__ = [
    "EXCITATION_LEAD",
    "LOOKAHEAD",
    "DecoderState",
    "NeuralStream",
    "NeuralTokenizer",
    "NeuralTokenizerConfig",
]
