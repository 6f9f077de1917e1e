"""Any causal LM of Transformers over a cache of fixed shape, whose rows have lengths of their own.

Every row starts at position 0 of the cache, and positions are written by index, so that no shape
depends on how long rows are. `LlamaRunner` does the same with own layers, for CPUs.
Letters: B rows, L positions, P positions of room in the cache, D width, J key-value heads, d size of
a head.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from vocalmtp.engines.cache import AlignedCache, TreeMask, whole_blocks
from vocalmtp.errors import InputError
from vocalmtp.models.backbone import cache_argument, has_sliding_window


class LayerMemory(Cache):
    """What the layers of Transformers write to and read from: the rows of an AlignedCache.

    Args:
        cache: the rows.
        slots: [B, L] where the new positions are written.
        read: how many positions of a row are read.

    """

    def __init__(self, cache: AlignedCache, slots: Tensor, read: int):
        super().__init__(layers=[])
        self.memory, self.slots, self.read = cache.key_values, slots, read
        self.rows = torch.arange(len(slots), device=slots.device)[:, None]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values [B, J, L, d] of a layer; return all of them, [B, J, P, d] each."""
        memory = self.memory[layer_idx]  # [B, P, 2, J, d]
        pairs = torch.stack([key_states, value_states], 1)  # [B, 2, J, L, d]
        memory[self.rows, self.slots] = pairs.permute(0, 3, 1, 2, 4)
        keys, values = memory[:, : self.read].permute(2, 0, 3, 1, 4)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: positions and masks are always given."""
        return 0


class AlignedRunner:
    """A Runner (models/backbone.py) of any causal LM with full attention.

    Args:
        backbone: the causal LM.
        mode: of torch.compile, for steps; None: they are not compiled.

    Raises:
        InputError: its layers do not attend to all positions, or keep something else than keys and
            values of one size.

    """

    def __init__(self, backbone: PreTrainedModel, mode: str | None = None):
        self.model: Any = backbone.base_model
        self.cache_argument = cache_argument(type(self.model).forward)
        self.shape = self._shape_of(backbone)  # layers, J, d
        self.mode = mode
        self.compiled: Any = self.model
        if mode is not None:
            self.compiled = torch.compile(self.model, mode=mode, dynamic=False)

    @torch.inference_mode()
    def _shape_of(self, backbone: PreTrainedModel) -> tuple[int, int, int]:
        """Run one position, and return the shape of what the layers keep of it."""
        kind = backbone.config.model_type
        unsupported = InputError(
            f"engine: a {kind} does not keep keys and values of all positions, of one size in all "
            "layers; give the engine eager",
            code="unsupported",
        )
        if has_sliding_window(backbone.config):
            raise unsupported
        table: Any = backbone.get_input_embeddings().weight
        inputs = torch.zeros_like(table[None, :1])
        past = DynamicCache()
        self.model(inputs_embeds=inputs, use_cache=True, **{self.cache_argument: past})
        layers: list[Any] = past.layers
        kept = [x for layer in layers for x in (layer.keys, layer.values)]
        shapes = {(x.shape[1], x.shape[3]) for x in kept if isinstance(x, Tensor)}
        if len(shapes) != 1 or not all(isinstance(x, Tensor) for x in kept):
            raise unsupported
        ((heads, size),) = shapes
        return len(layers), heads, size

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, AlignedCache]:
        """Run left-padded prompts [B, L, D] with `mask` [B, L]: hidden [B, L, D], and a cache."""
        rows, length, _ = inputs.shape
        layers, heads, size = self.shape
        lengths = mask.sum(1)
        room = inputs.new_zeros(layers, rows, whole_blocks(length), 2, heads, size)
        cache = AlignedCache(room, torch.zeros_like(lengths))
        padding = (length - lengths)[:, None]
        place = torch.arange(length, device=inputs.device)
        moved = _at(inputs, (place + padding).clamp(max=length - 1))  # rows start at position 0
        hidden = self._run(moved, cache, model=self.model)
        cache.lengths = lengths
        return _at(hidden, (place - padding).clamp(min=0)), cache

    def step(self, inputs: Tensor, cache: AlignedCache) -> Tensor:
        """Run one more position [B, D] of every row: its hidden states [B, D]."""
        return self._run(inputs[:, None], cache)[:, 0]

    def steps(self, inputs: Tensor, cache: AlignedCache, tree: TreeMask | None = None) -> Tensor:
        """Run several more positions [B, L, D] of every row, see Runner: hidden states [B, L, D]."""
        return self._run(inputs, cache, tree)

    def _run(
        self, inputs: Tensor, cache: AlignedCache, tree: TreeMask | None = None, model: Any = None
    ) -> Tensor:
        """Run positions [B, L, D] after those in the cache: hidden states [B, L, D].

        The drafts of a tree are written behind its deepest position, for `keep_path`. `model` is
        what runs them; None: the compiled backbone, if there is one.
        """
        if model is None:
            model = self.compiled
            if self.mode is not None:  # it writes the cache in place
                torch._dynamo.mark_static_address(cache.key_values)
        length, device = inputs.shape[1], inputs.device
        number, before = torch.arange(length, device=device), cache.lengths[:, None]
        read = cache.grow(length if tree is None else tree.deepest + length)
        place = torch.arange(read, device=device)
        if tree is None:
            positions = slots = before + number  # [B, L]
            seen = place <= slots[..., None]  # [B, L, P]
        else:
            positions = before + tree.depths
            slots = before + torch.where(number > 0, tree.deepest + number, 0)
            drafted = place - before - tree.deepest  # [B, P] number of the draft at a place
            known = (drafted > 0) & (drafted < length)
            ancestor = tree.visible[:, drafted.clamp(0, length - 1)].transpose(0, 1)  # [B, L, P]
            seen = (place <= before)[:, None] | (known[:, None] & ancestor)
        mask = inputs.new_zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, None]
        output = model(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{self.cache_argument: LayerMemory(cache, slots, read)},
        )
        cache.append(length)
        hidden: Tensor = output.last_hidden_state
        return hidden


def _at(x: Tensor, place: Tensor) -> Tensor:
    """Select the positions `place` [B, L] of [B, L, D]."""
    return x.gather(1, place[..., None].expand_as(x))
