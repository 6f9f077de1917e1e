"""The depth head: a small causal transformer over the slots of one step.

Every slot depends on the slots before it, so that sampled slots are consistent (RQ-Transformer,
arXiv 2203.01941, section 3.2; Moshi, arXiv 2410.00037, section 3.4.1). Training is teacher-forced
and parallel over slots.
Letters: B rows, S steps, K slots, D width, V_k vocabulary of slot k.
"""

from collections.abc import Mapping

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.heads.base import HEADS, SlotSampler, SpeechHead
from vocalmtp.models.blocks import BlockStack, KeyValues
from vocalmtp.models.embeddings import SlotProjection
from vocalmtp.models.layout import TokenLayout


class DepthConfig(StrictModel):
    """Size of the transformer over slots."""

    width: int = Field(default=256, ge=2)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)  # of attention

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "DepthConfig":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of 2 x heads ({2 * self.heads})"
            )
        return self


@HEADS.register("depth")
class DepthHead(SpeechHead):
    """Predicts slots in order, each from the hidden state and the slots before it."""

    Config = DepthConfig
    in_order = True

    def __init__(
        self,
        config: DepthConfig,
        layout: TokenLayout,
        width: int,
        loss_weights: Mapping[str, float],
    ):
        super().__init__(layout, loss_weights)
        self.input = nn.Linear(width, config.width)
        self.place = nn.Parameter(torch.randn(self.num_slots, config.width) * 0.02)  # of slots
        sizes = {s.stream: s.vocab_size for s in reversed(layout.slots[:-1])}
        self.tables = nn.ModuleDict(
            {str(q): nn.Embedding(size, config.width) for q, size in sizes.items()}
        )
        self.stack = BlockStack(config.width, config.layers, config.heads)
        self.projection = SlotProjection(layout, config.width)

    def _embed(self, k: int, tokens: Tensor) -> Tensor:
        """Tokens of slot `k` [..] to [.., width]; ignored targets become padding."""
        slot = self.layout.slots[k]
        embedded: Tensor = self.tables[str(slot.stream)](
            torch.where(tokens < 0, slot.pad_id, tokens)
        )
        return embedded

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [B, S, D] to K logits [B, S, V_k], teacher-forced.

        Raises:
            ValueError: there are several slots and no `targets` [B, S, K] of the slots before.

        """
        x = self.input(hidden)[..., None, :] + self.place  # [B, S, K, width]
        if self.num_slots > 1:
            if targets is None:
                raise ValueError("all slots at once need the step's targets")
            before = [self._embed(k, targets[..., k]) for k in range(self.num_slots - 1)]
            x = x + F.pad(torch.stack(before, -2), (0, 0, 1, 0))
        mixed, _ = self.stack(x.flatten(0, 1))
        mixed = mixed.view_as(x)
        return [self.projection(mixed[..., k, :], k) for k in range(self.num_slots)]

    def propose(self, hidden: Tensor, pick: SlotSampler) -> Tensor:
        """Draw the step [B, K] that hidden states [B, D] predict, slot by slot with a cache."""
        start = self.input(hidden)  # [B, width]
        cache: list[KeyValues] | None = None
        tokens: list[Tensor] = []
        for k in range(self.num_slots):
            x = start + self.place[k]
            if k > 0:
                x = x + self._embed(k - 1, tokens[-1])
            mixed, cache = self.stack(x[:, None], cache)
            tokens.append(pick(k, self.projection(mixed[:, 0], k)))
        return torch.stack(tokens, -1)
