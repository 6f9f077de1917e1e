"""Passes over rows that come and go, and what the host reads of a pass: once, as a whole.

Letters: B rows, M steps that a pass yields, K slots, C columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vocalmtp.arrays import Array, full, namespace, range_like
from vocalmtp.decoding.strategies import DecodeStrategy, DraftOutcome, StepBatch
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState

if TYPE_CHECKING:
    from vocalmtp.models.base import GenerativeModel


@dataclass(frozen=True)
class PassOutput:
    """The steps of one pass, where rows end, and how long they are now."""

    tokens: Array  # [B, M, K]
    counts: Array  # [B] how many of the M are valid
    finished: Array  # [B, M] whether it is the row's last step
    num_steps: Array  # [B] DecodeState.steps
    positions: Array  # [B] of the cache
    drafts: DraftOutcome | None

    @classmethod
    def of(cls, emitted: StepBatch, layout: TokenLayout, state: DecodeState) -> "PassOutput":
        """Record the end tokens of the steps in `state.ended`, and find the last step of every row."""
        where, place = (
            namespace(state.ended).where,
            range_like(state.ended, emitted.tokens.shape[1]),
        )
        counts = full(state.ended, state.ended.shape, len(place))
        ends = layout.ends(emitted.tokens[..., 0])  # [B, M]
        if emitted.counts is not None:
            counts = emitted.counts
            ends = ends & (place < counts[:, None])
        number = emitted.first[:, None] + place
        found = where(ends.any(1), emitted.first + (ends * 1).argmax(1), -1)
        state.ended = where(state.ended < 0, found, state.ended)
        ended = state.ended[:, None]
        finished = (ended >= 0) & (number >= ended + layout.steps_after_end)
        finished = finished | (number + 1 >= state.limits[:, None])
        lengths = state.cache.lengths
        return cls(emitted.tokens, counts, finished, state.steps, lengths, emitted.drafts)

    @property
    def _tensors(self) -> list[Array]:
        own = [self.tokens, self.counts, self.finished, self.num_steps, self.positions]
        if self.drafts is not None:
            own += [getattr(self.drafts, field.name) for field in fields(self.drafts)]
        return own

    def pack(self) -> Array:
        """Return everything as one tensor [B, C] int64, to be copied to the host at once."""
        columns = [x.reshape(len(x), -1) for x in self._tensors]
        return namespace(self.tokens).concatenate(columns, 1)

    def unpack(self, packed: Array) -> "PassOutput":
        """Return what was packed [B, C] of an output with the shapes of this one."""
        sizes = [x[0].numel() for x in self._tensors]
        parts = [
            part.reshape(len(packed), *like.shape[1:]).to(like.dtype)
            for part, like in zip(packed.split(sizes, 1), self._tensors, strict=True)
        ]
        drafts = DraftOutcome(*parts[5:]) if self.drafts is not None else None
        tokens, counts, finished, num_steps, positions = parts[:5]
        return PassOutput(tokens, counts, finished, num_steps, positions, drafts)

    def on_host(self) -> "PassOutput":
        """Return the same on the CPU, by one copy."""
        if isinstance(self.tokens, np.ndarray) or self.tokens.device.type == "cpu":
            return self
        return self.unpack(self.pack().cpu())

    def steps(self) -> Iterator[tuple[list[int], Array, list[bool]]]:
        """Split an output on the CPU into single steps, and drop those after a row's last.

        Yields:
            For every step: the indices of the rows [B'] that have it, its tokens [B', K], and
            whether it is the row's last.

        """
        counts, finished = self.counts.tolist(), self.finished.tolist()
        active = list(range(len(counts)))
        for m in range(self.tokens.shape[1]):
            active = [b for b in active if m < counts[b]]
            if not active:
                return
            done, tokens = [finished[b][m] for b in active], self.tokens[:, m]
            yield active, tokens if len(active) == len(counts) else tokens[active], done
            active = [b for b, last in zip(active, done, strict=True) if not last]


class AnyStepper(Protocol):
    """Runs passes over rows that join and leave."""

    def add(self, fresh: DecodeState) -> None:
        """Append rows, after their prompts."""

    def next(self) -> PassOutput:
        """Run a pass over all rows; return its output on the CPU."""

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows, in this order, of those of the last pass."""


class Stepper:
    """Runs a strategy, operation by operation, over rows that join and leave.

    Args:
        model: the model.
        strategy: what a pass yields.

    """

    def __init__(self, model: "GenerativeModel", strategy: DecodeStrategy):
        self.model, self.strategy = model, strategy
        self.state: DecodeState | None = None
        self.emitted: StepBatch | None = None  # by the last pass, of the rows that go on
        self.fresh: DecodeState | None = None  # rows that have had no pass
        self.output: PassOutput | None = None

    def add(self, fresh: DecodeState) -> None:
        """Append rows, after their prompts."""
        self.fresh = fresh if self.fresh is None else self.fresh.join(fresh)

    def next(self) -> PassOutput:
        """Run a pass over all rows; return its output on the CPU."""
        if self.state is not None and self.emitted is not None:
            self.strategy.forward(self.model, self.state, self.emitted)
            if self.output is not None and self.output.drafts is None:
                self.strategy.statistics.count_passes(len(self.state.steps))
        if self.fresh is not None:
            self.state = self.fresh if self.state is None else self.state.join(self.fresh)
            self.fresh = None
        assert self.state is not None
        self.emitted = self.strategy.emit(self.model, self.state)
        output = PassOutput.of(self.emitted, self.model.layout, self.state).on_host()
        self.state.settle(int(output.num_steps.max()), int(output.positions.max()))
        if output.drafts is not None:
            self.strategy.statistics.count_drafts(output.drafts)
        self.output = output
        return output

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows, in this order, of those of the last pass."""
        assert self.state is not None and self.emitted is not None and self.output is not None
        if not rows:
            self.state = self.emitted = None
            return
        steps, positions = self.output.num_steps[rows], self.output.positions[rows]
        self.state.settle(int(steps.max()), int(positions.max()))
        self.emitted = self.emitted.select(rows)
        self.state = self.state.select(rows)
