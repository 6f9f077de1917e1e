"""Llama-like backbones for decoding with as few operations a step as there can be.

The same numbers as the layers of Transformers (tests/model/test_llama.py), with joined projections,
rotary positions as one complex product, and a cache that a step only writes into.
Letters: B rows, L positions, D width, H query heads, J key-value heads, d size of a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vocalmtp.engines.linears import Make, join_linears

SUPPORTED = ("llama", "qwen2")
BLOCK = 64  # places of a cache are added, and read, so many at a time


class AlignedCache:
    """Keys and values of all layers, every row from place 0 on: [layers, B, places, 2, J, d].

    Reading whole blocks, with what is beyond a row's end masked, adds zeros to the end of its sums
    and nothing else: a row's numbers do not depend on how long the others are.
    """

    def __init__(self, memory: Tensor, lengths: Tensor):
        self.memory, self.lengths = memory, lengths

    def select(self, rows: Tensor) -> None:
        self.lengths = self.lengths[rows]
        self.memory = self.memory[:, rows, : blocks(int(self.lengths.max()))]

    def join(self, other: "AlignedCache") -> None:
        both = joined([self, other])
        self.memory, self.lengths = both.memory, both.lengths

    def crop(self, positions: Tensor | int) -> None:
        self.lengths = self.lengths - positions

    def keep_path(self, tried: Tensor, path: Tensor, counts: Tensor) -> None:
        """See model/backbone.py. The drafts lie behind the places that their longest path takes."""
        longest, last = path.shape[1], self.memory.shape[2] - 1
        first = (self.lengths - tried)[:, None]  # [B, 1] place of the first draft of the path
        number = torch.arange(longest, device=path.device)
        target = (first + number).clamp(max=last)
        source = torch.where(number < counts[:, None], first + longest + path, target)
        rows = torch.arange(len(path), device=path.device)[:, None]
        self.memory[:, rows, target] = self.memory[:, rows, source]
        self.lengths = first[:, 0] + counts

    def grow(self, positions: int) -> int:
        """Make room for more positions of every row; the places to read then, whole blocks."""
        needed = blocks(int(self.lengths.max()) + positions)
        if needed > self.memory.shape[2]:
            self.memory = _with_room(self.memory, needed)
        return needed


def joined(caches: Sequence[AlignedCache]) -> AlignedCache:
    """One cache with the rows of all."""
    room = max(cache.memory.shape[2] for cache in caches)
    memory = torch.cat([_with_room(cache.memory, room) for cache in caches], 1)
    return AlignedCache(memory, torch.cat([cache.lengths for cache in caches]))


def blocks(positions: int) -> int:
    """The least whole number of blocks that has so many places, in places."""
    return -(-positions // BLOCK) * BLOCK


def _with_room(memory: Tensor, places: int) -> Tensor:
    if memory.shape[2] == places:
        return memory
    return F.pad(memory, (0, 0, 0, 0, 0, 0, 0, places - memory.shape[2]))


class Layer:
    """The weights of one decoder layer, joined; norms keep only what the products do not take."""

    def __init__(self, layer: nn.Module, make: Make, head_dim: int):
        attention, feed = layer.self_attn, layer.mlp
        turned = [_interleave(p, head_dim) for p in (attention.q_proj, attention.k_proj)]
        qkv = join_linears([*turned, attention.v_proj])
        gate_up = join_linears([feed.gate_proj, feed.up_proj])
        before, after = layer.input_layernorm, layer.post_attention_layernorm
        self.epsilon = before.variance_epsilon
        linears = _scaled(qkv, before.weight), attention.o_proj, _scaled(gate_up, after.weight)
        self.linears = [make(linear) for linear in (*linears, feed.down_proj)]
        # called without the hooks of modules, which cost as much as a small product
        calls = (getattr(x, "product", x.forward) for x in self.linears)
        self.qkv, self.out, self.gate_up, self.down = calls


class LlamaRunner:
    """A Runner (model/backbone.py) over the weights of a Llama or Qwen2 of Transformers.

    `make` turns a joined linear layer into what multiplies, such as Int8Linear.
    """

    def __init__(self, backbone: nn.Module, make: Make = lambda x: x):
        config, model = backbone.config, backbone.model
        self.heads, self.shared = config.num_attention_heads, config.num_key_value_heads
        self.dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.layers = [Layer(layer, make, self.dim) for layer in model.layers]
        self.norm = model.norm.forward
        self.places = torch.arange(config.max_position_embeddings)
        angles = self.places[:, None] * model.rotary_emb.inv_freq.double()  # [places, d / 2]
        self.turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)

    @staticmethod
    def knows(backbone: nn.Module) -> bool:
        """Whether this backbone is one that it can run."""
        config = backbone.config
        rope = getattr(config, "rope_parameters", None) or {}
        plain = rope.get("rope_type", "default") == "default"
        sliding = getattr(config, "use_sliding_window", False)
        return config.model_type in SUPPORTED and plain and not sliding

    @property
    def linears(self) -> list[nn.Module]:
        """Everything that multiplies in a step."""
        return [linear for layer in self.layers for linear in layer.linears]

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, AlignedCache]:
        """Row by row, without their padding: a row is read as it is alone."""
        rows = [row[keep.bool()][None] for row, keep in zip(inputs, mask, strict=True)]
        hidden, caches = zip(*map(self._prefill_row, rows), strict=True)
        padded = pad_sequence([x[0] for x in hidden], batch_first=True, padding_side="left")
        return padded, joined(caches)

    def _prefill_row(self, inputs: Tensor) -> tuple[Tensor, AlignedCache]:
        lengths = torch.zeros(1, dtype=torch.long, device=inputs.device)
        shape = (len(self.layers), 1, BLOCK, 2, self.shared, self.dim)
        cache = AlignedCache(inputs.new_zeros(shape), lengths)
        return self._run(inputs, cache), cache

    def step(self, inputs: Tensor, cache: AlignedCache) -> Tensor:
        return self._run(inputs[:, None], cache)[:, 0]

    def steps(self, inputs: Tensor, cache: AlignedCache, sees: Tensor | None = None) -> Tensor:
        return self._run(inputs, cache, apart=True, sees=sees)

    def _run(
        self,
        inputs: Tensor,
        cache: AlignedCache,
        apart: bool = False,
        sees: Tensor | None = None,
    ) -> Tensor:
        """[B, L, D] after what is in the cache -> hidden [B, L, D].

        With `apart`, every position has the bits that it has as a step of its own. So has a tree:
        in depth-first order, the keys that lead to a position are those last written at its depth
        and above, where a chain has them. Drafts are also put behind all that, to be kept.
        """
        batch, length, width = inputs.shape
        rows = torch.arange(batch, device=inputs.device)[:, None]
        depths, deepest, tree = self.places[:length], length - 1, sees is not None
        if tree:
            depths = sees.sum(1) - 1
            deepest = int(depths.max())
            cache.grow(deepest + length)
            drafts = torch.arange(1, length, device=inputs.device)
            aside = rows, cache.lengths[:, None] + deepest + drafts
        read = cache.grow(deepest + 1)
        places = cache.lengths[:, None] + depths  # [B, L]
        turn = self.turns[places][:, :, None]  # [B, L, 1, d / 2]
        seen = self.places[:read] <= places[..., None]  # [B, L, places]
        mask = inputs.new_zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, None]
        here = rows, places
        x = inputs.reshape(-1, width)  # [B L, D]
        shape = (width,)
        for layer, memory in zip(self.layers, cache.memory.unbind(), strict=True):
            qkv = layer.qkv(F.rms_norm(x, shape, None, layer.epsilon))
            qkv = qkv.view(batch, length, -1, self.dim)
            x = x + layer.out(self._attend(qkv, turn, memory, here, mask, apart, tree))
            if tree:
                memory[aside] = self._pairs(qkv)[:, 1:]
            gate, up = layer.gate_up(F.rms_norm(x, shape, None, layer.epsilon)).chunk(2, -1)
            x = x + layer.down(F.silu(gate).mul_(up))
        cache.lengths = cache.lengths + length
        return self.norm(x.view(inputs.shape))

    def _attend(
        self,
        heads: Tensor,
        turn: Tensor,
        memory: Tensor,
        here: tuple[Tensor, Tensor],
        mask: Tensor,
        apart: bool,
        tree: bool,
    ) -> Tensor:
        """Heads [B, L, H + 2 J, d], which are turned -> [B L, H d].

        Writes into `memory` [B, P, 2, J, d].
        """
        turned = self.heads + self.shared
        torch.view_as_complex(heads[:, :, :turned].unflatten(-1, (-1, 2))).mul_(turn)
        memory[here] = pairs = self._pairs(heads)
        keys, values = memory[:, : mask.shape[-1]].permute(2, 0, 3, 1, 4)  # [B, J, P, d] each
        query = heads[:, :, : self.heads].transpose(1, 2)  # [B, H, L, d]
        many = self.shared != self.heads

        def mix(query: Tensor, mask: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(query, keys, values, mask, enable_gqa=many)

        if apart and query.shape[2] > 1:  # products of several queries round in another order
            alone = []
            for i in range(query.shape[2]):
                if tree:
                    memory[here[0][:, 0], here[1][:, i]] = pairs[:, i]
                alone.append(mix(query[:, :, i : i + 1], mask[:, :, i : i + 1]))
            mixed = torch.cat(alone, 2)
        else:
            mixed = mix(query, mask)
        return mixed.transpose(1, 2).reshape(-1, self.heads * self.dim)

    def _pairs(self, heads: Tensor) -> Tensor:
        """Keys and values [B, L, 2, J, d] of heads [B, L, H + 2 J, d]."""
        return heads[:, :, self.heads :].unflatten(2, (2, -1))


def _scaled(linear: nn.Linear, weight: Tensor) -> nn.Linear:
    """`linear` of what a norm's `weight` has scaled, without the norm's part in it."""
    linear.weight = nn.Parameter(linear.weight * weight.detach(), requires_grad=False)
    return linear


def _interleave(linear: nn.Linear, head_dim: int) -> nn.Linear:
    """Reorder each head so that the two halves that turn together lie side by side."""
    order = torch.arange(linear.out_features).view(-1, 2, head_dim // 2).transpose(1, 2).flatten()
    turned = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None, "meta")
    turned.weight = nn.Parameter(linear.weight[order].detach(), requires_grad=False)
    if linear.bias is not None:
        turned.bias = nn.Parameter(linear.bias[order].detach(), requires_grad=False)
    return turned
