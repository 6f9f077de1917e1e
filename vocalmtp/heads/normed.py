"""A head behind a norm of its own, for backbones whose states are passed on before their last norm.

VocalNet's release (arXiv 2504.04060) chains its draft modules from the states before the norm, and
norms them again in front of every output layer: `backbone_norm: false` in a model, with this head and
the draft head `sequential` with `normed: false`.
Letters: B rows, S steps, K slots, D width, V_k vocabulary of slot k.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import LinearFactory
from vocalmtp.heads.base import (
    HEADS,
    HeadOutput,
    SlotSampler,
    SoftTargets,
    SpeechHead,
    build_head,
)
from vocalmtp.models.layout import TokenLayout


class NormedConfig(StrictModel):
    """Settings: the head behind the norm, with its `name`, and the epsilon of the norm."""

    head: dict[str, Any] = {"name": "parallel", "kind": "linear"}
    epsilon: float = Field(default=1e-6, gt=0)


@HEADS.register("normed")
class NormedHead(SpeechHead):
    """An RMS norm, and any other head behind it."""

    Config = NormedConfig

    def __init__(
        self,
        config: NormedConfig,
        layout: TokenLayout,
        width: int,
        loss_weights: Mapping[str, float],
    ):
        super().__init__(layout, loss_weights)
        self.norm = nn.RMSNorm(width, config.epsilon)
        self.head = build_head(config.head, layout, width, loss_weights)
        self.in_order, self.draw_order = self.head.in_order, self.head.draw_order

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [B, S, D] to K logits [B, S, V_k]."""
        return self.head.logits(self.norm(hidden), targets)

    def propose(self, hidden: Tensor, pick: SlotSampler) -> Tensor:
        """Draw the step [B, K] that hidden states [B, D] predict."""
        return self.head.propose(self.norm(hidden), pick)

    def loss(
        self,
        hidden: Tensor,
        targets: Tensor,
        mask: Tensor | None = None,
        shares: Tensor | None = None,
        soft: SoftTargets | None = None,
    ) -> HeadOutput:
        """Compute the cross-entropy of a batch, see SpeechHead."""
        return self.head.loss(self.norm(hidden), targets, mask, shares, soft)

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Fuse the layers of the head behind the norm."""
        self.head.optimize_for_inference(convert)
