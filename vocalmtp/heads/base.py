"""What a speech head is: one hidden state in, the K tokens of a step out.

Letters: B batch, S steps, K slots, D width, V_k vocabulary of slot k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel, parse
from vocalmtp.engines.linears import Make
from vocalmtp.errors import InputError, nearest
from vocalmtp.models.layout import IGNORED, TokenLayout

T = TypeVar("T")
HEADS: dict[str, type["SpeechHead"]] = {}


@dataclass
class HeadOutput:
    """Loss of a batch: the weighted sum to train on, and the plain cross-entropy of every slot."""

    loss: Tensor  # []
    per_slot: Tensor  # [K], detached; 0 for a slot without any target


@dataclass
class Proposal:
    """What a head proposes for one position."""

    tokens: Tensor  # [B, 1, K]
    log_probs: Tensor  # [B, 1, K], of the tokens under the distribution they were drawn from


class SlotSampler(Protocol):
    """Chooses the token of slot `k` for every row; knows the sampler, the noise and the rules.

    Slots are picked in order, once each; the leading slot comes first.
    """

    def __call__(self, k: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, V_k] to tokens [B] and their log-probabilities [B]."""
        ...

    def all(self, logits: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [B, V_k] of all K slots, which do not see each other, to [B, K] each."""
        ...


class SpeechHead(nn.Module):
    """Base of all heads; a position-wise head only defines `logits`, and `propose` if its slots see
    each other.

    Position-wise means that the logits of a step depend on the hidden state and the targets of that
    step alone; a head that looks along the sequence also defines `loss`.
    """

    Config: ClassVar[type[StrictModel]]

    def __init__(self, layout: TokenLayout, loss_weights: dict[str, float]):
        super().__init__()
        self.layout = layout
        self.num_slots = layout.tokens_per_step
        for k, weight in enumerate(token_weights(layout, loss_weights)):
            self.register_buffer(f"weight_{k}", weight)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [B, S, D] to K logits [B, S, V_k].

        `targets` [B, S, K] are the step's own tokens, for heads whose slots see earlier slots;
        ignored targets (-100) are allowed.
        """
        raise NotImplementedError

    def propose(self, hidden: Tensor, pick: SlotSampler) -> Proposal:
        """Hidden [B, D] of one position to the tokens of the step it predicts; all at once, unless
        a head says otherwise.
        """
        tokens, log_probs = pick.all(self.logits(hidden))
        return Proposal(tokens[:, None], log_probs[:, None])

    def fuse(self, make: Make) -> None:  # noqa: B027 (most heads have nothing to join)
        """Join what can be joined for inference; training and saving are over then."""

    def loss(self, hidden: Tensor, targets: Tensor, mask: Tensor | None = None) -> HeadOutput:
        """Cross-entropy of `targets` [B, S, K] (-100 = none) where `mask` [B, S] allows.

        Logits are only computed at positions with a target.
        """
        valid = (targets != IGNORED).any(-1)  # [B, S]
        if mask is not None:
            valid = valid & mask
        chosen, wanted = hidden[valid][None], targets[valid][None]  # [1, N, D], [1, N, K]
        return self.cross_entropy(self.logits(chosen, wanted), wanted)

    def cross_entropy(self, logits: list[Tensor], targets: Tensor) -> HeadOutput:
        """The mean over codec slots plus the weighted joint slots, each a mean over its targets."""
        total, per_slot = targets.new_zeros((), dtype=torch.float32), []
        for k, slot_logits in enumerate(logits):
            wanted = targets[..., k].flatten()  # [N]
            count = (wanted != IGNORED).sum().clamp(min=1)
            weight = getattr(self, f"weight_{k}")[wanted.clamp(min=0)]
            plain = F.cross_entropy(
                slot_logits.flatten(0, -2).float(), wanted, ignore_index=IGNORED, reduction="none"
            )
            total = total + (plain * weight).sum() / count
            per_slot.append(plain.detach().sum() / count)
        return HeadOutput(total, torch.stack(per_slot))


def token_weights(layout: TokenLayout, loss_weights: dict[str, float]) -> list[Tensor]:
    """Weight of every token in the loss, a tensor [V_k] per slot.

    The loss is the mean over the codec slots plus `loss_weights[name]` (default 1) times every
    joint stream; a flat layout weighs its tokens to the same effect. Raises InputError for unknown
    names.
    """
    names = [stream.name for stream in layout.streams]
    for name in loss_weights:
        if name not in names:
            raise InputError(
                f"loss_weights '{name}': no such stream; {nearest(name, names)}", code="not_found"
            )
    framed = sum(not stream.joint for stream in layout.streams) * layout.frames_per_step
    of_stream = [
        loss_weights.get(stream.name, 1.0) / (1 if stream.joint else framed)
        for stream in layout.streams
    ]
    if not layout.flat:
        return [torch.full((s.vocab_size,), of_stream[s.stream]) for s in layout.slots]
    parts = [torch.full((s.size,), w) for s, w in zip(layout.streams, of_stream, strict=True)]
    parts.append(torch.full((2,), of_stream[0]))
    return [torch.cat(parts) * len(layout.streams)]


def register(name: str, heads: dict[str, type] = HEADS) -> Callable[[type[T]], type[T]]:
    """Enter a class in `heads` under `name`, by which configurations ask for it."""

    def enter(cls: type[T]) -> type[T]:
        heads[name] = cls
        return cls

    return enter


def build_head(
    config: dict[str, Any], layout: TokenLayout, width: int, loss_weights: dict[str, float]
) -> SpeechHead:
    """The head that `config` describes: `name` picks the class, the other keys are its settings.

    Raises InputError for an unknown name or key.
    """
    settings = dict(config)
    name = settings.pop("name", "parallel")
    if name not in HEADS:
        raise InputError(
            f"head.name '{name}': no such head; {nearest(name, HEADS)}", code="not_found"
        )
    cls = HEADS[name]
    return cls(parse(cls.Config, settings, f"head '{name}'"), layout, width, loss_weights)
