"""The output layer of a text LM as a head of one slot, with its layout and collator.

The slot's ids are those of the vocabulary, followed by the end id and the padding id that every
slot has (models/layout.py). The first end token of a text LM becomes that end id; further end
tokens keep their ids, and the layout counts them as ends.
Letters: B rows, L positions, D width, V vocabulary size, n ids of a draft vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vocalmtp.engines.linears import LinearFactory, keep_linear
from vocalmtp.heads.base import HeadOutput, SoftTargets, SpeechHead
from vocalmtp.models.batch import Batch, PositionKind, next_position
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.prompts import Segment, States, Text
from vocalmtp.models.streams import Stream


@dataclass(frozen=True, kw_only=True)
class TextLayout(TokenLayout):
    """One stream and one token a step; `end_tokens` are the ids that end a text, if any."""

    end_tokens: tuple[int, ...] = ()

    @classmethod
    def of(cls, vocabulary: int, end_tokens: tuple[int, ...]) -> "TextLayout":
        """Return the layout of a vocabulary of so many tokens."""
        return cls(streams=(Stream(name="text", size=vocabulary),), end_tokens=end_tokens)

    def ends(self, leading: Tensor) -> Tensor:
        """Where tokens [..] of the slot end the text, [..] bool."""
        found = super().ends(leading)
        for token in self.end_tokens[1:]:
            found = found | (leading == token)
        return found


class TextHead(SpeechHead):
    """Predicts the next token by the output layer alone.

    Args:
        output: the output layer.
        layout: of the text.
        ids: [n] the only tokens that `output` has rows for; all others are impossible. This is the
            draft vocabulary of FastMTP (arXiv 2509.18362, section 3.4). None: the whole vocabulary.

    """

    layout: TextLayout
    output: Any  # a linear layer, or what replaced it
    ids: Tensor | None
    places: Tensor
    convert: LinearFactory = staticmethod(keep_linear)

    def __init__(self, output: nn.Linear, layout: TextLayout, ids: Tensor | None = None):
        super().__init__(layout, {})
        self.output = output
        self._rows: tuple[Tensor, Tensor | None] | None = None  # of an optimized head
        self.register_buffer("ids", ids, persistent=False)
        places = ids  # of the tokens in the slot, where the first end token is the end id
        if ids is not None and layout.end_tokens:
            places = torch.where(ids == layout.end_tokens[0], layout.slots[0].end_id, ids)
        self.register_buffer("places", places, persistent=False)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [.., D] to the logits of the slot, [[.., V + 2]]."""
        logits, slot = self.output(hidden), self.layout.slots[0]  # [.., V], or [.., n]
        shape = (*hidden.shape[:-1], slot.vocab_size)
        if self.ids is not None:
            return [logits.new_full(shape, -torch.inf).index_copy_(-1, self.places, logits)]
        whole = logits.new_empty(shape)
        whole[..., : slot.size] = logits
        whole[..., slot.size :] = -torch.inf
        if self.layout.end_tokens:  # the first end token's logit moves to the slot's end id
            first = self.layout.end_tokens[0]
            whole[..., slot.end_id] = logits[..., first]
            whole[..., first] = -torch.inf
        return [whole]

    def run_logits(self, hidden: Tensor) -> list[Tensor]:
        """The logits [B, 1, V + 2] of the only run."""
        return [self.logits(hidden)[0][:, None]]

    def loss(
        self,
        hidden: Tensor,
        targets: Tensor,
        mask: Tensor | None = None,
        shares: Tensor | None = None,
        soft: SoftTargets | None = None,
    ) -> HeadOutput:
        """Compute the cross-entropy, see SpeechHead; targets outside of `ids` do not count.

        The head of soft targets has the same `ids`.
        """
        if self.ids is None:
            return super().loss(hidden, targets, mask, shares, soft)
        slot = self.layout.slots[0]
        numbers = torch.full((slot.vocab_size,), IGNORED, device=self.ids.device)
        numbers[self.places] = torch.arange(len(self.ids), device=self.ids.device)
        targets = torch.where(targets == IGNORED, IGNORED, numbers[targets.clamp(min=0)])
        chosen = targets[..., 0] != IGNORED
        if mask is not None:
            chosen = chosen & mask
        logits = self.output(hidden[chosen])  # [N, n]
        if soft is None:
            return self.cross_entropy([logits], targets[chosen], shares)
        with torch.no_grad():
            wanted = cast(TextHead, soft.head).output(soft.hidden[chosen])
        return self.cross_entropy([logits], targets[chosen], shares, [wanted], soft.share)

    def most_likely(self, hidden: Tensor) -> tuple[int, float]:
        """The most likely token after a hidden state [1, D], and its probability among all of them."""
        logits = self.output(hidden).float()  # [1, V], or [1, n]
        best, number = logits.max(-1)
        token = number if self.ids is None else self.ids[number]
        return int(token), float((best - logits.logsumexp(-1)).exp())

    def restricted(self, ids: Tensor) -> "TextHead":
        """Return a head, for inference, that can predict the tokens `ids` [n] alone."""
        weight, bias = self.rows
        part = nn.Linear(weight.shape[1], len(ids), bias is not None, "meta")
        part.weight = nn.Parameter(weight[ids], requires_grad=False)
        if bias is not None:
            part.bias = nn.Parameter(bias[ids], requires_grad=False)
        head = TextHead(part, self.layout, ids)
        head.optimize_for_inference(self.convert)
        return head

    @property
    def rows(self) -> tuple[Tensor, Tensor | None]:
        """The weights [V, D] and biases [V] of the tokens."""
        if self._rows is not None:
            return self._rows
        bias = self.output.bias
        return self.output.weight.detach(), None if bias is None else bias.detach()

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Convert the output layer; its weights are kept for `restricted`."""
        self._rows, self.convert = self.rows, convert
        self.output = convert(self.output)


class TextCollator:
    """Turns prompts of Text segments into batches of a text LM."""

    def __init__(self, layout: TextLayout):
        self.end_id, self.end_tokens = layout.slots[0].end_id, layout.end_tokens[:1]

    def __call__(self, prompts: Sequence[Sequence[Segment]], left: bool = False) -> Batch:
        """Pad prompts to one length, on the right or on the left; every token is a step.

        Hidden states, which training alone has, are of all rows or of none.
        """
        rows = [[text for text in row if isinstance(text, Text)] for row in prompts]
        lengths = [sum(len(text.ids) for text in row) for row in rows]
        ids = torch.zeros(len(rows), max(lengths), dtype=torch.long)
        kinds = torch.full_like(ids, int(PositionKind.PADDING))
        targets = torch.full_like(ids, IGNORED)
        for b, row in enumerate(rows):
            start = ids.shape[1] - lengths[b] if left else 0
            for text in row:
                place = slice(start, start + len(text.ids))
                start = place.stop
                ids[b, place] = torch.as_tensor(text.ids, dtype=torch.long)
                kinds[b, place] = PositionKind.TEXT
                if text.supervised:
                    targets[b, place] = ids[b, place]
        for token in self.end_tokens:
            targets[targets == token] = self.end_id
        step_targets = next_position(targets)[..., None]
        states = [own.hidden for row in prompts for own in row if isinstance(own, States)]
        hidden = pad_sequence(states, batch_first=True).float() if states else None
        return Batch(
            kinds=kinds, ids=ids, steps=ids[..., None], step_targets=step_targets, hidden=hidden
        )
