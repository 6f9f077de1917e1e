"""The output layer of a text LM as a head of one slot, with its layout and collator.

The slot's ids are those of the vocabulary, followed by the end id and the padding id that every
slot has (models/layout.py). The first end token of a text LM becomes that end id; further end
tokens keep their ids, and the layout counts them as ends.
Letters: B rows, L positions, D width, V vocabulary size, n ids of a draft vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vocalmtp.heads.base import SpeechHead
from vocalmtp.models.batch import Batch, PositionKind, next_position
from vocalmtp.models.layout import IGNORED, Stream, TokenLayout
from vocalmtp.models.prompts import Segment, Text


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
    output: nn.Linear
    ids: Tensor | None

    def __init__(self, output: nn.Linear, layout: TextLayout, ids: Tensor | None = None):
        super().__init__(layout, {})
        self.output = output
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

    def restricted(self, ids: Tensor) -> "TextHead":
        """Return a head, for inference, that can predict the tokens `ids` [n] alone."""
        rows = nn.Linear(self.output.in_features, len(ids), self.output.bias is not None, "meta")
        rows.weight = nn.Parameter(self.output.weight.detach()[ids], requires_grad=False)
        if self.output.bias is not None:
            rows.bias = nn.Parameter(self.output.bias.detach()[ids], requires_grad=False)
        return TextHead(rows, self.layout, ids)


class TextCollator:
    """Turns prompts of Text segments into batches of a text LM."""

    def __init__(self, layout: TextLayout):
        self.end_id, self.end_tokens = layout.slots[0].end_id, layout.end_tokens[:1]

    def __call__(self, prompts: Sequence[Sequence[Segment]], left: bool = False) -> Batch:
        """Pad prompts to one length, on the right or on the left; every token is a step."""
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
        return Batch(kinds=kinds, ids=ids, steps=ids[..., None], step_targets=step_targets)
