"""Running a backbone step by step, and what it remembers of every row.

Letters: B rows, L positions, D width.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache


class Cache(Protocol):
    """What the backbone has seen of every row; rows may come and go at any step."""

    lengths: Tensor  # [B] positions seen

    def select(self, rows: Tensor) -> None:
        """Keep only these rows [B'], in this order."""

    def join(self, other: Any) -> None:
        """Take in the rows of another cache of the same kind, after those here."""

    def crop(self, positions: int) -> None:
        """Forget the last so many positions of every row."""


class Runner(Protocol):
    """A backbone for decoding."""

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Cache]:
        """Left-padded inputs [B, L, D] with `mask` [B, L]: hidden [B, D] of the last, a cache."""

    def step(self, inputs: Tensor, cache: Cache) -> Tensor:
        """One more position [B, D] of every row to its hidden state [B, D]; the cache grows."""


class PaddedCache:
    """Transformers' own cache: all rows end together, shorter ones are padded on the left."""

    def __init__(self, past: DynamicCache, mask: Tensor):
        self.past, self.mask = past, mask  # [B, L] 1 where a position is the row's
        self.lengths = mask.sum(1)

    def select(self, rows: Tensor) -> None:
        self.past.batch_select_indices(rows)
        self.mask, self.lengths = self.mask[rows], self.lengths[rows]
        unused = self.mask.shape[1] - int(self.lengths.max())  # padding in all rows now
        self._each(lambda x: x[..., unused:, :])
        self.mask = self.mask[:, unused:]

    def join(self, other: "PaddedCache") -> None:
        longest = max(self.mask.shape[1], other.mask.shape[1])
        for cache in (self, other):
            missing = longest - cache.mask.shape[1]
            cache._each(lambda x, missing=missing: F.pad(x, (0, 0, missing, 0)))
            cache.mask = F.pad(cache.mask, (missing, 0))
        for mine, theirs in zip(self.past.layers, other.past.layers, strict=True):
            mine.keys = torch.cat([mine.keys, theirs.keys])
            mine.values = torch.cat([mine.values, theirs.values])
        self.mask = torch.cat([self.mask, other.mask])
        self.lengths = torch.cat([self.lengths, other.lengths])

    def crop(self, positions: int) -> None:
        self.past.crop(-positions)
        self.mask = self.mask[:, :-positions]
        self.lengths = self.lengths - positions

    def _each(self, change: Any) -> None:
        for layer in self.past.layers:
            layer.keys, layer.values = change(layer.keys), change(layer.values)


class TransformersRunner:
    """Any causal LM of Transformers, called as it is."""

    def __init__(self, backbone: nn.Module):
        self.model = backbone.base_model

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, PaddedCache]:
        cache = PaddedCache(DynamicCache(), mask)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return self._run(inputs, positions, cache), cache

    def step(self, inputs: Tensor, cache: PaddedCache) -> Tensor:
        positions = cache.lengths[:, None]
        cache.mask = F.pad(cache.mask, (0, 1), value=1)
        cache.lengths = cache.lengths + 1
        return self._run(inputs[:, None], positions, cache)

    def _run(self, inputs: Tensor, positions: Tensor, cache: PaddedCache) -> Tensor:
        padded = cache.mask.shape[1] > int(cache.lengths.min())
        output = self.model(
            inputs_embeds=inputs,
            attention_mask=cache.mask if padded else None,
            position_ids=positions,
            past_key_values=cache.past,
            use_cache=True,
        )
        return output.last_hidden_state[:, -1]
