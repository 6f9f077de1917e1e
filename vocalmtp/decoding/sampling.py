"""Choosing a token from logits, with noise that belongs to the row alone.

Letters: B rows, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Temperature, then top-k, then top-p (nucleus, arXiv 1904.09751), then a draw; or the best id.

    Raises InputError for values out of range. A temperature of 0 means greedy.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(
                f"temperature '{self.temperature}': must be a number of 0 or more",
                code="out_of_range",
            )
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k '{self.top_k}': must be 1 or more", code="out_of_range")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(
                f"top_p '{self.top_p}': must be above 0 and at most 1", code="out_of_range"
            )

    def sample(self, logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, V] and uniform numbers [B] in [0, 1) to tokens [B] and log-probabilities [B].

        A row's token depends on its own logits and number only. Ids of logit -inf are never drawn.
        """
        if self.greedy or self.temperature == 0:
            tokens = logits.argmax(-1)
            return tokens, logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        logits = self._filtered(logits.float() / self.temperature)
        tokens = draw(logits.softmax(-1), noise)
        return tokens, logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution that `sample` draws from, [B, V] to [B, V]; greedy has all on one id."""
        if self.greedy or self.temperature == 0:
            return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        return self._filtered(logits.float() / self.temperature).softmax(-1)

    def _filtered(self, logits: Tensor) -> Tensor:
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, -1).values[:, -1:]
            logits = torch.where(logits < least, -torch.inf, logits)
        if self.top_p is not None and self.top_p < 1:
            ordered = logits.sort(-1, descending=True).values
            probs = ordered.softmax(-1)
            before = probs.cumsum(-1) - probs  # mass of the better ids
            inside = (before < self.top_p).sum(-1, keepdim=True)
            least = ordered.gather(1, (inside - 1).clamp(min=0))
            logits = torch.where(logits < least, -torch.inf, logits)
        return logits


def draw(weights: Tensor, noise: Tensor) -> Tensor:
    """An id in proportion to `weights` [B, V], by uniform numbers [B] in [0, 1): [B]."""
    cumulative = weights.cumsum(-1)  # [B, V]
    total = cumulative[:, -1:]
    last = (cumulative < total).sum(-1)  # the last id with any probability
    return torch.minimum((cumulative <= noise[:, None] * total).sum(-1), last)
