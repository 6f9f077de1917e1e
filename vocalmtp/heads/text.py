"""The output layer of a text LM as a head of one slot, with its layout and collator.

The slot's ids are those of the vocabulary, followed by the end id and the padding id that every
slot has (models/layout.py). The first end token of a text LM becomes that end id; further end
tokens keep their ids, and the layout counts them as ends.
Letters: B rows, L positions, D width, V vocabulary size, n ids of a draft vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vocalmtp.engines.linears import LinearFactory, keep_linear
from vocalmtp.heads.base import HeadOutput, SpeechHead
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
    convert: LinearFactory = staticmethod(keep_linear)

    def __init__(self, output: nn.Linear, layout: TextLayout, ids: Tensor | None = None):
        super().__init__(layout, {})
        self.output = output
        self._rows: tuple[Tensor, Tensor | None] | None = None  # of an optimized head
        self.register_buffer("ids", ids, persistent=False)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [.., D] to the logits of the slot, [[.., V + 2]]."""
        logits = self.output(hidden)  # [.., V], or [.., n]
        if self.ids is not None:
            shape = (*hidden.shape[:-1], self.layout.slots[0].size)
            logits = logits.new_full(shape, -torch.inf).index_copy(-1, self.ids, logits)
        impossible = torch.full_like(logits[..., :1], -torch.inf)
        end = impossible
        if self.layout.end_tokens:  # the first end token's logit moves to the slot's end id
            first = self.layout.end_tokens[0]
            end = logits[..., first : first + 1]
            logits = torch.cat([logits[..., :first], impossible, logits[..., first + 1 :]], -1)
        return [torch.cat([logits, end, impossible], -1)]

    def loss(
        self,
        hidden: Tensor,
        targets: Tensor,
        mask: Tensor | None = None,
        shares: Tensor | None = None,
    ) -> HeadOutput:
        """Compute the cross-entropy, see SpeechHead; targets outside of `ids` do not count."""
        if self.ids is None:
            return super().loss(hidden, targets, mask, shares)
        slot = self.layout.slots[0]
        numbers = torch.full((slot.vocab_size,), IGNORED, device=self.ids.device)
        numbers[self.ids] = torch.arange(len(self.ids), device=self.ids.device)
        if self.layout.end_tokens:  # its place in the slot
            numbers[slot.end_id] = numbers[self.layout.end_tokens[0]]
        targets = torch.where(targets == IGNORED, IGNORED, numbers[targets.clamp(min=0)])
        chosen = targets[..., 0] != IGNORED if mask is None else mask & (targets[..., 0] != IGNORED)
        logits = self.output(hidden[chosen])  # [N, n]
        return self.cross_entropy([logits], targets[chosen], shares)

    def most_likely(self, hidden: Tensor) -> int:
        """The id in the vocabulary of the most likely token after a hidden state [1, D]."""
        number = self.output(hidden).argmax(-1)
        return int(number if self.ids is None else self.ids[number])

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
