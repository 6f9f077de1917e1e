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

    def crop(self, positions: Tensor | int) -> None:
        """Forget the last so many positions of every row, or as many as [B] says of each."""

    def keep_path(self, tried: Tensor, path: Tensor, counts: Tensor) -> None:
        """Of the last `tried` [B] positions, drafts of a tree, keep one path, as if of a chain.

        `path` [B, n] numbers them from 0, n being the depth of the tree; the first `counts` [B] of
        it are kept.
        """


class Runner(Protocol):
    """A backbone for decoding."""

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Cache]:
        """Left-padded inputs [B, L, D] with `mask` [B, L]: hidden [B, L, D], and a cache."""

    def step(self, inputs: Tensor, cache: Cache) -> Tensor:
        """One more position [B, D] of every row to its hidden state [B, D]; the cache grows."""

    def steps(self, inputs: Tensor, cache: Cache, sees: Tensor | None = None) -> Tensor:
        """Several more positions [B, L, D] of every row at once, likewise.

        They are a chain, or with `sees` [L, L] a tree in depth-first order: the first is its root,
        and `sees` says which of them each one sees: those that lead to it, and itself. All but the
        root may then be forgotten (`Cache.crop`), or one path be kept (`Cache.keep`).
        """


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

    def crop(self, positions: Tensor | int) -> None:
        self.lengths = self.lengths - positions
        if isinstance(positions, int):
            self.past.crop(-positions)
            self.mask = self.mask[:, : self.mask.shape[1] - positions]
            return
        place = torch.arange(self.mask.shape[1], device=self.mask.device)
        self._take(place - positions[:, None])  # what is kept moves to the end

    def keep_path(self, tried: Tensor, path: Tensor, counts: Tensor) -> None:
        self.lengths = self.lengths - tried + counts
        width = self.mask.shape[1]
        place = torch.arange(width, device=self.mask.device)
        number = place - (width - counts[:, None])  # [B, L] on the path; below 0 before it
        chosen = width - tried[:, None] + path.gather(1, number.clamp(min=0))
        self._take(torch.where(number < 0, place - (tried - counts)[:, None], chosen))

    def _take(self, source: Tensor) -> None:
        """Every place has what was in `source` [B, L]; below 0 there is nothing."""
        index = source.clamp(min=0)
        self.mask = self.mask.gather(1, index) * (source >= 0)
        index = index[:, None, :, None]
        self._each(lambda x: x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3])))
        unused = self.mask.shape[1] - int(self.lengths.max())
        self._each(lambda x: x[..., unused:, :])
        self.mask = self.mask[:, unused:]

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
        return self.steps(inputs[:, None], cache)[:, 0]

    def steps(self, inputs: Tensor, cache: PaddedCache, sees: Tensor | None = None) -> Tensor:
        length, mask = inputs.shape[1], None
        depths = torch.arange(length, device=inputs.device)
        if sees is not None:
            depths, mask = sees.sum(1) - 1, tree_mask(cache.mask, sees, inputs.dtype)
        positions = cache.lengths[:, None] + depths
        cache.mask = F.pad(cache.mask, (0, length), value=1)
        cache.lengths = cache.lengths + length
        return self._run(inputs, positions, cache, mask)

    def _run(
        self, inputs: Tensor, positions: Tensor, cache: PaddedCache, mask: Tensor | None = None
    ) -> Tensor:
        """Inputs [B, L, D] at `positions` [B, L] to hidden [B, L, D].

        `mask` is what is added to the scores, [B, 1, L, P]; None: by the cache, in a chain.
        """
        if mask is None and cache.mask.shape[1] > int(cache.lengths.min()):
            mask = cache.mask
        output = self.model(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache.past,
            use_cache=True,
        )
        return output.last_hidden_state


def tree_mask(before: Tensor, sees: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of a tree behind `before` [B, P], of 1 or 0: [B, 1, L, P + L]."""
    rows, length = len(before), len(sees)
    allowed = [before.bool()[:, None].expand(-1, length, -1), sees.expand(rows, -1, -1)]
    blocked = ~torch.cat(allowed, 2)[:, None]
    return torch.zeros(blocked.shape, dtype=dtype, device=sees.device).masked_fill_(
        blocked, -torch.inf
    )


def in_windows(config: Any) -> bool:
    """Whether a backbone of Transformers has layers that see the last so many positions alone."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    windows = getattr(config, "use_sliding_window", True)
    return bool(windows and getattr(config, "sliding_window", None))
