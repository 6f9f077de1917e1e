"""The output layer of a text LM as a grouped head of one slot, and what goes in and out of it.

The slot's ids are the vocabulary's, and after them the end and the padding of every slot
(layout.py). The first token that ends a text is the end there; others are ids like any, which the
loop knows as ends.
Letters: B rows, L positions, D width, V vocabulary, n of its ids.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vocalmtp.data.collate import shift
from vocalmtp.heads.base import SpeechHead
from vocalmtp.models.layout import IGNORED, Stream, TokenLayout
from vocalmtp.models.prompts import Text


@dataclass(frozen=True, kw_only=True)
class TextLayout(TokenLayout):
    """One stream, one token a step. `end_tokens` are the ids that end a text, none or some."""

    end_tokens: tuple[int, ...] = ()

    @classmethod
    def of(cls, vocabulary: int, end_tokens: tuple[int, ...]) -> "TextLayout":
        return cls(streams=(Stream(name="text", size=vocabulary),), end_tokens=end_tokens)

    def ends(self, leading: Tensor) -> Tensor:
        found = super().ends(leading)
        for token in self.end_tokens[1:]:
            found = found | (leading == token)
        return found


class TextHead(SpeechHead):
    """The next token from the hidden state, by the output layer alone.

    With `ids` [n] the output layer has these rows only, and every other id is impossible: the draft
    vocabulary of FastMTP (arXiv 2509.18362, section 3.4).
    """

    layout: TextLayout

    def __init__(self, output: nn.Module, layout: TextLayout, ids: Tensor | None = None):
        super().__init__(layout, {})
        self.output = output
        self.register_buffer("ids", ids, persistent=False)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        logits = self.output(hidden)  # [.., V], or [.., n]
        if self.ids is not None:
            shape = (*hidden.shape[:-1], self.layout.slots[0].size)
            logits = logits.new_full(shape, -torch.inf).index_copy(-1, self.ids, logits)
        never = torch.full_like(logits[..., :1], -torch.inf)
        end = never
        if self.layout.end_tokens:  # moves from its place to the slot's
            first = self.layout.end_tokens[0]
            end = logits[..., first : first + 1]
            logits = torch.cat([logits[..., :first], never, logits[..., first + 1 :]], -1)
        return [torch.cat([logits, end, never], -1)]  # [.., V + 2]

    def restricted(self, ids: Tensor) -> "TextHead":
        """The head that knows the tokens `ids` [n] alone, for inference."""
        rows = nn.Linear(self.output.in_features, len(ids), self.output.bias is not None, "meta")
        rows.weight = nn.Parameter(self.output.weight.detach()[ids], requires_grad=False)
        if self.output.bias is not None:
            rows.bias = nn.Parameter(self.output.bias.detach()[ids], requires_grad=False)
        return TextHead(rows, self.layout, ids)


class TextCollator:
    """Turns lists of Text segments into a batch; see data/collate.py for those of speech.

    Rows are padded on the right; `left=True` pads on the left, as decoding needs.
    """

    def __init__(self, layout: TextLayout):
        self.end_id, self.ends = layout.slots[0].end_id, layout.end_tokens[:1]

    def __call__(self, rows: list[list[Text]], left: bool = False) -> dict[str, Tensor]:
        """text_ids and attention_mask [B, L]; step_targets [B, L, 1], what each predicts."""
        length = max(sum(len(text.ids) for text in row) for row in rows)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        own, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
        for b, row in enumerate(rows):
            start = length - sum(len(text.ids) for text in row) if left else 0
            for text in row:
                place = slice(start, start + len(text.ids))
                start = place.stop
                ids[b, place] = torch.as_tensor(text.ids, dtype=torch.long)
                mask[b, place] = 1
                if text.supervised:
                    own[b, place] = ids[b, place]
        for token in self.ends:
            own[own == token] = self.end_id
        return {"text_ids": ids, "attention_mask": mask, "step_targets": shift(own)[..., None]}
