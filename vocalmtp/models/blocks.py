"""A small transformer over short sequences, for heads that have layers.

Letters: N sequences, B rows, L positions, P positions of room in a cache, D width, H attention
heads, d size of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.engines.cache import AlignedCache, whole_blocks

KeyValues = tuple[Tensor, Tensor]  # of one layer, [N, H, L, d] each


THETA = 10_000.0  # base of the wavelengths of rotary positions


def rotate(x: Tensor, places: Tensor, theta: float = THETA) -> Tensor:
    """Apply rotary positions (RoFormer, arXiv 2104.09864).

    Args:
        x: [.., N, H, L, d].
        places: positions, [L] or [N, 1, L].
        theta: base of the wavelengths.

    """
    half = x.shape[-1] // 2
    rates = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = places[..., None] * rates  # [.., L, d / 2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Block(nn.Module):
    """Pre-norm attention and gated feed-forward, as in Llama.

    Args:
        width: D.
        heads: H.
        hidden: width of the feed-forward layer.
        epsilon: of the norms; None: that of torch.
        theta: of the rotary positions.

    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        epsilon: float | None = None,
        theta: float = THETA,
    ):
        super().__init__()
        self.width, self.heads, self.theta = width, heads, theta
        self.attention_norm = nn.RMSNorm(width, epsilon)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.RMSNorm(width, epsilon)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def project_qkv(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project [N, L, D] to queries, keys (both rotated to `places`) and values [N, H, L, d]."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        parts = qkv.permute(2, 0, 3, 1, 4)  # [3, N, H, L, d]
        query, key = rotate(parts[:2], places, self.theta)
        return query, key, parts[2]

    def add_attention(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add attention outputs [N, H, L, d] and the feed-forward to [N, L, D]."""
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def forward(
        self, x: Tensor, past: KeyValues | None = None, causal: bool = True
    ) -> tuple[Tensor, KeyValues]:
        """Run [N, L, D] after the positions in `past`: [N, L, D], and all keys and values."""
        start = 0 if past is None else past[0].shape[-2]
        places = torch.arange(start, start + x.shape[1], device=x.device)
        query, key, value = self.project_qkv(x, places)
        if past is not None:
            key, value = torch.cat([past[0], key], -2), torch.cat([past[1], value], -2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal and start == 0)
        return self.add_attention(x, mixed), (key, value)

    def forward_cached(
        self,
        x: Tensor,
        key_values: Tensor,
        places: Tensor,
        slots: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Run [B, L, D] of rows of any lengths with a cache: [B, L, D].

        Args:
            x: [B, L, D].
            key_values: keys and values [B, P, 2, H, d] of earlier positions; those of `x` are
                written into it.
            places: [B, L] positions of `x`.
            slots: [B, L] where in the cache they are written; None for their positions.
            visible: [B, L, P] what they attend to; None for all up to their positions.

        """
        query, key, value = self.project_qkv(x, places[:, None])
        rows = torch.arange(len(x), device=x.device)[:, None]
        slots = places if slots is None else slots
        key_values[rows, slots] = torch.stack([key, value], 1).permute(0, 3, 1, 2, 4)
        keys, values = key_values.permute(2, 0, 3, 1, 4)  # [B, H, P, d] each
        if visible is None:
            room = torch.arange(key_values.shape[1], device=x.device)
            visible = room <= places[..., None]  # [B, L, P]
        mixed = F.scaled_dot_product_attention(query, keys, values, visible[:, None])
        return self.add_attention(x, mixed)


class BlockStack(nn.Module):
    """Several blocks and a final norm; with a cache, one position at a time equals all at once."""

    def __init__(self, width: int, layers: int, heads: int, *, causal: bool = True):
        super().__init__()
        self.causal = causal
        self.blocks = nn.ModuleList(Block(width, heads, 2 * width) for _ in range(layers))
        self.norm = nn.RMSNorm(width)

    def forward(
        self, x: Tensor, cache: list[KeyValues] | None = None
    ) -> tuple[Tensor, list[KeyValues]]:
        """Run [N, L, D] (L = 1 with a cache): [N, L, D], and the longer cache."""
        longer: list[KeyValues] = []
        for index, block in enumerate(self.blocks):
            x, pair = block(x, cache[index] if cache else None, self.causal)
            longer.append(pair)
        return self.norm(x), longer


def empty_cache(rows: int, layers: int, block: Block, like: Tensor) -> AlignedCache:
    """Return a cache of `layers` such blocks without positions, on the device of `like`."""
    shape = (layers, rows, whole_blocks(1), 2, block.heads, block.width // block.heads)
    lengths = torch.zeros(rows, dtype=torch.long, device=like.device)
    return AlignedCache(like.new_zeros(shape), lengths)
