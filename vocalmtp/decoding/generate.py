"""The decode loop, and its output as whole utterances or frame by frame.

Letters: B rows, S steps, K slots, Q streams, T frames, U characters.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from vocalmtp.arrays import Array, beside, full, integers, on_cpu, stack, without_gradients
from vocalmtp.decoding.sampling import RowSamplers, Sampler
from vocalmtp.decoding.stepper import AnyStepper, Stepper
from vocalmtp.decoding.strategies import DecodeStrategy, Grouped
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.noise import RowNoise
from vocalmtp.models.prompts import Segment, Speech
from vocalmtp.models.state import NO_LIMIT, DecodeState
from vocalmtp.models.streams import ADVANCE

if TYPE_CHECKING:
    from vocalmtp.models.base import GenerativeModel


@dataclass(frozen=True)
class Prompt:
    """One row to decode: the segments before the speech, and how to sample it."""

    segments: list[Segment]
    sampler: Sampler
    seed: int = 0
    max_steps: int | None = None  # None: by the length of the text

    @property
    def characters(self) -> int:
        """Number of characters on the text track."""
        return sum(len(s.characters or ()) for s in self.segments if isinstance(s, Speech))

    def limit(self, model: "GenerativeModel") -> int:
        """Most steps: `max_steps`, or what the model derives from the length of the text."""
        return model.step_limit(self.segments) if self.max_steps is None else self.max_steps


@dataclass
class StepEvent:
    """One decoded step of the rows that are still being decoded."""

    rows: list[int]  # [B] numbers of their prompts
    tokens: Array  # [B, K] on the CPU
    finished: list[bool]  # [B] whether this was the row's last step


@dataclass
class Generated:
    """A whole utterance as codes."""

    codes: Array  # [Q, T] codec streams only
    pointers: Array | None  # [T] character spoken in each frame, if there is a text track
    truncated: bool  # cut off by the limit on steps


class RunningBatch:
    """Rows that are decoded together, and that join and leave between two steps.

    Every row draws noise from its own seed, so that its output does not depend on the others.

    Args:
        model: a speech LM or text LM.
        strategy: which steps a forward pass yields; `Grouped` by default.

    Attributes:
        rows: numbers of the prompts that are being decoded.

    """

    def __init__(self, model: "GenerativeModel", strategy: DecodeStrategy | None = None):
        self.model = model
        self.strategy = Grouped() if strategy is None else strategy
        self.rows: list[int] = []
        self._removed: set[int] = set()
        self._stepper = open_stepper(model, self.strategy)

    def add(self, prompts: Mapping[int, Prompt]) -> None:
        """Let prompts, by number, join at the next step."""
        if prompts:
            without_gradients(RunningBatch._add)(self, prompts)

    def _add(self, prompts: Mapping[int, Prompt]) -> None:
        with self.strategy.statistics.timed("prompts"):
            self._stepper.add(prefill_prompts(self.model, list(prompts.values()), self.strategy))
        self.rows += prompts

    def remove(self, numbers: Iterable[int]) -> None:
        """Stop decoding these rows, of which no further event is yielded."""
        self._removed.update(set(numbers).intersection(self.rows))

    def step(self) -> Iterator[StepEvent]:
        """Run one forward pass over all rows, and yield an event per step.

        Rows leave with their last step. The pass is complete when the iterator is exhausted.
        """
        return without_gradients(RunningBatch._step)(self) if self.rows else iter(())

    def _step(self) -> Iterator[StepEvent]:
        output = self._stepper.next()
        removed, self._removed = self._removed, set()
        kept = [b for b, row in enumerate(self.rows) if row not in removed]
        for active, tokens, finished in output.steps():
            wanted = [i for i, b in enumerate(active) if self.rows[b] not in removed]
            if len(wanted) < len(active):
                tokens = tokens[wanted]
            if wanted:
                rows = [self.rows[active[i]] for i in wanted]
                yield StepEvent(rows, tokens, [finished[i] for i in wanted])
            ended = {b for b, done in zip(active, finished, strict=True) if done}
            kept = [b for b in kept if b not in ended]
        if len(kept) < len(self.rows):
            self.rows = [self.rows[b] for b in kept]
            self._stepper.keep(kept)


def generate(
    model: "GenerativeModel",
    prompts: Iterable[Prompt],
    batch_size: int = 1,
    strategy: DecodeStrategy | None = None,
) -> Iterator[StepEvent]:
    """Decode prompts, `batch_size` rows at a time.

    When a row ends, by its end token or at its limit, the next prompt takes its place at once;
    `prompts` is consumed no further than that. All state is local.

    Args:
        model: a speech LM or text LM.
        prompts: may be endless.
        batch_size: most rows that are decoded together.
        strategy: which steps a forward pass yields; `Grouped` by default.

    Yields:
        One event per step, with the rows that have this step.

    """
    batch = RunningBatch(model, strategy)
    waiting = enumerate(prompts)
    while True:
        batch.add(dict(islice(waiting, batch_size - len(batch.rows))))
        if not batch.rows:
            return
        yield from batch.step()


def open_stepper(model: "GenerativeModel", strategy: DecodeStrategy) -> AnyStepper:
    """Return what runs passes of a model: as programs if its engine has them."""
    programs = getattr(model, "programs", None)
    if programs is None or not strategy.has_fixed_shape:
        return Stepper(model, strategy)
    from vocalmtp.decoding.static import StaticStepper

    return StaticStepper(model, strategy, programs)


def prefill_prompts(
    model: "GenerativeModel", prompts: list[Prompt], strategy: DecodeStrategy
) -> DecodeState:
    """Run the backbone over prompts; return a state that is ready for the first step."""
    with on_cpu():  # where prompts are, whatever torch's default device is
        batch = model.collator()([prompt.segments for prompt in prompts], left=True)
    inputs, hidden, state = model.prefill(batch)
    limits = [prompt.limit(model) for prompt in prompts]
    state.limits, state.most_steps = state.steps + integers(state.steps, limits), max(limits)
    state.noise = RowNoise.seeded(state.steps, [prompt.seed for prompt in prompts])
    state.samplers = RowSamplers(state.steps, [prompt.sampler for prompt in prompts])
    if state.samplers.penalizes:
        _record_ids(model, prompts, state)
    strategy.begin(inputs, hidden, state, model)
    return state


def _record_ids(model: "GenerativeModel", prompts: list[Prompt], state: DecodeState) -> None:
    """Begin the record of the ids that every row has had, with those of the speech in its prompt."""
    state.seen = full(state.steps, (len(state.steps), model.layout.num_ids), NO_LIMIT)
    for row, prompt in enumerate(prompts):
        for segment in prompt.segments:
            if isinstance(segment, Speech) and segment.codes is not None and segment.penalized:
                tokens = model.layout.pack(segment.codes[None]).tokens[0]  # [S, K]
                tokens = beside(state.steps, tokens[:, : model.head.penalized_slots])
                rows, before = (integers(state.steps, [n] * len(tokens)) for n in (row, -1))
                state.note_ids(model.layout, tokens, rows, before)


def collect_utterances(
    events: Iterable[StepEvent], layout: TokenLayout
) -> Iterator[tuple[int, Generated]]:
    """Collect steps to utterances; yield each with its prompt's number, in the order they end."""
    steps: dict[int, list[Array]] = {}
    for event in events:
        for row, tokens, finished in zip(event.rows, event.tokens, event.finished, strict=True):
            steps.setdefault(row, []).append(tokens)
            if finished:
                yield row, unpack(stack(steps.pop(row)), layout)


def unpack(steps: Array, layout: TokenLayout) -> Generated:
    """Convert the steps [S, K] of one row to an utterance."""
    codes, lengths = layout.unpack(steps[None])
    codes = codes[0, :, : int(lengths[0])]
    pointers = None
    if layout.streams[0].name == ADVANCE:
        pointers, codes = codes[0].cumsum(0), codes[1:]
    return Generated(codes, pointers, not bool((steps[:, 0] == layout.slots[0].end_id).any()))


class StepUnpacker:
    """Converts the steps of one row to frames as soon as these are complete.

    `push` every step in turn, then `flush`: the frames, concatenated, equal those of `unpack`.
    """

    def __init__(self, layout: TokenLayout):
        self.layout = layout
        self.window: list[Array] = []
        self.nothing: Array = np.zeros((len(layout.streams), 0), np.int64)
        # With one frame per step, the last step is never ragged: no step waits for the next one.
        wait = layout.leading_delay + 1 if layout.frames_per_step > 1 else 0
        self.lag = max(layout.max_delay, wait)
        if layout.flat:
            self.lag = len(layout.streams) - 1
        self.over = False

    def push(self, tokens: Array) -> Array:
        """Add a step [K]; return the frames it completes, [Q, t] of all the layout's streams."""
        self.nothing = full(tokens, (len(self.layout.streams), 0), 0)
        if not bool(self.layout.has_frames(tokens[:1])[0]):
            return self.nothing
        self.window.append(tokens)
        ended = any(int(t[0]) == self.layout.slots[0].end_id for t in self.window)
        if ended or self.over or len(self.window) <= self.lag:
            return self.nothing
        return self._take(1)

    def flush(self) -> Array:
        """Return the remaining frames [Q, t] after the last step."""
        if not self.window or self.over:
            return self.nothing
        self.over = True
        return self._take(None)

    def _take(self, steps: int | None) -> Array:
        codes, lengths = self.layout.unpack(stack(self.window)[None])
        if steps is None:
            return codes[0, :, : int(lengths[0])]
        if self.layout.flat:
            self.window.clear()
            return codes[0]
        del self.window[0]
        return codes[0, :, : self.layout.frames_per_step]
