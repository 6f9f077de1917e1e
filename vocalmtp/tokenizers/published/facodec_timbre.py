"""FACodec's timbre extractor: a small transformer over the whole utterance, and its mean."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 4
POSITIONS = 5000


class Positions(nn.Module):
    """Sines and cosines of positions, under their published name.

    The published model adds to each row the card of its place in the batch. A single utterance
    thus always gets the first card, and so does every row here.
    """

    def __init__(self, dim: int):
        super().__init__()
        rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000) / dim))
        angles = torch.arange(POSITIONS)[:, None] * rates
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.register_buffer("pe", table[:, None])  # [POSITIONS, 1, D]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[0]


class FeedForward(nn.Module):
    """A convolution over time, then a map back."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.ffn_1 = nn.Conv1d(dim, hidden, 5, padding=2)
        self.ffn_2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn_2(F.relu(self.ffn_1(x.transpose(1, 2))).transpose(1, 2))


class Layer(nn.Module):
    """Attention and convolution, each of its normalised input."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, HEADS, batch_first=True)
        self.ffn = FeedForward(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.self_attn(y, y, y, need_weights=False)[0]
        return x + self.ffn(self.ln_2(x))


class TimbreEncoder(nn.Module):
    """Encoder output [B, T, D] to the timbre vector [B, D] (2403.03100, section 3.2)."""

    def __init__(self, dim: int, layers: int, hidden: int):
        super().__init__()
        self.position_emb = Positions(dim)
        self.layers = nn.ModuleList(Layer(dim, hidden) for _ in range(layers))
        self.last_ln = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.position_emb(x)
        for layer in self.layers:
            x = layer(x)
        return self.last_ln(x).mean(1)
