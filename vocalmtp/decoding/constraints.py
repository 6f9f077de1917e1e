"""Constraints of a token layout on sampling: end tokens, padding, and id ranges of flat layouts.

Letters: B rows, K slots, n slots sampled together, V vocabulary of a slot.
"""

import math

from vocalmtp.arrays import Array, as_float, constant, namespace, range_like
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState
from vocalmtp.models.streams import TEXT_ALONE


class ConstrainedSampler:
    """Samples the tokens of one step within the layout's rules (heads/base.py: SlotSampler).

    The leading slot may carry the end token once the text track points to the last character, or the
    text of an interleaved answer is over, and never before the first data step. Other slots never carry
    it, unless the layout has it in all of them: they are padded where the layout has nothing for them,
    and may be padded where the last step can have fewer frames.

    Args:
        layout: the slots of a step.
        state: the rows before the step; it is only read.
        noise: [B, K] uniform in [0, 1); None: taken from that of the state, if a row is not greedy.

    """

    def __init__(self, layout: TokenLayout, state: DecodeState, noise: Array | None = None):
        self.layout, self.state, self.xp = layout, state, namespace(state.steps)
        self.ended = state.ended  # [B], including this step's own end after the leading slot
        if noise is None and not (state.samplers and state.samplers.ignore_noise):
            noise = take_noise(state, layout)
        self.noise: Array = noise  # None: greedy

    def __call__(self, k: int, logits: Array) -> Array:
        """Sample slot `k` from logits [B, V], which may be overwritten: tokens [B]."""
        padding = self._padding((k,))
        return self._sample_slots((k,), logits[:, None], *padding)[:, 0]

    def all(self, logits: list[Array]) -> Array:
        """Sample all K slots from the logits [B, n, V] of every run, which may be overwritten.

        Returns:
            Tokens [B, K].

        """
        leading, *later = self.layout.runs
        sampled = [self._sample_slots(leading, logits[0], *self._padding(leading))]
        if later:
            may, must = self._padding(tuple(range(1, self.layout.tokens_per_step)))
        for run, together in zip(later, logits[1:], strict=True):
            own = [columns(x, tuple(k - 1 for k in run)) for x in (may, must)]
            sampled.append(self._sample_slots(run, together, *own))
        tokens = columns(self.xp.concatenate(sampled, 1), self.layout.run_places)
        if self.layout.all_end:
            tokens = self.layout.vote_end(tokens)
            self._note_end(tokens[:, 0])
        return tokens

    def _sample_slots(
        self, slots: tuple[int, ...], logits: Array, may_pad: Array, must_pad: Array
    ) -> Array:
        """Sample n slots of one vocabulary size: logits [B, n, V] to [B, n], see `_padding`."""
        slot, where = self.layout.slots[slots[0]], self.xp.where
        logits = as_float(logits)
        logits[..., slot.pad_id] = where(may_pad, logits[..., slot.pad_id], -math.inf)
        if slots[0] == 0 or self.layout.all_end:
            may_end = self._may_end()[:, None]
            logits[..., slot.end_id] = where(may_end, logits[..., slot.end_id], -math.inf)
        else:
            logits[..., slot.end_id] = -math.inf
        if self.layout.has_text_steps and slots[0] == 0:  # which steps have text is known
            alone = range_like(logits, slot.vocab_size) == TEXT_ALONE
            text = self.state.is_text_alone()[:, None, None]
            logits = where(alone == text, logits, -math.inf)
        if self.layout.flat:
            legal = self.layout.legal(self.state.steps)[:, None]
            logits[..., : slot.size] = where(legal, logits[..., : slot.size], -math.inf)
        logits = self._expect_advance(slots, self._penalize(slots, logits))
        tokens = self.draw(slots, logits, must_pad)
        if slots[0] == 0:
            self._note_end(tokens[:, 0])
        return tokens

    def _note_end(self, leading: Array) -> None:
        """Keep the step as the end of the rows whose leading slot [B] has it."""
        ends = self.layout.ends(leading) & (self.ended < 0)
        self.ended = self.xp.where(ends, self.state.steps, self.ended)

    def _penalize(self, slots: tuple[int, ...], logits: Array) -> Array:
        """Apply repetition penalties to logits [B, n, V] of n slots."""
        state = self.state
        if state.seen is None or state.samplers is None or not state.samplers.penalizes:
            return logits
        size = logits.shape[-1]
        starts = [self.layout.id_offsets[k] for k in slots]
        first_steps = [state.seen[:, start : start + size] for start in starts]
        seen = self.xp.stack(first_steps, 1) < state.steps[:, None, None]  # [B, n, V]
        return state.samplers.penalize(logits, seen)

    def _expect_advance(self, slots: tuple[int, ...], logits: Array) -> Array:
        """Leave greedy rows the expected advance, if `slots` are that of the joint advance alone."""
        samplers, layout = self.state.samplers, self.layout
        if samplers is None or slots != layout.joint_advance:
            return logits
        moves = constant(logits, layout.joint_moves).reshape(-1, layout.frames_per_step)
        return samplers.keep_expected(logits, as_float(moves))

    def draw(self, slots: tuple[int, ...], logits: Array, must_pad: Array) -> Array:
        """Choose the tokens of n slots of one vocabulary size; subclasses override this.

        Args:
            slots: their numbers.
            logits: [B, n, V], -inf where the layout allows no token.
            must_pad: [B, n], where padding is the only choice.

        Returns:
            Tokens [B, n].

        """
        assert self.state.samplers is not None
        noise = None if self.noise is None else columns(self.noise, slots)
        tokens = self.state.samplers.sample(logits, noise)
        return self.xp.where(must_pad, self.layout.slots[slots[0]].pad_id, tokens)

    def distribution(self, slots: tuple[int, ...], logits: Array, must_pad: Array) -> Array:
        """Probabilities [B, n, V] that `draw` samples from."""
        assert self.state.samplers is not None
        probs = self.state.samplers.probabilities(logits)
        pad = range_like(logits, logits.shape[-1]) == self.layout.slots[slots[0]].pad_id
        return self.xp.where(must_pad[..., None], as_float(pad), probs)

    def _may_end(self) -> Array:
        """[B]: where the leading slot may carry the end token."""
        state, layout = self.state, self.layout
        if layout.flat:
            streams = len(layout.streams)
            allowed = (state.steps >= streams) & (state.steps % streams == 0)
        else:
            allowed = state.steps > layout.leading_delay
        if state.pointers is not None and state.character_lengths is not None:
            allowed = allowed & (state.pointers >= state.character_lengths - 1)
        if state.writing is not None:
            allowed = allowed & ~state.writing
        return allowed & state.text_is_over() if layout.has_text_steps else allowed

    def _padding(self, slots: tuple[int, ...]) -> tuple[Array, Array]:
        """Where n slots may and where they must carry padding, [B, n] each."""
        own, steps = [self.layout.slots[k] for k in slots], self.state.steps[:, None]
        known = (self.ended >= 0)[:, None]
        if slots[0] == 0:
            return known, known | (steps < own[0].delay)
        delays = constant(steps, [slot.delay for slot in own])
        later = constant(steps, [slot.frame for slot in own]) > 0
        data_step = steps - delays  # [B, n]
        num = self.ended[:, None] - self.layout.leading_delay  # data steps, where the end is known
        must = (known & (data_step >= num)) | (data_step < 0)
        if self.layout.has_text_steps:
            must = must | self.state.is_text_alone()[:, None]
        may_be_last = ~known & (delays <= self.layout.leading_delay)
        ragged = (known & (data_step == num - 1)) | may_be_last
        return must | (ragged & later), must


def take_noise(state: DecodeState, layout: TokenLayout) -> Array:
    """Take the noise [B, K] of a step from that of the state."""
    assert state.noise is not None
    return state.noise.take(layout.tokens_per_step)


def columns(x: Array, numbers: tuple[int, ...]) -> Array:
    """Select columns of [B, K, ..] in this order."""
    first, count = numbers[0], len(numbers)
    if numbers == tuple(range(first, first + count)):
        return x[:, first : first + count]
    return x[:, constant(x, numbers)]
