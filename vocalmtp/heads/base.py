"""The base of all heads: one hidden state in, the K tokens of a step out.

Letters: B rows, S steps, K slots, N positions with a target, D width, V_k vocabulary of slot k.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import Registry, StrictModel, parse
from vocalmtp.engines.linears import LinearFactory
from vocalmtp.errors import InputError, nearest
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.streams import NO_STREAM

HEADS: Registry[type["SpeechHead"]] = Registry("head", package="vocalmtp.heads")


@dataclass
class HeadOutput:
    """Losses of a batch."""

    loss: Tensor  # [] weighted sum over slots, to train on
    per_slot: Tensor  # [K] mean cross-entropy, detached; 0 for a slot without any target


@dataclass
class SoftTargets:
    """What a model's own head predicts for the targets of a draft head, which learns it.

    Attributes:
        head: the model's, which learns nothing by this.
        hidden: [B, S, D] hidden states from which it predicts the targets.
        share: of the loss; the rest is the cross-entropy of the targets.

    """

    head: "SpeechHead"
    hidden: Tensor
    share: float = 1.0

    @torch.no_grad()
    def logits(self, chosen: Tensor, targets: Tensor) -> list[Tensor]:
        """The head's logits [1, N, V_k] at chosen positions [B, S], whose targets are [1, N, K]."""
        return self.head.logits(self.hidden[chosen][None], targets)


class SlotSampler(Protocol):
    """Draws the tokens of one step, with the sampler, noise and constraints of every row.

    Slots are drawn once each, in the head's `draw_order`; the leading slot comes first.
    """

    def __call__(self, k: int, logits: Tensor) -> Tensor:
        """Draw slot `k` from logits [B, V_k]: tokens [B]."""
        ...

    def all(self, logits: list[Tensor]) -> Tensor:
        """Draw all K slots, independent of each other: tokens [B, K].

        The logits [B, n, V] of every run of the layout may be overwritten.
        """
        ...


class SpeechHead(nn.Module):
    """Base of all heads.

    A position-wise head, whose logits of a step depend on the hidden state and the targets of that
    step alone, defines `logits`, and also `propose` if a slot depends on the slots before it. A
    head that attends along the sequence also defines `loss`.

    Args:
        layout: the slots of a step.
        loss_weights: weights of streams in the loss, see `token_weights`.

    """

    Config: ClassVar[type[StrictModel]]
    in_order: bool = False  # whether a slot depends on the slots before it
    penalized_slots: ClassVar[int | None] = None  # leading ones, of repetition penalties; None: all

    def __init__(self, layout: TokenLayout, loss_weights: Mapping[str, float]):
        super().__init__()
        self.layout = layout
        self.num_slots = layout.tokens_per_step
        self.draw_order: tuple[int, ...] = tuple(range(self.num_slots))
        for k, weight in enumerate(token_weights(layout, loss_weights)):
            self.register_buffer(f"weight_{k}", weight)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Compute the logits of all slots.

        Args:
            hidden: [B, S, D].
            targets: [B, S, K] the step's own tokens (-100 = ignored), for heads whose slots depend
                on earlier slots.

        Returns:
            K tensors [B, S, V_k].

        """
        raise NotImplementedError

    def run_logits(self, hidden: Tensor) -> list[Tensor]:
        """Compute the logits [B, n, V] of every run of the layout from hidden states [B, D]."""
        return self.layout.stack_runs(self.logits(hidden))

    def propose(self, hidden: Tensor, pick: SlotSampler) -> Tensor:
        """Draw the step [B, K] that hidden states [B, D] predict; by default, all slots at once."""
        return pick.all(self.run_logits(hidden))

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Fuse layers in place, by default none; the head cannot be trained or saved then.

        Args:
            convert: makes the module that replaces a linear layer.

        """

    def loss(
        self,
        hidden: Tensor,
        targets: Tensor,
        mask: Tensor | None = None,
        shares: Tensor | None = None,
        soft: SoftTargets | None = None,
    ) -> HeadOutput:
        """Compute the cross-entropy of a batch; logits are computed at positions with a target.

        Args:
            hidden: [B, S, D].
            targets: [B, S, K], -100 = none.
            mask: [B, S] which positions count; None for all.
            shares: [K] factors of the slots' losses, see `LossShares`; None for 1.
            soft: distributions to learn beside the targets; None: the targets alone.
        """
        valid = (targets != IGNORED).any(-1)  # [B, S]
        if mask is not None:
            valid = valid & mask
        chosen, wanted = hidden[valid][None], targets[valid][None]  # [1, N, D], [1, N, K]
        logits = self.logits(chosen, wanted)
        if soft is None:
            return self.cross_entropy(logits, wanted, shares)
        return self.cross_entropy(logits, wanted, shares, soft.logits(valid, wanted), soft.share)

    def cross_entropy(
        self,
        logits: list[Tensor],
        targets: Tensor,
        shares: Tensor | None = None,
        wanted_logits: list[Tensor] | None = None,
        share: float = 0.0,
    ) -> HeadOutput:
        """Weigh and sum the cross-entropy of all slots.

        Args:
            logits: K tensors [B, S, V_k].
            targets: [B, S, K], -100 = none.
            shares: [K] factors of the slots' losses; None for 1.
            wanted_logits: K tensors [B, S, V_k] of other predictions, the divergence from which is a
                `share` of the loss; None: the cross-entropy of the targets alone.
            share: of that divergence.

        Returns:
            The mean over codec slots plus the weighted joint slots, each a mean over its targets.

        """
        total, per_slot = targets.new_zeros((), dtype=torch.float32), []
        for k, slot_logits in enumerate(logits):
            wanted = targets[..., k].flatten()  # [N]
            count = (wanted != IGNORED).sum().clamp(min=1)
            weight = getattr(self, f"weight_{k}")[wanted.clamp(min=0)]
            plain = F.cross_entropy(
                slot_logits.flatten(0, -2).float(), wanted, ignore_index=IGNORED, reduction="none"
            )
            if wanted_logits is not None:
                apart = divergence(slot_logits.flatten(0, -2), wanted_logits[k].flatten(0, -2))
                plain = (1 - share) * plain + share * apart.where(wanted != IGNORED, 0.0)
            factor = 1.0 if shares is None else shares[k]
            total = total + factor * (plain * weight).sum() / count
            per_slot.append(plain.detach().sum() / count)
        return HeadOutput(total, torch.stack(per_slot))


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence [N] of predictions from wanted ones, logits [N, V] each.

    Tokens that are impossible (-inf) in both do not count.
    """
    log_q, log_p = logits.float().log_softmax(-1), wanted.float().log_softmax(-1)
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1)


def token_weights(layout: TokenLayout, loss_weights: Mapping[str, float]) -> list[Tensor]:
    """Compute the weight of every token in the loss.

    The loss is the mean over the codec slots plus `loss_weights[name]` (1 by default) times every
    joint stream, and plus that of a slot for the end alone; the tokens of a flat layout are weighted
    to the same effect.

    Returns:
        A tensor [V_k] for every slot.

    Raises:
        InputError: a weight is for a stream that the layout does not have.

    """
    names = [stream.name for stream in layout.streams]
    for name in loss_weights:
        if name not in names:
            raise InputError(
                f"loss_weights '{name}': no such stream; {nearest(name, names)}",
                code="unknown_name",
            )
    framed = sum(not stream.joint for stream in layout.streams) * layout.frames_per_step
    of_stream = [
        loss_weights.get(stream.name, 1.0) / (1 if stream.joint else framed)
        for stream in layout.streams
    ]
    if not layout.flat:
        weights = [1.0 if s.stream == NO_STREAM else of_stream[s.stream] for s in layout.slots]
        return [
            torch.full((slot.vocab_size,), weight)
            for slot, weight in zip(layout.slots, weights, strict=True)
        ]
    parts = [torch.full((layout.streams[q].size,), of_stream[q]) for q in layout.order]
    parts.append(torch.full((2,), of_stream[0]))
    return [torch.cat(parts) * len(layout.streams)]


def build_head(
    config: Mapping[str, Any], layout: TokenLayout, width: int, loss_weights: Mapping[str, float]
) -> SpeechHead:
    """Build a head from its settings.

    Args:
        config: `name` selects the class (by default "parallel"), the other keys are its settings.
        layout: the slots of a step.
        width: D, the size of hidden states.
        loss_weights: weights of streams in the loss, see `token_weights`.

    Raises:
        InputError: the name, a key or a value is invalid.

    """
    settings = dict(config)
    name = settings.pop("name", "parallel")
    head: Any = HEADS[name]
    return head(parse(head.Config, settings, f"head '{name}'"), layout, width, loss_weights)
