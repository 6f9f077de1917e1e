"""The depth head: a small causal transformer over the slots of one step.

Every slot sees the slots before it, so sampled slots agree (RQ-Transformer, arXiv 2203.01941,
section 3.2; Moshi, arXiv 2410.00037, section 3.4.1). Training is teacher-forced and parallel over
slots.
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.heads.base import Proposal, SlotSampler, SpeechHead, register
from vocalmtp.models.blocks import BlockStack, Cache
from vocalmtp.models.embeddings import SlotProjection
from vocalmtp.models.layout import TokenLayout


class DepthConfig(StrictModel):
    """Size of the transformer over slots."""

    width: int = Field(default=256, ge=2)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> "DepthConfig":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of 2 x heads ({2 * self.heads})"
            )
        return self


@register("depth")
class DepthHead(SpeechHead):
    """Slots one after another, each from the hidden state and the slots before it."""

    Config = DepthConfig

    def __init__(
        self, config: DepthConfig, layout: TokenLayout, width: int, loss_weights: dict[str, float]
    ):
        super().__init__(layout, loss_weights)
        self.input = nn.Linear(width, config.width)
        self.place = nn.Parameter(torch.randn(self.num_slots, config.width) * 0.02)
        seen = {s.stream: s.vocab_size for s in reversed(layout.slots[:-1])}
        self.tables = nn.ModuleDict(
            {str(q): nn.Embedding(size, config.width) for q, size in seen.items()}
        )
        self.stack = BlockStack(config.width, config.layers, config.heads)
        self.projection = SlotProjection(layout, config.width)

    def _embed(self, k: int, tokens: Tensor) -> Tensor:
        """Tokens of slot `k` [..] to [.., width]; ignored targets count as padding."""
        slot = self.layout.slots[k]
        return self.tables[str(slot.stream)](torch.where(tokens < 0, slot.pad_id, tokens))

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Teacher-forced: slot k sees `targets` of the slots before it, which must be given."""
        if targets is None and self.num_slots > 1:
            raise ValueError("the depth head needs the step's targets to compute all slots at once")
        x = self.input(hidden)[..., None, :] + self.place  # [B, S, K, width]
        if self.num_slots > 1:
            before = [self._embed(k, targets[..., k]) for k in range(self.num_slots - 1)]
            x = x + F.pad(torch.stack(before, -2), (0, 0, 1, 0))
        mixed, _ = self.stack(x.flatten(0, 1))
        mixed = mixed.view_as(x)
        return [self.projection(mixed[..., k, :], k) for k in range(self.num_slots)]

    def propose(self, hidden: Tensor, pick: SlotSampler) -> Proposal:
        start = self.input(hidden)  # [B, width]
        cache: Cache | None = None
        tokens, log_probs = [], []
        for k in range(self.num_slots):
            x = start + self.place[k]
            if k > 0:
                x = x + self._embed(k - 1, tokens[-1])
            mixed, cache = self.stack(x[:, None], cache)
            token, log_prob = pick(k, self.projection(mixed[:, 0], k))
            tokens.append(token)
            log_probs.append(log_prob)
        return Proposal(torch.stack(tokens, -1)[:, None], torch.stack(log_probs, -1)[:, None])
