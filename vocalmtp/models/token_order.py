"""Token order prediction: an auxiliary loss that ranks the vocabulary by how soon a token comes.

TOP (arXiv 2508.19228, section 3). Of a position, a token's score is minus its distance: 0 for the
next token, -1 for the one after; tokens that do not come within the window have none. The loss is
ListNet's cross-entropy between the softmax of the scores and that of an extra output layer, which
is dropped when the model is exported.

Only distances are used, and only of the tokens that come. The published scores, window - distance,
are float16, which has no odd numbers above 2048: with the paper's window of 4096 the two nearest
tokens tie.
Letters: B rows, L positions, c positions of a chunk, W window, K slots, V vocabulary, D width.
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vocalmtp.config import StrictModel
from vocalmtp.models.embeddings import SlotProjection
from vocalmtp.models.layout import IGNORED, TokenLayout


class TokenOrderConfig(StrictModel):
    """The loss is added with `weight`; `chunk` positions at a time have their logits in memory."""

    weight: float = Field(default=1.0, ge=0)
    window: int = Field(default=64, ge=1)  # steps
    chunk: int = Field(default=256, ge=1)


class TokenOrderObjective(nn.Module):
    """The loss over every slot of a speech LM's steps, each with an output layer; their mean."""

    def __init__(self, config: TokenOrderConfig, layout: TokenLayout, width: int):
        super().__init__()
        self.config = config
        self.projection = SlotProjection(layout, width)
        self.num_slots = layout.tokens_per_step

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Weighted loss [] of hidden [B, L, D]; `targets` [B, L, K] are each position's next step,
        -100 where there is none.
        """
        window, chunk = self.config.window, self.config.chunk
        losses = [
            order_loss(hidden, lambda x, k=k: self.projection(x, k), targets[..., k], window, chunk)
            for k in range(self.num_slots)
        ]
        return self.config.weight * torch.stack(losses).mean()


def order_loss(
    hidden: Tensor,
    project: Callable[[Tensor], Tensor],
    targets: Tensor,
    window: int,
    chunk: int = 256,
) -> Tensor:
    """ListNet loss [] of hidden [B, L, D], whose next tokens are `targets` [B, L] (-100 = none).

    `project` makes logits [.., V]. Positions that nothing follows within the window do not count.
    Logits are computed for `chunk` positions at a time, and again in the backward pass.
    """
    tokens, earlier = F.pad(targets, (0, window - 1), value=IGNORED), last_seen(targets)
    earlier = F.pad(earlier, (0, window - 1))
    total, count = hidden.new_zeros((), dtype=torch.float32), 0
    for start in range(0, targets.shape[1], chunk):
        stop = min(start + chunk, targets.shape[1])
        ahead = slice(start, stop + window - 1)
        coming = tokens[:, ahead].unfold(1, window, 1)  # [B, c, W]
        before = earlier[:, ahead].unfold(1, window, 1)
        here = torch.arange(start, stop, device=targets.device)[:, None]
        first = (coming != IGNORED) & (before < here)  # not seen between here and there
        some = first.any(-1)  # [B, c]
        total = total + checkpoint(
            _chunk_loss,
            hidden[:, start:stop][some],
            project,
            coming[some],
            first[some],
            use_reentrant=False,
        )
        count = count + some.sum()
    return total / max(int(count), 1)


def _chunk_loss(
    hidden: Tensor, project: Callable[[Tensor], Tensor], coming: Tensor, first: Tensor
) -> Tensor:
    """Hidden [n, D], tokens [n, W] and which of them count, to the summed loss []."""
    logits = project(hidden).float()  # [n, V]
    own = logits.gather(1, coming.clamp(min=0))  # [n, W]
    mean = (order_weights(first) * own).sum(-1)
    return (logits.logsumexp(-1) - mean).sum()


def order_weights(first: Tensor) -> Tensor:
    """The softmax of minus the distance over the entries that count: [.., W] bool to [.., W]."""
    scores = -torch.arange(first.shape[-1], device=first.device, dtype=torch.float32)
    return scores.expand(first.shape).masked_fill(~first, -torch.inf).softmax(-1)


def last_seen(tokens: Tensor) -> Tensor:
    """Where each token of [B, L] was last seen before, -1 for never: [B, L]."""
    ordered, order = tokens.sort(dim=1, stable=True)
    same = F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
    before = torch.where(same, order.roll(1, 1), -1)
    return torch.empty_like(order).scatter(1, order, before)
