"""What a speech LM says of a batch in training.

Letters: B batch, L positions, K slots, N texts' tokens, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from vocalmtp.models.layout import IGNORED


@dataclass
class SpeechLMOutput(ModelOutput):
    """Losses of a batch; `loss` is their weighted sum."""

    loss: Tensor | None = None
    text_loss: Tensor | None = None
    character_loss: Tensor | None = None  # of a model that listens, see model/hearing.py
    text_loss_parts: Tensor | None = None  # [2, 2] loss and count of transcripts, and of answers
    head_loss: Tensor | None = None
    per_slot: Tensor | None = None  # [K] cross-entropy of every slot, detached
    per_draft: Tensor | None = None  # [N] that of every state of the draft head
    auxiliary: dict[str, Tensor] | None = None  # weighted loss of every objective, detached


def written_losses(
    output: nn.Module, hidden: Tensor, targets: Tensor, answering: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the text that is written, by the output layer of hidden [B, L, D].

    Returns the mean over all `targets` [B, L] (-100 = none), and detached [2, 2]: mean and count of
    those that are not part of an answer, then of those that are (`answering` [B, L]).
    """
    chosen = targets != IGNORED
    losses = F.cross_entropy(output(hidden[chosen]).float(), targets[chosen], reduction="none")
    answers = answering[chosen]  # [N]
    parts = []
    for part in (losses.detach()[~answers], losses.detach()[answers]):
        parts.append(torch.stack([part.sum() / max(len(part), 1), part.new_tensor(len(part))]))
    return losses.mean(), torch.stack(parts)
