"""The one decode loop, and what its consumers need: single, stream and batch.

Letters: B rows, S steps, K slots, Q streams, T frames, U characters.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vocalmtp.data.collate import TEXT
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.state import DecodeState
from vocalmtp.decoding.strategy import DecodeStrategy, Grouped
from vocalmtp.layout import TokenLayout
from vocalmtp.model.speech_lm import SpeechLM
from vocalmtp.model.track import ADVANCE


@dataclass
class StepEvent:
    """One decoded step of a batch."""

    tokens: Tensor  # [B, K]
    active: Tensor  # [B] bool: the row was still speaking, its tokens count
    finished: Tensor  # [B] bool: this was the row's last step


@dataclass
class Generated:
    """Whole utterances: the codec's codes, and where in the text every frame is."""

    codes: Tensor  # [B, Q, T] codec streams only
    lengths: Tensor  # [B] frames
    pointers: Tensor | None  # [B, T] character spoken at each frame, with a text track
    truncated: Tensor  # [B] bool: cut off by the limit on steps


@torch.inference_mode()
def generate(
    model: SpeechLM,
    batch: dict[str, Tensor],
    sampler: Sampler,
    seeds: list[int],
    strategy: DecodeStrategy | None = None,
    max_steps: int | None = None,
) -> Iterator[StepEvent]:
    """Decode a left-padded batch of prompts (data/collate.py), a step at a time.

    Every row draws its noise from its own seed, so it says the same in any batch. A row ends by
    itself, or after `max_steps` (default: by the length of its text). All state is local.
    """
    strategy = Grouped() if strategy is None else strategy
    limits = step_limits(model, batch, max_steps)  # [B]
    hidden, state = model.prefill(batch)
    start(state, seeds)
    while True:
        active = ~state.finished
        tokens = strategy.emit(model, hidden, state, sampler)
        mark(model.layout, state, tokens, limits)
        yield StepEvent(tokens, active, active & state.finished)
        if bool(state.finished.all()):
            return
        hidden, state = model.step(state, tokens)


def start(state: DecodeState, seeds: list[int]) -> None:
    """Set up noise and ends of every row before the first step."""
    rows, device = len(state.positions), state.positions.device
    state.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    state.ended = torch.full((rows,), -1, device=device)
    state.finished = torch.zeros(rows, dtype=torch.bool, device=device)


def mark(layout: TokenLayout, state: DecodeState, tokens: Tensor, limits: Tensor) -> None:
    """Note which rows said the end in `tokens` [B, K], and which are through."""
    said = (tokens[:, 0] == layout.slots[0].end_id) & (state.ended < 0) & ~state.finished
    state.ended = torch.where(said, state.steps, state.ended)
    out = (state.ended >= 0) & (state.steps >= state.ended + layout.steps_after_end)
    state.finished = state.finished | out | (state.steps + 1 >= limits)


def step_limits(model: SpeechLM, batch: dict[str, Tensor], max_steps: int | None) -> Tensor:
    """Most steps of each row [B]: two seconds, and a quarter of one per character or text token."""
    if model.track is not None:
        units = batch["character_lengths"]
    else:
        units = (batch["kinds"] == TEXT).sum(1)
    if max_steps is not None:
        return torch.full_like(units, max_steps)
    rate = model.config.tokenizer.get("frame_rate", 25.0)
    frames = ((2 + 0.25 * units) * rate).long()
    return torch.stack([torch.as_tensor(model.layout.num_steps(int(n))) for n in frames]).to(units)


def collect(
    events: Iterable[StepEvent], layout: TokenLayout, character_lengths: Tensor | None = None
) -> Generated:
    """Run `events` to their end and unpack them; `character_lengths` [B] bound the pointers."""
    tokens, active = zip(*((event.tokens, event.active) for event in events), strict=True)
    steps = torch.stack(tokens, 1)  # [B, S, K]
    packed = torch.stack(active, 1).sum(1)  # [B]
    ended = (steps[..., 0] == layout.slots[0].end_id) & torch.stack(active, 1)
    codes, lengths = layout.unpack(steps, packed)
    pointers = None
    if layout.streams[0].name == ADVANCE:
        pointers = codes[:, 0].cumsum(1)
        if character_lengths is not None:
            pointers = torch.minimum(pointers, character_lengths[:, None] - 1)
        codes = codes[:, 1:]
    return Generated(codes, lengths, pointers, ~ended.any(1))


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
