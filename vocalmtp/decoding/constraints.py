"""Constraints of a token layout on sampling: end tokens, padding, and id ranges of flat layouts.

Letters: B rows, K slots, n slots sampled together, V vocabulary of a slot.
"""

import math
from itertools import groupby

from vocalmtp.arrays import Array, as_float, constant, namespace, range_like
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState


class ConstrainedSampler:
    """Samples the tokens of one step within the layout's rules (heads/base.py: SlotSampler).

    The leading slot may carry the end token once the text track points to the last character, and
    never before the first data step. Other slots never carry it, unless the layout has it in all of
    them: they are padded where the layout has nothing for them, and may be padded where the last step
    can have fewer frames.

    Args:
        layout: the slots of a step.
        state: the rows before the step; it is only read.
        noise: [B, K] uniform in [0, 1); None: taken from the noise of the state.

    """

    def __init__(self, layout: TokenLayout, state: DecodeState, noise: Array | None = None):
        self.layout, self.state, self.xp = layout, state, namespace(state.steps)
        self.ended = state.ended  # [B], including this step's own end after the leading slot
        if noise is None:
            assert state.noise is not None
            noise = state.noise.take(layout.tokens_per_step)
        self.noise = noise

    def __call__(self, k: int, logits: Array) -> tuple[Array, Array]:
        """Sample slot `k` from logits [B, V]: tokens [B] and their log-probabilities [B]."""
        tokens, log_probs = self._sample_slots(k, logits[:, None])
        return tokens[:, 0], log_probs[:, 0]

    def all(self, logits: list[Array]) -> tuple[Array, Array]:
        """Sample all K slots from logits [B, V_k] each: tokens and log-probabilities, [B, K]."""
        slots = self.layout.slots
        runs = groupby(range(len(slots)), key=lambda k: (k > 0, slots[k].vocab_size))
        sampled = []
        for _, run in runs:
            first, *others = run
            together = self.xp.stack([logits[k] for k in (first, *others)], 1)  # [B, n, V]
            sampled.append(self._sample_slots(first, together))
        parts, log_probs = zip(*sampled, strict=True)
        tokens = self.xp.concatenate(parts, 1)  # [B, K]
        if self.layout.all_end:
            tokens = self.layout.vote_end(tokens)
            self._note_end(tokens[:, 0])
        return tokens, self.xp.concatenate(log_probs, 1)

    def _sample_slots(self, first: int, logits: Array) -> tuple[Array, Array]:
        """Sample n slots of one vocabulary size, from `first` on: logits [B, n, V] to [B, n]."""
        xp, count = self.xp, logits.shape[1]
        slot = self.layout.slots[first]
        may_pad, must_pad = self._padding(first, count)  # [B, n]
        may_end = xp.zeros_like(may_pad)
        if first == 0 or self.layout.all_end:
            may_end = may_end | self._may_end()[:, None]
        logits = as_float(logits)
        special = xp.stack([may_end, may_pad], -1)  # [B, n, 2]
        special = xp.where(special, logits[..., slot.size :], -math.inf)
        codes = logits[..., : slot.size]
        if self.layout.flat:
            codes = xp.where(self.layout.legal(self.state.steps)[:, None], codes, -math.inf)
        logits = self._penalize(first, xp.concatenate([codes, special], -1))
        tokens, log_probs = self.draw(first, logits, must_pad)
        if first == 0:
            self._note_end(tokens[:, 0])
        return tokens, log_probs

    def _note_end(self, leading: Array) -> None:
        """Keep the step as the end of the rows whose leading slot [B] has it."""
        ends = self.layout.ends(leading) & (self.ended < 0)
        self.ended = self.xp.where(ends, self.state.steps, self.ended)

    def _penalize(self, first: int, logits: Array) -> Array:
        """Apply repetition penalties to logits [B, n, V] of the slots from `first` on."""
        state = self.state
        if state.seen is None or state.samplers is None or not state.samplers.penalizes:
            return logits
        size = logits.shape[-1]
        starts = self.layout.id_offsets[first : first + logits.shape[1]]
        first_steps = [state.seen[:, start : start + size] for start in starts]
        seen = self.xp.stack(first_steps, 1) < state.steps[:, None, None]  # [B, n, V]
        return state.samplers.penalize(logits, seen)

    def draw(self, first: int, logits: Array, must_pad: Array) -> tuple[Array, Array]:
        """Choose the tokens of n slots; subclasses override this.

        Args:
            first: the first of the slots.
            logits: [B, n, V], -inf where the layout allows no token.
            must_pad: [B, n], where padding is the only choice.

        Returns:
            Tokens and log-probabilities, [B, n] each.

        """
        noise = self.noise[:, first : first + logits.shape[1]]
        assert self.state.samplers is not None
        tokens, log_probs = self.state.samplers.sample(logits, noise)
        tokens = self.xp.where(must_pad, self.layout.slots[first].pad_id, tokens)
        return tokens, self.xp.where(must_pad, 0.0, log_probs)

    def distribution(self, first: int, logits: Array, must_pad: Array) -> Array:
        """Probabilities [B, n, V] that `draw` samples from."""
        assert self.state.samplers is not None
        probs = self.state.samplers.probabilities(logits)
        pad = range_like(logits, logits.shape[-1]) == self.layout.slots[first].pad_id
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
        return allowed

    def _padding(self, first: int, count: int) -> tuple[Array, Array]:
        """Where the slots from `first` on may and where they must carry padding, [B, n] each."""
        slots, steps = self.layout.slots[first : first + count], self.state.steps[:, None]
        known = (self.ended >= 0)[:, None]
        if first == 0:
            return known, known | (steps < slots[0].delay)
        delays = constant(steps, [slot.delay for slot in slots])
        later = constant(steps, [slot.frame for slot in slots]) > 0
        data_step = steps - delays  # [B, n]
        num = self.ended[:, None] - self.layout.leading_delay  # data steps, where the end is known
        must = (known & (data_step >= num)) | (data_step < 0)
        may_be_last = ~known & (delays <= self.layout.leading_delay)
        ragged = (known & (data_step == num - 1)) | may_be_last
        return must | (ragged & later), must
