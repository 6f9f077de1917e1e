"""Auxiliary losses, which have weights of their own and are dropped when a model is exported.

Token order prediction (TOP, arXiv 2508.19228, section 3) ranks the vocabulary by how soon a token
comes. At a position, a token's score is minus its distance: 0 for the next token, -1 for the one
after it; tokens that do not come within the window have none. The loss is ListNet's cross-entropy
between the softmax of the scores and that of an extra output layer.

Only distances are used, and only of the tokens that come. The published scores, window - distance,
are float16, which has no odd numbers above 2048: with the paper's window of 4096, the two nearest
tokens tie.
Letters: B rows, L positions, c positions of a chunk, W window, K slots, V vocabulary, D width.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vocalmtp.config import Registry, StrictModel, parse
from vocalmtp.models.embeddings import SlotProjection
from vocalmtp.models.layout import IGNORED, TokenLayout

OBJECTIVES: Registry[type[nn.Module]] = Registry("objective")


class Objective(Protocol):
    """An auxiliary loss over the hidden states of all positions."""

    def __call__(self, hidden: Tensor, targets: Tensor, shares: Tensor | None = None) -> Tensor:
        """Compute the weighted loss []; see `TokenOrderObjective.forward`."""
        ...

    def counts(self, targets: Tensor) -> Tensor:
        """Count the positions of every slot that have a loss: targets [B, L, K] to [K]."""
        ...


def build_objectives(
    config: Mapping[str, Mapping[str, Any]], layout: TokenLayout, width: int
) -> nn.ModuleDict:
    """Build objectives from their settings.

    Args:
        config: settings by name.
        layout: the slots of a step.
        width: D, the size of hidden states.

    Returns:
        Modules by name, each an `Objective`.

    Raises:
        InputError: a name, a key or a value is invalid.

    """
    built = nn.ModuleDict()
    for name, settings in config.items():
        objective: Any = OBJECTIVES[name]
        checked = parse(objective.Config, settings or {}, f"objective '{name}'")
        built[name] = objective(checked, layout, width)
    return built


class TokenOrderConfig(StrictModel):
    """Settings of token order prediction."""

    weight: float = Field(default=1.0, ge=0)  # of the loss
    window: int = Field(default=64, ge=1)  # steps
    chunk: int = Field(default=256, ge=1)  # positions whose logits are in memory together


@OBJECTIVES.register("top")
class TokenOrderObjective(nn.Module):
    """Token order prediction of every slot, with an output layer each; the mean of their losses."""

    Config = TokenOrderConfig

    def __init__(self, config: TokenOrderConfig, layout: TokenLayout, width: int):
        super().__init__()
        self.config = config
        self.projection = SlotProjection(layout, width)
        self.num_slots = layout.tokens_per_step

    def forward(self, hidden: Tensor, targets: Tensor, shares: Tensor | None = None) -> Tensor:
        """Compute the weighted loss [].

        Args:
            hidden: [B, L, D].
            targets: [B, L, K] the step that every position predicts, -100 = none.
            shares: [K] factors of the slots' losses, see `LossShares`; None for 1.
        """
        window, chunk = self.config.window, self.config.chunk
        losses = torch.stack(
            [
                order_loss(hidden, partial(self.projection, slot=k), targets[..., k], window, chunk)
                for k in range(self.num_slots)
            ]
        )
        return self.config.weight * (losses if shares is None else losses * shares).mean()

    def counts(self, targets: Tensor) -> Tensor:
        """Count the positions of every slot that have a loss: targets [B, L, K] to [K]."""
        known = (targets != IGNORED).transpose(1, 2)  # [B, K, L]
        coming = F.pad(known, (0, self.config.window - 1)).unfold(-1, self.config.window, 1)
        return coming.any(-1).sum((0, 2))


def order_loss(
    hidden: Tensor,
    project: Callable[[Tensor], Tensor],
    targets: Tensor,
    window: int,
    chunk: int = 256,
) -> Tensor:
    """Compute the ListNet loss [] of one slot.

    Positions that no token follows within the window do not count. Logits are computed for `chunk`
    positions at a time, and again in the backward pass.

    Args:
        hidden: [B, L, D].
        project: hidden states [.., D] to logits [.., V].
        targets: [B, L] the token that every position predicts, -100 = none.
        window: W.
        chunk: c.

    """
    tokens = F.pad(targets, (0, window - 1), value=IGNORED)
    earlier = F.pad(last_occurrence(targets), (0, window - 1))
    total, count = hidden.new_zeros((), dtype=torch.float32), targets.new_zeros(())
    for start in range(0, targets.shape[1], chunk):
        stop = min(start + chunk, targets.shape[1])
        span = slice(start, stop + window - 1)
        coming = tokens[:, span].unfold(1, window, 1)  # [B, c, W]
        before = earlier[:, span].unfold(1, window, 1)
        here = torch.arange(start, stop, device=targets.device)[:, None]
        first = (coming != IGNORED) & (before < here)  # does not occur between here and there
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
    return total / count.clamp(min=1)


def _chunk_loss(
    hidden: Tensor, project: Callable[[Tensor], Tensor], coming: Tensor, first: Tensor
) -> Tensor:
    """Sum the loss over positions: hidden [n, D], tokens [n, W] and which of them count to []."""
    logits = project(hidden).float()  # [n, V]
    own = logits.gather(1, coming.clamp(min=0))  # [n, W]
    mean = (order_weights(first) * own).sum(-1)
    return (logits.logsumexp(-1) - mean).sum()


def order_weights(first: Tensor) -> Tensor:
    """Softmax of minus the distance over the entries that count: [.., W] bool to [.., W]."""
    scores = -torch.arange(first.shape[-1], device=first.device, dtype=torch.float32)
    return scores.expand(first.shape).masked_fill(~first, -torch.inf).softmax(-1)


def last_occurrence(tokens: Tensor) -> Tensor:
    """Where each token of [B, L] occurred last before its position, -1 for never: [B, L]."""
    ordered, order = tokens.sort(dim=1, stable=True)
    same = F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
    before = torch.where(same, order.roll(1, 1), -1)
    return torch.empty_like(order).scatter(1, order, before)
