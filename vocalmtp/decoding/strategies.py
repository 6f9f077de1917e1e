"""What is emitted after each backbone forward.

Letters: B rows, L positions, M steps, K slots, D hidden size.
"""

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState


@dataclass
class StepBatch:
    """The steps that one forward pass gave."""

    tokens: Tensor  # [B, M, K]
    first: Tensor  # [B] numbers of the first of them, from 0
    counts: Tensor | None = None  # [B] of the M, how many are said: 1 or more; None = all

    def select(self, rows: list[int]) -> "StepBatch":
        """Keep only these rows, in this order."""
        counts = None if self.counts is None else self.counts[rows]
        return StepBatch(self.tokens[rows], self.first[rows], counts)


class DecodeStrategy(Protocol):
    """Turns the hidden states of a forward pass into steps; what it keeps is in the state."""

    statistics: DecodeStatistics  # of all that it has decoded

    def begin(self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: SpeechLM) -> None:
        """New prompts were read: left-padded inputs and hidden [B, L, D] of their positions."""

    def emit(self, model: SpeechLM, state: DecodeState) -> StepBatch:
        """The steps that follow."""
        ...

    def forward(self, model: SpeechLM, state: DecodeState, said: StepBatch) -> None:
        """Take in what was said of the last emission, for the next one."""


@dataclass
class Grouped:
    """One step of K tokens per forward, taken as the head proposes them (no verification).

    With K = 1 this is next-token decoding.
    """

    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)

    def begin(self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: SpeechLM) -> None:
        state.hidden = hidden[:, -1]
        self.statistics.slots = model.layout.tokens_per_step

    def emit(self, model: SpeechLM, state: DecodeState) -> StepBatch:
        with self.statistics.timed("heads"):
            pick = ConstrainedSampler(model.layout, state)
            return StepBatch(model.head.propose(state.hidden, pick).tokens, state.steps)

    def forward(self, model: SpeechLM, state: DecodeState, said: StepBatch) -> None:
        with self.statistics.timed("backbone"):
            state.hidden, _ = model.step(state, said.tokens[:, 0])
        self.statistics.forwards += len(state.hidden)
        self.statistics.steps += len(state.hidden)
