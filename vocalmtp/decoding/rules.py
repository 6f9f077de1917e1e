"""What the layout allows at a step: ends, paddings, and the id ranges of a flat layout.

Letters: B rows, K slots, V_k vocabulary of slot k.
"""

import torch
from torch import Tensor

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.state import DecodeState
from vocalmtp.layout import TokenLayout


class RulePicker:
    """Picks the tokens of one step slot by slot (heads/base.py: SlotPicker), within the rules.

    The leading slot may say the end once the text track stands on its last character (and never
    before the first data step). Other slots never say the end; they are padded where the layout has
    nothing for them, and may say "no such frame" only where the last step can be ragged.
    """

    def __init__(self, layout: TokenLayout, state: DecodeState, sampler: Sampler):
        self.layout, self.state, self.sampler = layout, state, sampler
        self.ended = state.ended  # [B], with this step's own end once the leading slot is picked
        slots = layout.tokens_per_step
        draws = [torch.rand(slots, generator=g) for g in state.generators]
        self.noise = torch.stack(draws).to(state.positions.device)  # [B, K]

    def __call__(self, k: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        slot, step = self.layout.slots[k], self.state.steps
        may_pad, must_pad = self._padding(k)
        may_end = self._may_end() if k == 0 else torch.zeros_like(may_pad)
        logits = logits.float()
        special = torch.stack([may_end, may_pad], -1)  # [B, 2]
        special = torch.where(special, logits[:, slot.size :], -torch.inf)
        codes = logits[:, : slot.size]
        if self.layout.flat:
            low, high = self.layout.bounds(step)
            ids = torch.arange(slot.size, device=logits.device)
            codes = torch.where((ids >= low) & (ids < high), codes, -torch.inf)
        tokens, log_probs = self.sampler.sample(torch.cat([codes, special], -1), self.noise[:, k])
        tokens = torch.where(must_pad, slot.pad_id, tokens)
        log_probs = torch.where(must_pad, 0.0, log_probs)
        if k == 0:
            self.ended = torch.where((tokens == slot.end_id) & (self.ended < 0), step, self.ended)
        return tokens, log_probs

    def _may_end(self) -> Tensor:
        """[B]: where the leading slot may say the end."""
        state, layout = self.state, self.layout
        first = layout.leading_delay + 1
        if layout.flat:
            first = len(layout.streams)
        allowed = torch.full_like(self.ended, state.steps >= first, dtype=torch.bool)
        if layout.flat and state.steps % len(layout.streams):
            allowed = torch.zeros_like(allowed)
        if state.pointers is not None:
            allowed = allowed & (state.pointers >= state.character_lengths - 1)
        return allowed

    def _padding(self, k: int) -> tuple[Tensor, Tensor]:
        """Where slot `k` may and where it must carry padding, [B] each."""
        slot, step = self.layout.slots[k], self.state.steps
        known = self.ended >= 0
        if k == 0:
            return known, known | (step < slot.delay)
        data_step = step - slot.delay
        num = self.ended - self.layout.leading_delay  # data steps, where the end is known
        must = (known & (data_step >= num)) | (data_step < 0)
        may_be_last = ~known & (slot.delay <= self.layout.leading_delay)
        ragged = (known & (data_step == num - 1)) | may_be_last
        return must | (ragged & (slot.frame > 0)), must
