"""Incremental decoding with the backbone: runners, and key-value caches whose rows come and go.

Letters: B rows, L positions, P positions in the cache, D width.
"""

from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.engines.cache import TreeMask

if TYPE_CHECKING:
    from transformers import DynamicCache, PretrainedConfig, PreTrainedModel


class KVCache(Protocol):
    """Keys and values of every row of a batch."""

    lengths: Tensor  # [B] positions of each row
    longest: int  # an upper bound of them, on the host, where it is known

    def select(self, rows: Tensor) -> None:
        """Keep only the rows [B'], in that order."""

    def join(self, other: Any) -> None:
        """Append the rows of another cache of the same class."""

    def crop(self, positions: Tensor | int) -> None:
        """Remove the last positions of every row: one number, or [B] for each row its own."""

    def keep_path(self, drafted: Tensor, path: Tensor, counts: Tensor) -> None:
        """Keep one path of a draft tree, as if its nodes had been a chain.

        Args:
            drafted: [B] how many of the last positions are drafts of the tree.
            path: [B, n] indices of the path's nodes among those, n being the depth of the tree.
            counts: [B] how many nodes of the path are kept.

        """


class Runner(Protocol):
    """Runs a backbone in decoding."""

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Any]:
        """Run left-padded prompts.

        Args:
            inputs: embeddings [B, L, D].
            mask: [B, L], 0 where a position is padding.

        Returns:
            Hidden states [B, L, D] and a KVCache.

        """

    def step(self, inputs: Tensor, cache: Any) -> Tensor:
        """Run one more position [B, D] of every row: its hidden states [B, D]."""

    def steps(self, inputs: Tensor, cache: Any, tree: TreeMask | None = None) -> Tensor:
        """Run several more positions [B, L, D] of every row at once: hidden states [B, L, D].

        They are a chain or, with the mask of a `tree`, a tree. All but its root may then be removed
        (`KVCache.crop`), or one path be kept (`KVCache.keep_path`).
        """


class PaddedCache:
    """The cache of Transformers: rows end together, and shorter ones are padded on the left."""

    def __init__(self, past: "DynamicCache", mask: Tensor):
        self.past, self.mask = past, mask  # [B, P] 1 where a position belongs to the row
        self.lengths = mask.sum(1)
        self.longest = mask.shape[1]
        self._update()

    def select(self, rows: Tensor) -> None:
        """Keep only the rows [B'], in that order."""
        self.past.batch_select_indices(rows)
        self.mask, self.lengths = self.mask[rows], self.lengths[rows]
        self._trim()

    def join(self, other: "PaddedCache") -> None:
        """Append the rows of another cache."""
        longest = max(self.mask.shape[1], other.mask.shape[1])
        for each in (self, other):
            missing = longest - each.mask.shape[1]
            each._map(partial(F.pad, pad=(0, 0, missing, 0)))
            each.mask = F.pad(each.mask, (missing, 0))
        layers: list[Any] = self.past.layers
        added: list[Any] = other.past.layers
        for layer, more in zip(layers, added, strict=True):
            layer.keys = torch.cat([layer.keys, more.keys])
            layer.values = torch.cat([layer.values, more.values])
        self.mask = torch.cat([self.mask, other.mask])
        self.lengths = torch.cat([self.lengths, other.lengths])
        self._update()

    def crop(self, positions: Tensor | int) -> None:
        """Remove the last positions of every row: one number, or [B] for each row its own."""
        self.lengths = self.lengths - positions
        if isinstance(positions, int):
            self.past.crop(-positions)
            self.mask = self.mask[:, : self.mask.shape[1] - positions]
            return
        if not bool(positions.any()):
            return
        place = torch.arange(self.mask.shape[1], device=self.mask.device)
        self._gather(place - positions[:, None])  # what is kept moves to the end

    def keep_path(self, drafted: Tensor, path: Tensor, counts: Tensor) -> None:
        """Keep one path of a draft tree, see KVCache."""
        self.lengths = self.lengths - drafted + counts
        width = self.mask.shape[1]
        place = torch.arange(width, device=self.mask.device)
        number = place - (width - counts[:, None])  # [B, P] on the path; negative before it
        chosen = width - drafted[:, None] + path.gather(1, number.clamp(min=0))
        self._gather(torch.where(number < 0, place - (drafted - counts)[:, None], chosen))

    def append(self, positions: int) -> None:
        """Count so many more positions of every row, which the backbone is about to write."""
        self.mask = F.pad(self.mask, (0, positions), value=1)
        self.lengths = self.lengths + positions

    def _gather(self, source: Tensor) -> None:
        """Move to every position what was at `source` [B, P]; nothing where that is negative."""
        index = source.clamp(min=0)
        self.mask = self.mask.gather(1, index) * (source >= 0)
        index = index[:, None, :, None]
        self._map(lambda x: x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3])))
        self._trim()

    def _trim(self) -> None:
        """Remove what is padding in all rows."""
        unused = self.mask.shape[1] - int(self.lengths.max())
        self._map(lambda x: x[..., unused:, :])
        self.mask = self.mask[:, unused:]
        self._update()

    def _update(self) -> None:
        """Note whether any row is padded: on the host, for no step has to wait for it."""
        self.padded = self.mask.shape[1] > int(self.lengths.min())

    def _map(self, change: Callable[[Tensor], Tensor]) -> None:
        layers: list[Any] = self.past.layers
        for layer in layers:
            layer.keys, layer.values = change(layer.keys), change(layer.values)


class TransformersRunner:
    """Runs any causal LM of Transformers through its own forward."""

    def __init__(self, backbone: "PreTrainedModel"):
        self.model: Any = backbone.base_model
        self.cache_argument = cache_argument(type(self.model).forward)

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, PaddedCache]:
        """Run left-padded prompts [B, L, D] with `mask` [B, L]: hidden [B, L, D], and a cache."""
        from transformers import DynamicCache

        cache = PaddedCache(DynamicCache(), mask)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return self._run(inputs, positions, cache), cache

    def step(self, inputs: Tensor, cache: PaddedCache) -> Tensor:
        """Run one more position [B, D] of every row: its hidden states [B, D]."""
        return self.steps(inputs[:, None], cache)[:, 0]

    def steps(self, inputs: Tensor, cache: PaddedCache, tree: TreeMask | None = None) -> Tensor:
        """Run several more positions [B, L, D] of every row, see Runner: hidden states [B, L, D]."""
        length, mask = inputs.shape[1], None
        depths = torch.arange(length, device=inputs.device)
        if tree is not None:
            depths, mask = tree.depths, tree_mask(cache.mask, tree.visible, inputs.dtype)
        positions = cache.lengths[:, None] + depths
        cache.append(length)
        return self._run(inputs, positions, cache, mask)

    def _run(
        self, inputs: Tensor, positions: Tensor, cache: PaddedCache, mask: Tensor | None = None
    ) -> Tensor:
        """Run inputs [B, L, D] at `positions` [B, L]: hidden states [B, L, D].

        `mask` [B, 1, L, P] is added to the attention scores; None for a chain.
        """
        if mask is None and cache.padded:
            mask = cache.mask
        output = self.model(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{self.cache_argument: cache.past},
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


@cache
def cache_argument(forward: Callable[..., Any]) -> str:
    """Return the argument of a backbone's forward that takes the cache; its name has changed."""
    return "cache" if "cache" in signature(forward).parameters else "past_key_values"


def tree_mask(before: Tensor, visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention mask of a draft tree: [B, 1, L, P + L] to be added to the scores.

    Args:
        before: [B, P] 1 where an earlier position belongs to the row.
        visible: [L, L] bool, see TreeMask.
        dtype: of the mask.

    """
    rows, length = len(before), len(visible)
    allowed = [before.bool()[:, None].expand(-1, length, -1), visible.expand(rows, -1, -1)]
    blocked = ~torch.cat(allowed, 2)[:, None]
    mask = torch.zeros(blocked.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(blocked, -torch.inf)


def has_sliding_window(config: "PretrainedConfig") -> bool:
    """Whether any layer of a backbone attends to the last few positions alone."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    windows = getattr(config, "use_sliding_window", True)
    return bool(windows and getattr(config, "sliding_window", None))
