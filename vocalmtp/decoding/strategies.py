"""Decoding strategies: which steps each backbone forward pass yields.

Letters: B rows, L positions, M steps, K slots, D hidden size.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from vocalmtp.arrays import Array, last_of
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.models.state import DecodeState

if TYPE_CHECKING:
    from vocalmtp.models.base import GenerativeModel


@dataclass
class DraftOutcome:
    """What became of the n drafts of every row in one forward pass."""

    tried: Array  # [B] which rows had drafts
    kept: Array  # [B, n] which drafts were accepted
    inside: Array  # [B, n] which of them come before the row's end


@dataclass
class StepBatch:
    """Steps that one forward pass yielded."""

    tokens: Array  # [B, M, K]
    first: Array  # [B] index of the first of them in its row, from 0
    counts: Array | None = None  # [B] how many of the M are valid, 1 or more; None = all
    drafts: DraftOutcome | None = None  # None: nothing was drafted

    @property
    def last(self) -> Array:
        """The last valid step of every row, [B, K]."""
        return self.tokens[:, -1] if self.counts is None else last_of(self.tokens, self.counts)

    def select(self, rows: list[int]) -> "StepBatch":
        """Return these rows, in this order."""
        counts = None if self.counts is None else self.counts[rows]
        return StepBatch(self.tokens[rows], self.first[rows], counts)


class DecodeStrategy(Protocol):
    """Turns hidden states into steps; all that it keeps between passes is in the state."""

    statistics: DecodeStatistics  # of everything that it has decoded

    @property
    def has_fixed_shape(self) -> bool:
        """Whether every pass has the same operations, whatever the tokens are."""

    def begin(
        self, inputs: Array, hidden: Array, state: DecodeState, model: "GenerativeModel"
    ) -> None:
        """Prepare rows whose prompts were prefilled.

        `inputs` and `hidden` [B, L, D] are those of the prompts' positions, padded on the left.
        """

    def emit(self, model: "GenerativeModel", state: DecodeState) -> StepBatch:
        """Return the next steps of every row."""
        ...

    def forward(self, model: "GenerativeModel", state: DecodeState, emitted: StepBatch) -> None:
        """Run the backbone over the steps `emitted` last, for the next call of `emit`."""


@dataclass
class Grouped:
    """One step of K tokens per forward pass, as the head proposes them, without verification.

    With K = 1 this is next-token decoding.
    """

    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)
    has_fixed_shape: ClassVar[bool] = True

    def begin(
        self, inputs: Array, hidden: Array, state: DecodeState, model: "GenerativeModel"
    ) -> None:
        """See DecodeStrategy."""
        state.hidden = hidden[:, -1]
        self.statistics.slots = model.layout.tokens_per_step

    def emit(self, model: "GenerativeModel", state: DecodeState) -> StepBatch:
        """See DecodeStrategy."""
        assert state.hidden is not None
        with self.statistics.timed("heads"):
            sampler = ConstrainedSampler(model.layout, state)
            tokens = model.head.propose(state.hidden, sampler)  # [B, K]
        return StepBatch(tokens[:, None], state.steps)

    def forward(self, model: "GenerativeModel", state: DecodeState, emitted: StepBatch) -> None:
        """See DecodeStrategy."""
        with self.statistics.timed("backbone"):
            tokens = emitted.tokens[:, 0]
            state.note_step(model.layout, tokens[:, : model.head.penalized_slots])
            state.hidden = model.step(state, tokens)
