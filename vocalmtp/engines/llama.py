"""Llama-like backbones for decoding on a CPU, with as few operations per step as possible.

Numerically equal to the layers of Transformers (tests/engines/test_llama.py), with joined
projections, rotary positions as one complex product, and a cache that is written in place.
Letters: B rows, L positions, P positions of room in the cache, D width, H query heads, J key-value
heads, d size of a head.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vocalmtp.engines.cache import BLOCK, AlignedCache, TreeMask, join_caches, whole_blocks
from vocalmtp.engines.linears import LinearFactory, join_linears, keep_linear

SUPPORTED = ("llama", "qwen2", "qwen3")
ROPE_TYPES = ("default", "llama3")  # whose frequencies are constants


class Layer:
    """The joined weights of one decoder layer, which include those of the norms before them."""

    def __init__(self, layer: Any, convert: LinearFactory, head_dim: int):
        attention, feed = layer.self_attn, layer.mlp
        rotated = [_interleave(p, head_dim) for p in (attention.q_proj, attention.k_proj)]
        qkv = in_float32(join_linears([*rotated, attention.v_proj]))
        gate_up = in_float32(join_linears([feed.gate_proj, feed.up_proj]))
        before, after = layer.input_layernorm, layer.post_attention_layernorm
        self.epsilon: float = before.variance_epsilon
        self.scales: Tensor | None = None  # [H + J, d] of the norms of queries and keys
        if hasattr(attention, "q_norm"):
            scales = [
                _interleaved(norm.weight, head_dim).expand(linear.out_features // head_dim, -1)
                for norm, linear in (
                    (attention.q_norm, attention.q_proj),
                    (attention.k_norm, attention.k_proj),
                )
            ]
            self.scales = torch.cat(scales).detach().float()
        out, down = in_float32(attention.o_proj), in_float32(feed.down_proj)
        linears = _scaled(qkv, before.weight), out, _scaled(gate_up, after.weight), down
        self.linears = [convert(linear) for linear in linears]
        # called without the hooks of modules, which cost as much as a small product
        calls = [getattr(x, "product", x.forward) for x in self.linears]
        self.qkv: Callable[[Tensor], Tensor] = calls[0]
        self.out: Callable[[Tensor], Tensor] = calls[1]
        self.gate_up: Callable[[Tensor], Tensor] = calls[2]
        self.down: Callable[[Tensor], Tensor] = calls[3]

    def normalize(self, qkv: Tensor) -> None:
        """Normalize the queries and keys of [B, L, H + 2 J, d] in place, where the layer does so."""
        if self.scales is not None:
            part = qkv[:, :, : len(self.scales)]
            part.copy_(F.rms_norm(part, part.shape[-1:], None, self.epsilon) * self.scales)


class LlamaRunner:
    """A Runner (models/backbone.py) with the weights of a Llama, Qwen2 or Qwen3 of Transformers.

    Args:
        backbone: the causal LM, whose weights may have 16 bits; it is run in float32.
        convert: makes the module that replaces a joined linear layer, such as Int8Linear.

    """

    def __init__(self, backbone: Any, convert: LinearFactory = keep_linear):
        config, model = backbone.config, backbone.model
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.layers = [Layer(layer, convert, self.dim) for layer in model.layers]
        self.norm: Callable[[Tensor], Tensor] = fused_norm(model.norm.float())
        frequencies = model.rotary_emb.inv_freq.double()  # [d / 2]
        self.places = torch.arange(config.max_position_embeddings, device=frequencies.device)
        angles = self.places[:, None] * frequencies
        self.rotations = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        # row i is the mask of the position that is i before the last: zeros up to it, then -inf
        room = whole_blocks(len(self.places))
        ramp = frequencies.new_zeros(2 * room, dtype=torch.float32)
        ramp[room:] = -torch.inf
        self.masks = ramp.unfold(0, room, 1)  # [P + 1, P], a view

    @staticmethod
    def supports(backbone: nn.Module) -> bool:
        """Whether it can run this backbone."""
        config: Any = backbone.config
        rope = getattr(config, "rope_parameters", None) or {}
        plain = rope.get("rope_type", "default") in ROPE_TYPES
        sliding = getattr(config, "use_sliding_window", False)
        known = next(backbone.parameters()).dtype in (torch.float32, torch.float16, torch.bfloat16)
        return config.model_type in SUPPORTED and plain and not sliding and known

    @property
    def linears(self) -> list[nn.Module]:
        """The linear layers of all decoder layers."""
        return [linear for layer in self.layers for linear in layer.linears]

    def prefill(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, AlignedCache]:
        """Run left-padded prompts [B, L, D] with `mask` [B, L]: hidden [B, L, D], and a cache.

        Rows run one by one without their padding, so that they get the bits that they get alone.
        """
        rows = [row[keep.bool()][None] for row, keep in zip(inputs, mask, strict=True)]
        hidden, caches = zip(*map(self._prefill_row, rows), strict=True)
        padded = pad_sequence([x[0] for x in hidden], batch_first=True, padding_side="left")
        return padded, join_caches(caches)

    def _prefill_row(self, inputs: Tensor) -> tuple[Tensor, AlignedCache]:
        lengths = torch.zeros(1, dtype=torch.long, device=inputs.device)
        shape = (len(self.layers), 1, BLOCK, 2, self.kv_heads, self.dim)
        cache = AlignedCache(inputs.new_zeros(shape), lengths)
        return self._run(inputs, cache), cache

    def step(self, inputs: Tensor, cache: AlignedCache) -> Tensor:
        """Run one more position [B, D] of every row: its hidden states [B, D]."""
        return self._run(inputs[:, None], cache)[:, 0]

    def steps(self, inputs: Tensor, cache: AlignedCache, tree: TreeMask | None = None) -> Tensor:
        """Run several more positions [B, L, D] of every row, see Runner: hidden states [B, L, D].

        Every position gets the bits that it gets as a step of its own.
        """
        return self._run(inputs, cache, one_by_one=True, tree=tree)

    def _run(
        self,
        inputs: Tensor,
        cache: AlignedCache,
        one_by_one: bool = False,
        tree: TreeMask | None = None,
    ) -> Tensor:
        """Run positions [B, L, D] after those in the cache: hidden states [B, L, D].

        With `one_by_one`, every position gets the bits that it gets as a step of its own. That
        holds for a tree as well: in depth-first order, the keys of a position's ancestors are those
        last written at their depths, where a chain has them. The drafts of a tree are also written
        behind its deepest position, for `keep_path`.
        """
        batch, length, width = inputs.shape
        device = inputs.device
        rows = torch.arange(batch, device=device)[:, None]
        depths, deepest = self.places[:length], length - 1
        aside = None
        if tree is not None:
            depths, deepest = tree.depths, tree.deepest
            cache.grow(deepest + length)
            number = torch.arange(1, length, device=device)
            aside = rows, cache.lengths[:, None] + deepest + number  # of the drafts
        read = cache.grow(deepest + 1)
        places = cache.lengths[:, None] + depths  # [B, L]
        rotation = self.rotations[places][:, :, None]  # [B, L, 1, d / 2]
        last = self.masks.shape[1] - 1
        mask = self.masks[:, :read][last - places][:, None]  # [B, 1, L, P]
        x = inputs.reshape(-1, width)  # [B L, D]
        shape = (width,)
        memories = cache.layers(read)
        for layer, memory in zip(self.layers, memories, strict=True):
            qkv = layer.qkv(F.rms_norm(x, shape, None, layer.epsilon))
            qkv = qkv.view(batch, length, -1, self.dim)
            layer.normalize(qkv)
            here = rows, places
            mixed = self._attend(qkv, rotation, memory, here, mask, one_by_one, tree is not None)
            x = x + layer.out(mixed)
            if aside is not None:
                memory[0][aside] = self._key_values(qkv)[:, 1:]
            gate, up = layer.gate_up(F.rms_norm(x, shape, None, layer.epsilon)).chunk(2, -1)
            x = x + layer.down(F.silu(gate).mul_(up))
        cache.append(length)
        return self.norm(x.view(inputs.shape))

    def _attend(
        self,
        qkv: Tensor,
        rotation: Tensor,
        memory: tuple[Tensor, Tensor, Tensor],
        here: tuple[Tensor, Tensor],
        mask: Tensor,
        one_by_one: bool,
        tree: bool,
    ) -> Tensor:
        """Attention of one layer: [B, L, H + 2 J, d] to [B L, H d].

        Rotates the queries and keys of `qkv` in place, and writes keys and values into `memory`, see
        `AlignedCache.layers`, at `here`, rows and positions.
        """
        rotated = qkv[:, :, : self.heads + self.kv_heads].unflatten(-1, (-1, 2))
        torch.view_as_complex(rotated).mul_(rotation)
        written, keys, values = memory
        pairs = self._key_values(qkv)
        written.index_put_(here, pairs)
        query = qkv[:, :, : self.heads].transpose(1, 2)  # [B, H, L, d]
        grouped = self.kv_heads != self.heads

        def attend(query: Tensor, mask: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(query, keys, values, mask, enable_gqa=grouped)

        length = query.shape[2]
        if one_by_one and length > 1 and len(query) == 1 and not tree:  # as rows of one query each
            keys, values = (x.expand(length, -1, -1, -1) for x in (keys, values))
            mixed = attend(query.transpose(0, 2), mask.transpose(0, 2)).transpose(0, 2)
        elif one_by_one and length > 1:  # several queries at once round in another order
            parts = []
            for i in range(query.shape[2]):
                if tree:
                    written[here[0][:, 0], here[1][:, i]] = pairs[:, i]
                parts.append(attend(query[:, :, i : i + 1], mask[:, :, i : i + 1]))
            mixed = torch.cat(parts, 2)
        else:
            mixed = attend(query, mask)
        return mixed.transpose(1, 2).reshape(-1, self.heads * self.dim)

    def _key_values(self, qkv: Tensor) -> Tensor:
        """Keys and values [B, L, 2, J, d] of [B, L, H + 2 J, d]."""
        return qkv[:, :, self.heads :].unflatten(2, (2, -1))


def fused_norm(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return an RMS norm of Transformers as one operator; another module as it is."""
    weight, epsilon = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)
    if weight is None or epsilon is None:
        return norm.forward
    shape = tuple(weight.shape)
    return partial(F.rms_norm, normalized_shape=shape, weight=weight.detach(), eps=epsilon)


def _scaled(linear: nn.Linear, weight: Tensor) -> nn.Linear:
    """Multiply a norm's `weight` into the layer behind it, in place."""
    scaled = linear.weight * weight.detach().float()
    linear.weight = nn.Parameter(scaled, requires_grad=False)
    return linear


def in_float32(linear: nn.Linear) -> nn.Linear:
    """Return a layer in float32: itself, or a copy of one in 16 bits."""
    if linear.weight.dtype == torch.float32:
        return linear
    copied = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None, "meta")
    copied.weight = nn.Parameter(linear.weight.detach().float(), requires_grad=False)
    if linear.bias is not None:
        copied.bias = nn.Parameter(linear.bias.detach().float(), requires_grad=False)
    return copied


def _interleaved(values: Tensor, head_dim: int) -> Tensor:
    """Reorder values of outputs [H d], see `_interleave`."""
    return values.view(-1, 2, head_dim // 2).transpose(1, 2).flatten()


def _interleave(linear: nn.Linear, head_dim: int) -> nn.Linear:
    """Reorder the outputs of each head so that the two halves that rotate together are adjacent."""
    order = _interleaved(torch.arange(linear.out_features, device=linear.weight.device), head_dim)
    turned = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None, "meta")
    turned.weight = nn.Parameter(linear.weight[order].detach(), requires_grad=False)
    if linear.bias is not None:
        turned.bias = nn.Parameter(linear.bias[order].detach(), requires_grad=False)
    return turned
