"""A small transformer over short sequences, shared by every head that needs layers.

Letters: N sequences, L positions, D width, H attention heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Cache = list[tuple[Tensor, Tensor]]  # keys and values [N, H, L, D / H] of every layer


def rotate(x: Tensor, start: int) -> Tensor:
    """Rotary positions (RoFormer, arXiv 2104.09864) for [N, H, L, d] from position `start`."""
    half = x.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = (
        torch.arange(start, start + x.shape[-2], device=x.device)[:, None] * rates
    )  # [L, d / 2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Block(nn.Module):
    """Pre-norm attention and gated feed-forward, as in Llama."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None, causal: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[N, L, D] after `past` keys and values to [N, L, D] and the longer keys and values."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [N, H, L, d]
        start = 0 if past is None else past[0].shape[-2]
        query, key = rotate(query, start), rotate(key, start)
        if past is not None:
            key, value = torch.cat([past[0], key], -2), torch.cat([past[1], value], -2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal and start == 0)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up), (key, value)


class BlockStack(nn.Module):
    """Several blocks and a final norm; with a cache, one position at a time equals all at once."""

    def __init__(self, width: int, layers: int, heads: int, *, causal: bool = True):
        super().__init__()
        self.causal = causal
        self.blocks = nn.ModuleList(Block(width, heads, 2 * width) for _ in range(layers))
        self.norm = nn.RMSNorm(width)

    def forward(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """[N, L, D] after the positions in `cache` to [N, L, D] and the longer cache.

        With a cache, L is 1.
        """
        longer: Cache = []
        for index, block in enumerate(self.blocks):
            x, pair = block(x, cache[index] if cache else None, self.causal)
            longer.append(pair)
        return self.norm(x), longer
