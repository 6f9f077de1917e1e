"""Heads whose slots are independent given the hidden state: grouped multi-token prediction.

The `linear`, `mlp` and `transformer` kinds of SLM-Decoupled-MTP (arXiv 2506.12537, section 3), for
any number of slots. With one slot this is ordinary next-token prediction.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import Make, join_linears
from vocalmtp.heads.base import SpeechHead, register
from vocalmtp.models.blocks import BlockStack
from vocalmtp.models.embeddings import JoinedProjection, SlotProjection
from vocalmtp.models.layout import TokenLayout


class ParallelConfig(StrictModel):
    """Which head: `linear` is a projection per slot; `mlp` a residual map per frame, then
    projections shared over frames; `transformer` has attention over the step's frames in place of
    the maps.
    """

    kind: Literal["linear", "mlp", "transformer"] = "mlp"
    layers: int = Field(default=1, ge=1)
    heads: int = Field(default=4, ge=1)


class FrameMaps(nn.Module):
    """One residual GELU map per part (a frame, or a joint slot) of the step."""

    def __init__(self, width: int, parts: int):
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(parts))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(parts))

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Hidden [.., D] to a vector [.., D] for every part."""
        pairs = zip(self.up, self.down, strict=True)
        return [hidden + down(F.gelu(up(hidden))) for up, down in pairs]


class JoinedMaps(nn.Module):
    """FrameMaps with one product for the first layers of all parts."""

    def __init__(self, maps: FrameMaps, make: Make):
        super().__init__()
        self.up = make(join_linears(list(maps.up)))
        self.down = nn.ModuleList(make(down) for down in maps.down)

    def forward(self, hidden: Tensor) -> list[Tensor]:
        inner = F.gelu(self.up(hidden)).chunk(len(self.down), -1)
        return [hidden + down(x) for down, x in zip(self.down, inner, strict=True)]


class FrameAttention(nn.Module):
    """The step's parts as learned queries added to the hidden state, which attend to each other.

    Attention stays within the step, so that decoding needs no cache for the head.
    """

    def __init__(self, width: int, parts: int, layers: int, heads: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(parts, width) * 0.5)
        self.stack = BlockStack(width, layers, heads, causal=False)

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Hidden [.., D] to a vector [.., D] for every part."""
        parts = hidden[..., None, :] + self.queries  # [.., P, D]
        mixed, _ = self.stack(parts.flatten(0, -3))
        return list(mixed.view_as(parts).unbind(-2))


@register("parallel")
class ParallelHead(SpeechHead):
    """All slots of a step at once, each from the hidden state alone."""

    Config = ParallelConfig

    def __init__(
        self,
        config: ParallelConfig,
        layout: TokenLayout,
        width: int,
        loss_weights: dict[str, float],
    ):
        super().__init__(layout, loss_weights)
        keys = [("joint", s.stream) if s.joint else ("frame", s.frame) for s in layout.slots]
        parts = list(dict.fromkeys(keys))
        self.part_of_slot = [parts.index(key) for key in keys]
        self.projection = SlotProjection(layout, width, shared=config.kind != "linear")
        self.maps: nn.Module | None = None
        if config.kind == "mlp":
            self.maps = FrameMaps(width, len(parts))
        elif config.kind == "transformer":
            self.maps = FrameAttention(width, len(parts), config.layers, config.heads)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        if self.maps is None:
            return self.projection.step([hidden] * self.num_slots)
        parts = self.maps(hidden)
        return self.projection.step([parts[part] for part in self.part_of_slot])

    def fuse(self, make: Make) -> None:
        if isinstance(self.maps, FrameMaps):
            self.maps = JoinedMaps(self.maps, make)
        if self.maps is not None:
            self.projection = JoinedProjection(self.projection, make)
