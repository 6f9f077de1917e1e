"""The one decode loop, and what its consumers need: single, stream and batch.

Letters: B rows, S steps, K slots, Q streams, T frames, U characters.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategies import DecodeStrategy, Grouped, StepBatch
from vocalmtp.models.layout import ADVANCE, TokenLayout
from vocalmtp.models.prompts import Segment, Speech, Text
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState


@dataclass(frozen=True)
class Prompt:
    """One row to decode: what comes before the speech, and how to draw it."""

    segments: list[Segment]
    sampler: Sampler
    seed: int = 0
    max_steps: int | None = None  # None: by the length of the text

    @property
    def characters(self) -> int:
        """Characters of the text track."""
        return sum(len(s.characters or ()) for s in self.segments if isinstance(s, Speech))

    def limit(self, model: SpeechLM) -> int:
        """Most steps: two seconds, and a quarter of one per character or text token."""
        if self.max_steps is not None:
            return self.max_steps
        units = self.characters
        if model.track is None:
            units = sum(len(s.ids) for s in self.segments if isinstance(s, Text))
        rate = model.config.tokenizer.get("frame_rate", 25.0)
        return model.layout.num_steps(int((2 + 0.25 * units) * rate))


@dataclass
class StepEvent:
    """One decoded step of the rows that are being spoken."""

    rows: list[int]  # [B] numbers of their prompts
    tokens: Tensor  # [B, K]
    finished: list[bool]  # [B] this was the row's last step


@dataclass
class Generated:
    """A whole utterance: the codec's codes, and where in the text every frame is."""

    codes: Tensor  # [Q, T] codec streams only
    pointers: Tensor | None  # [T] character spoken at each frame, with a text track
    truncated: bool  # cut off by the limit on steps


@torch.inference_mode()
def generate(
    model: SpeechLM,
    prompts: Iterable[Prompt],
    batch_size: int = 1,
    strategy: DecodeStrategy | None = None,
) -> Iterator[StepEvent]:
    """Decode `prompts`, `batch_size` of them at a time, a forward pass at a time.

    A row that has ended gives its place to the next prompt at once; `prompts` is read no further
    than that. Every row draws its noise from its own seed, so it says the same in any batch. A row
    ends by itself, or at its limit. All state is local.
    """
    strategy = Grouped() if strategy is None else strategy
    waiting = iter(prompts)
    rows: list[int] = []
    started = 0
    state = None
    while True:
        new = list(islice(waiting, batch_size - len(rows)))
        if new:
            rows += range(started, started + len(new))
            started += len(new)
            with strategy.statistics.timed("prompts"):
                fresh = prefill_prompts(model, new, strategy)
            state = fresh if state is None else state.join(fresh)
        if not rows:
            return
        emission = strategy.emit(model, state)
        kept = list(range(len(rows)))
        for said, tokens, finished in steps_of(emission, model.layout, state):
            yield StepEvent([rows[b] for b in said], tokens, finished)
            ended = {b for b, done in zip(said, finished, strict=True) if done}
            kept = [b for b in kept if b not in ended]
        if len(kept) < len(rows):
            rows, emission = [rows[b] for b in kept], emission.select(kept)
            state = state.select(kept) if kept else None
        if rows:
            strategy.forward(model, state, emission)


def prefill_prompts(
    model: SpeechLM, prompts: list[Prompt], strategy: DecodeStrategy
) -> DecodeState:
    """Read prompts: a state that is ready for the first step."""
    batch = model.collator()([prompt.segments for prompt in prompts], left=True)
    inputs, hidden, state = model.read({name: x.to(model.device) for name, x in batch.items()})
    state.ended = torch.full_like(state.steps, -1)
    limits = torch.tensor([prompt.limit(model) for prompt in prompts], device=model.device)
    state.limits = state.steps + limits
    state.generators = tuple(torch.Generator().manual_seed(prompt.seed) for prompt in prompts)
    state.samplers = tuple(prompt.sampler for prompt in prompts)
    strategy.begin(inputs, hidden, state, model)
    return state


def steps_of(
    emission: StepBatch, layout: TokenLayout, state: DecodeState
) -> Iterator[tuple[list[int], Tensor, list[bool]]]:
    """The steps of an emission in turn, each with the rows [B'] that say it: places in the batch,
    tokens [B', K], and whether it was the row's last. A row that is out says nothing more.
    """
    said = list(range(len(emission.tokens)))
    counts = None if emission.counts is None else emission.counts.tolist()
    for m in range(emission.tokens.shape[1]):
        if counts is not None:
            said = [b for b in said if m < counts[b]]
        if not said:
            return
        tokens, everyone = emission.tokens[:, m], len(said) == len(emission.tokens)
        out = mark(layout, state, tokens, emission.first + m, None if everyone else said)
        finished = out.tolist() if everyone else out[said].tolist()
        yield said, tokens if everyone else tokens[said], finished
        said = [b for b, done in zip(said, finished, strict=True) if not done]


def mark(
    layout: TokenLayout,
    state: DecodeState,
    tokens: Tensor,
    number: Tensor,
    rows: list[int] | None = None,
) -> Tensor:
    """Note which rows (None: all) said the end in `tokens` [B, K], their step `number` [B].

    Returns which have no further step, [B] bool.
    """
    end = layout.ends(tokens[:, 0]) & (state.ended < 0)
    if rows is not None:
        here = torch.zeros_like(end)
        here[rows] = True
        end = end & here
    state.ended = torch.where(end, number, state.ended)
    out = (state.ended >= 0) & (number >= state.ended + layout.steps_after_end)
    return out | (number + 1 >= state.limits)


def collect_utterances(
    events: Iterable[StepEvent], layout: TokenLayout
) -> Iterator[tuple[int, Generated]]:
    """The number of every prompt and what was said, in the order in which they end."""
    said: dict[int, list[Tensor]] = {}
    for event in events:
        for row, tokens, finished in zip(event.rows, event.tokens, event.finished, strict=True):
            said.setdefault(row, []).append(tokens)
            if finished:
                yield row, unpack(torch.stack(said.pop(row)), layout)


def unpack(steps: Tensor, layout: TokenLayout) -> Generated:
    """The steps [S, K] of one row as an utterance."""
    codes, lengths = layout.unpack(steps[None])
    codes = codes[0, :, : int(lengths[0])]
    pointers = None
    if layout.streams[0].name == ADVANCE:
        pointers, codes = codes[0].cumsum(0), codes[1:]
    return Generated(codes, pointers, not bool((steps[:, 0] == layout.slots[0].end_id).any()))


class StepUnpacker:
    """Steps of one row to frames as soon as they are whole: the streaming `layout.unpack`.

    `push` every active step in turn, then `flush`; the concatenated frames equal `unpack`'s.
    """

    def __init__(self, layout: TokenLayout):
        self.layout = layout
        self.window: list[Tensor] = []
        # without a ragged tail to learn of, nothing has to wait for the end
        wait = layout.leading_delay + 1 if layout.frames_per_step > 1 else 0
        self.lag = max(layout.max_delay, wait)
        if layout.flat:
            self.lag = len(layout.streams) - 1
        self.over = False

    def push(self, tokens: Tensor) -> Tensor:
        """Tokens [K] to the frames they complete, [Q, t] with t >= 0 (all the layout's streams)."""
        self.window.append(tokens)
        ended = any(int(t[0]) == self.layout.slots[0].end_id for t in self.window)
        if ended or self.over or len(self.window) <= self.lag:
            return tokens.new_zeros(len(self.layout.streams), 0)
        return self._take(1)

    def flush(self) -> Tensor:
        """The frames that were still waiting for the end, [Q, t]."""
        if not self.window or self.over:
            return torch.zeros(len(self.layout.streams), 0, dtype=torch.long)
        self.over = True
        return self._take(None)

    def _take(self, steps: int | None) -> Tensor:
        codes, lengths = self.layout.unpack(torch.stack(self.window)[None])
        if steps is None:
            return codes[0, :, : int(lengths[0])]
        if self.layout.flat:
            self.window.clear()
            return codes[0]
        del self.window[0]
        return codes[0, :, : self.layout.frames_per_step]
