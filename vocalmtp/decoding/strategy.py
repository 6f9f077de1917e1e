"""What is emitted after each backbone forward.

Letters: B rows, K slots, D hidden size.
"""

from typing import Protocol

from torch import Tensor

from vocalmtp.decoding.rules import RulePicker
from vocalmtp.decoding.state import DecodeState
from vocalmtp.model.speech_lm import SpeechLM


class DecodeStrategy(Protocol):
    """Turns the hidden state of the last position into the tokens of the next step."""

    def emit(self, model: SpeechLM, hidden: Tensor, state: DecodeState) -> Tensor:
        """Hidden [B, D] to tokens [B, K]."""
        ...


class Grouped:
    """One step of K tokens per forward, taken as the head proposes them (no verification).

    With K = 1 this is next-token decoding.
    """

    def emit(self, model: SpeechLM, hidden: Tensor, state: DecodeState) -> Tensor:
        return model.head.propose(hidden, RulePicker(model.layout, state)).tokens[:, 0]
