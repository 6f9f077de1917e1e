"""Heads whose slots are independent given the hidden state: grouped multi-token prediction.

After SLM-Decoupled-MTP (arXiv 2506.12537, section 3), for any number of slots. Its released kinds are
`linear`, `slot_mlp` and `slot_transformer`; `mlp` and `transformer` are this project's own. With one
slot, this is next-token prediction.
Letters: K slots, P parts of a step (its frames, and its joint slots), D width.
"""

from collections.abc import Mapping
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import LinearFactory, join_linears
from vocalmtp.heads.base import HEADS, SpeechHead
from vocalmtp.models.blocks import BlockStack
from vocalmtp.models.embeddings import FusedProjection, SlotProjection
from vocalmtp.models.layout import TokenLayout


class ParallelConfig(StrictModel):
    """Settings of a parallel head.

    `linear` is a projection for every slot; `slot_mlp` a layer of 2 D and a projection for every slot,
    as in the release of arXiv 2506.12537, where it is called mlp; `slot_transformer` decoder layers, a
    norm and a projection for every slot, as that release decodes with its kind transformer: a position
    attends to itself alone; `mlp` a residual map for every frame, then projections that frames share;
    `transformer` has attention over the step's frames in place of the maps.
    """

    kind: Literal["linear", "slot_mlp", "slot_transformer", "mlp", "transformer"] = "mlp"
    layers: int = Field(default=1, ge=1)
    heads: int = Field(default=4, ge=1)  # of attention
    hidden: int | None = Field(default=None, ge=1)  # of layers of a slot; None: 4 D
    epsilon: float = Field(default=1e-6, gt=0)  # of their norms


class FrameMaps(nn.Module):
    """One residual GELU map for every part of the step."""

    def __init__(self, width: int, parts: int):
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(parts))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(parts))

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Hidden [.., D] to P vectors [.., D]."""
        pairs = zip(self.up, self.down, strict=True)
        return [hidden + down(F.gelu(up(hidden))) for up, down in pairs]


class SlotLayers(nn.Module):
    """One layer of twice the width for every slot."""

    def __init__(self, width: int, slots: int):
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(slots))

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Hidden [.., D] to K vectors [.., 2 D]."""
        return [F.silu(up(hidden)) for up in self.up]


class SelfLayer(nn.Module):
    """A decoder layer in which a position attends to itself alone, which is a linear map."""

    def __init__(self, width: int, hidden: int, epsilon: float):
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=epsilon)
        self.attention = nn.Linear(width, width)
        self.feed_norm = nn.RMSNorm(width, eps=epsilon)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [.., D] to [.., D]."""
        x = x + self.attention(self.attention_norm(x))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, -1)
        mixed: Tensor = self.down(F.silu(gate) * up)
        return x + mixed


class SlotStacks(nn.Module):
    """Decoder layers and a norm for every slot."""

    def __init__(self, width: int, slots: int, config: ParallelConfig):
        super().__init__()
        hidden = config.hidden or 4 * width
        self.stacks = nn.ModuleList(
            nn.Sequential(
                *(SelfLayer(width, hidden, config.epsilon) for _ in range(config.layers)),
                nn.LayerNorm(width, eps=config.epsilon),
            )
            for _ in range(slots)
        )

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Hidden [.., D] to K vectors [.., D]."""
        return [stack(hidden) for stack in self.stacks]


class FusedFrameMaps(nn.Module):
    """FrameMaps for inference, with one product for the first layers of all parts."""

    def __init__(self, maps: FrameMaps, convert: LinearFactory):
        super().__init__()
        self.up = convert(join_linears(maps.up))
        self.down = nn.ModuleList(convert(cast(nn.Linear, down)) for down in maps.down)

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Hidden [.., D] to P vectors [.., D]."""
        inner = F.gelu(self.up(hidden)).chunk(len(self.down), -1)
        return [hidden + down(x) for down, x in zip(self.down, inner, strict=True)]


class FrameAttention(nn.Module):
    """The step's parts as learned queries added to the hidden state, which attend to each other.

    Attention stays within the step, so decoding needs no cache for the head.
    """

    def __init__(self, width: int, parts: int, layers: int, heads: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(parts, width) * 0.5)
        self.stack = BlockStack(width, layers, heads, causal=False)

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Hidden [.., D] to P vectors [.., D]."""
        parts = hidden[..., None, :] + self.queries  # [.., P, D]
        mixed, _ = self.stack(parts.flatten(0, -3))
        return list(mixed.view_as(parts).unbind(-2))


@HEADS.register("parallel")
class ParallelHead(SpeechHead):
    """Predicts all slots of a step at once, each from the hidden state alone."""

    Config = ParallelConfig

    def __init__(
        self,
        config: ParallelConfig,
        layout: TokenLayout,
        width: int,
        loss_weights: Mapping[str, float],
    ):
        super().__init__(layout, loss_weights)
        keys = [("joint", s.stream) if s.joint else ("frame", s.frame) for s in layout.slots]
        parts = list(dict.fromkeys(keys))
        self.part_of_slot = [parts.index(key) for key in keys]
        self.maps: FrameMaps | FusedFrameMaps | FrameAttention | SlotLayers | SlotStacks | None = (
            None
        )
        inner = width
        if config.kind == "slot_mlp":
            self.maps, inner = SlotLayers(width, self.num_slots), 2 * width
        elif config.kind == "slot_transformer":
            self.maps = SlotStacks(width, self.num_slots, config)
        if self.maps is not None:
            self.part_of_slot = list(range(self.num_slots))
        self.projection: SlotProjection | FusedProjection = SlotProjection(
            layout, inner, shared=config.kind in ("mlp", "transformer")
        )
        if config.kind == "mlp":
            self.maps = FrameMaps(width, len(parts))
        elif config.kind == "transformer":
            self.maps = FrameAttention(width, len(parts), config.layers, config.heads)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [B, S, D] to K logits [B, S, V_k]; `targets` are not used."""
        if self.maps is None:
            return self.projection.step([hidden] * self.num_slots)
        parts = self.maps(hidden)
        return self.projection.step([parts[part] for part in self.part_of_slot])

    def run_logits(self, hidden: Tensor) -> list[Tensor]:
        """See SpeechHead."""
        projection = self.projection
        if self.maps is None or not isinstance(projection, FusedProjection):
            return super().run_logits(hidden)
        if projection.num_joint > 1:
            return super().run_logits(hidden)
        parts = self.maps(hidden)
        return projection.runs([parts[part] for part in self.part_of_slot])

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Fuse the maps of all frames, and the projections of all slots, into few products."""
        if self.maps is None or isinstance(self.maps, SlotLayers | SlotStacks):
            return
        if isinstance(self.maps, FrameMaps):
            self.maps = FusedFrameMaps(self.maps, convert)
        if isinstance(self.projection, SlotProjection):
            self.projection = FusedProjection(self.projection, convert)
