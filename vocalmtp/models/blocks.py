"""A small transformer over short sequences, shared by every head that needs layers.

Letters: N sequences, B rows, L positions, P places of a cache, D width, H attention heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.engines.llama import AlignedCache, blocks

Cache = list[tuple[Tensor, Tensor]]  # keys and values [N, H, L, D / H] of every layer


def rotate(x: Tensor, places: Tensor) -> Tensor:
    """Rotary positions (RoFormer, arXiv 2104.09864): [N, H, L, d] at `places` [L] or [N, 1, L]."""
    half = x.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = places[..., None] * rates  # [.., L, d / 2]
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

    def ask(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [N, H, L, d] of [N, L, D], the first two turned to `places`."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [N, H, L, d]
        return rotate(query, places), rotate(key, places), value

    def answer(self, x: Tensor, mixed: Tensor) -> Tensor:
        """[N, L, D] and what its heads have gathered [N, H, L, d] to [N, L, D]."""
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None = None, causal: bool = True
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[N, L, D] after `past` keys and values to [N, L, D] and the longer keys and values."""
        start = 0 if past is None else past[0].shape[-2]
        places = torch.arange(start, start + x.shape[1], device=x.device)
        query, key, value = self.ask(x, places)
        if past is not None:
            key, value = torch.cat([past[0], key], -2), torch.cat([past[1], value], -2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal and start == 0)
        return self.answer(x, mixed), (key, value)

    def follow(
        self,
        x: Tensor,
        memory: Tensor,
        places: Tensor,
        where: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """[B, L, D] at `places` [B, L] of rows of any length, to [B, L, D].

        Earlier positions are in `memory` [B, P, 2, H, d], into which these are written: in their
        places, from which they see all before them; or those of a tree in `where` [B, L], from
        which they see what `seen` [B, L, P] says.
        """
        query, key, value = self.ask(x, places[:, None])
        rows = torch.arange(len(x), device=x.device)[:, None]
        where = places if where is None else where
        memory[rows, where] = torch.stack([key, value], 1).permute(0, 3, 1, 2, 4)
        keys, values = memory.permute(2, 0, 3, 1, 4)  # [B, H, P, d] each
        if seen is None:
            seen = torch.arange(memory.shape[1], device=x.device) <= places[..., None]  # [B, L, P]
        mixed = F.scaled_dot_product_attention(query, keys, values, seen[:, None])
        return self.answer(x, mixed)


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


def empty_cache(rows: int, layers: int, block: Block, like: Tensor) -> AlignedCache:
    """What `layers` such blocks have seen of new rows: nothing."""
    (width,) = block.attention_norm.normalized_shape  # int8 layers do not tell theirs
    shape = (layers, rows, blocks(1), 2, block.heads, width // block.heads)
    lengths = torch.zeros(rows, dtype=torch.long, device=like.device)
    return AlignedCache(like.new_zeros(shape), lengths)
