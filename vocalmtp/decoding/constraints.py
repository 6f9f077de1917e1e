"""Constraints of a token layout on sampling: end tokens, padding, and id ranges of flat layouts.

Letters: B rows, K slots, n slots sampled together, V vocabulary of a slot.
"""

from itertools import groupby

import torch
from torch import Tensor

from vocalmtp.decoding.sampling import Sampler, uniform
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState


class ConstrainedSampler:
    """Samples the tokens of one step within the layout's rules (heads/base.py: SlotSampler).

    The leading slot may carry the end token once the text track points to the last character, and
    never before the first data step. Other slots never carry it: they are padded where the layout
    has nothing for them, and may be padded where the last step can have fewer frames.

    Args:
        layout: the slots of a step.
        state: the rows before the step; it is only read.
        noise: [B, K] uniform in [0, 1); None: drawn from the rows' generators.

    """

    def __init__(self, layout: TokenLayout, state: DecodeState, noise: Tensor | None = None):
        self.layout, self.state = layout, state
        self.ended = state.ended  # [B], including this step's own end after the leading slot
        if noise is None:
            draws = [uniform(g, layout.tokens_per_step) for g in state.generators]
            noise = torch.stack(draws).to(state.steps.device)
        self.noise = noise

    def __call__(self, k: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Sample slot `k` from logits [B, V]: tokens [B] and their log-probabilities [B]."""
        tokens, log_probs = self._sample_slots(k, logits[:, None])
        return tokens[:, 0], log_probs[:, 0]

    def all(self, logits: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Sample all K slots from logits [B, V_k] each: tokens and log-probabilities, [B, K]."""
        slots = self.layout.slots
        runs = groupby(range(len(slots)), key=lambda k: (k > 0, slots[k].vocab_size))
        sampled = []
        for _, run in runs:
            first, *others = run
            together = torch.stack([logits[k] for k in (first, *others)], 1)  # [B, n, V]
            sampled.append(self._sample_slots(first, together))
        tokens, log_probs = zip(*sampled, strict=True)
        return torch.cat(tokens, 1), torch.cat(log_probs, 1)  # [B, K]

    def _sample_slots(self, first: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Sample n slots of one vocabulary size, from `first` on: logits [B, n, V] to [B, n]."""
        count = logits.shape[1]
        slot = self.layout.slots[first]
        may_pad, must_pad = self._padding(first, count)  # [B, n]
        may_end = self._may_end()[:, None] if first == 0 else torch.zeros_like(may_pad)
        logits = logits.float()
        special = torch.stack([may_end, may_pad], -1)  # [B, n, 2]
        special = torch.where(special, logits[..., slot.size :], -torch.inf)
        codes = logits[..., : slot.size]
        if self.layout.flat:
            codes = torch.where(self.layout.legal(self.state.steps)[:, None], codes, -torch.inf)
        tokens, log_probs = self.draw(first, torch.cat([codes, special], -1), must_pad)
        if first == 0:
            ends = self.layout.ends(tokens[:, 0]) & (self.ended < 0)
            self.ended = torch.where(ends, self.state.steps, self.ended)
        return tokens, log_probs

    def draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the tokens of n slots; subclasses override this.

        Args:
            first: the first of the slots.
            logits: [B, n, V], -inf where the layout allows no token.
            must_pad: [B, n], where padding is the only choice.

        Returns:
            Tokens and log-probabilities, [B, n] each.

        """
        noise = self.noise[:, first : first + logits.shape[1]]
        tokens, log_probs = self._sample_rows(logits, noise)
        tokens = torch.where(must_pad, self.layout.slots[first].pad_id, tokens)
        return tokens, torch.where(must_pad, 0.0, log_probs)

    def distribution(self, first: int, logits: Tensor, must_pad: Tensor) -> Tensor:
        """Probabilities [B, n, V] that `draw` samples from."""
        probs = torch.empty_like(logits)
        for sampler in dict.fromkeys(self.state.samplers):
            rows = [b for b, own in enumerate(self.state.samplers) if own == sampler]
            probs[rows] = sampler.probabilities(logits[rows].flatten(0, 1)).view_as(probs[rows])
        pad = torch.arange(logits.shape[-1], device=logits.device)
        pad = pad == self.layout.slots[first].pad_id
        return torch.where(must_pad[..., None], pad.to(probs.dtype), probs)

    def _sample_rows(self, logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Sample logits [B, n, V] with noise [B, n], every row by its own sampler."""
        samplers = self.state.samplers
        if all(sampler == samplers[0] for sampler in samplers):
            return _sample(samplers[0], logits, noise)
        tokens = torch.zeros_like(noise, dtype=torch.long)
        log_probs = torch.zeros_like(noise)
        for sampler in dict.fromkeys(samplers):
            rows = [b for b, own in enumerate(samplers) if own == sampler]
            tokens[rows], log_probs[rows] = _sample(sampler, logits[rows], noise[rows])
        return tokens, log_probs

    def _may_end(self) -> Tensor:
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

    def _padding(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Where the slots from `first` on may and where they must carry padding, [B, n] each."""
        slots, steps = self.layout.slots[first : first + count], self.state.steps[:, None]
        known = (self.ended >= 0)[:, None]
        if first == 0:
            return known, known | (steps < slots[0].delay)
        delays = torch.tensor([slot.delay for slot in slots], device=steps.device)
        later = torch.tensor([slot.frame > 0 for slot in slots], device=steps.device)
        data_step = steps - delays  # [B, n]
        num = self.ended[:, None] - self.layout.leading_delay  # data steps, where the end is known
        must = (known & (data_step >= num)) | (data_step < 0)
        may_be_last = ~known & (delays <= self.layout.leading_delay)
        ragged = (known & (data_step == num - 1)) | may_be_last
        return must | (ragged & later), must


def _sample(sampler: Sampler, logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    tokens, log_probs = sampler.sample(logits.flatten(0, 1), noise.flatten())
    return tokens.view_as(noise), log_probs.view_as(noise)
