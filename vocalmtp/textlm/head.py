"""The output layer of a text LM as a grouped head of one slot, and what goes in and out of it.

The slot's ids are the vocabulary's, and after them the end and the padding of every slot
(layout.py): the tokens that end a text are one end there, of their joint probability.
Letters: B rows, L positions, D width, V vocabulary, n of its ids.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vocalmtp.data.collate import shift
from vocalmtp.heads.base import Draft, SlotPicker, SpeechHead
from vocalmtp.layout import IGNORED, Stream, TokenLayout
from vocalmtp.prompts import Text


def text_layout(vocabulary: int) -> TokenLayout:
    """One stream, one token a step."""
    return TokenLayout(streams=(Stream(name="text", size=vocabulary),))


class TextHead(SpeechHead):
    """The next token from the hidden state, by the output layer alone.

    `ends` are the ids that end a text. With `ids` [n] the output layer has these rows only, and
    every other id is impossible: the draft vocabulary of FastMTP (arXiv 2509.18362, section 3.4).
    """

    def __init__(
        self, output: nn.Module, layout: TokenLayout, ends: Tensor, ids: Tensor | None = None
    ):
        super().__init__(layout, {})
        self.output = output
        self.register_buffer("ends", ends, persistent=False)
        self.register_buffer("ids", ids, persistent=False)

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        logits = self.output(hidden)  # [.., V], or [.., n]
        if self.ids is not None:
            shape = (*hidden.shape[:-1], self.layout.slots[0].size)
            logits = logits.new_full(shape, -torch.inf).index_copy(-1, self.ids, logits)
        end = logits[..., self.ends].logsumexp(-1, keepdim=True)
        codes = logits.index_fill(-1, self.ends, -torch.inf)
        return [torch.cat([codes, end, torch.full_like(end, -torch.inf)], -1)]  # [.., V + 2]

    def propose(self, hidden: Tensor, pick: SlotPicker) -> Draft:
        tokens, log_probs = pick.all(self.logits(hidden))
        return Draft(tokens[:, None], log_probs[:, None])

    def restricted(self, ids: Tensor) -> "TextHead":
        """The head that knows the tokens `ids` [n] alone, for inference."""
        rows = nn.Linear(self.output.in_features, len(ids), self.output.bias is not None, "meta")
        rows.weight = nn.Parameter(self.output.weight.detach()[ids], requires_grad=False)
        if self.output.bias is not None:
            rows.bias = nn.Parameter(self.output.bias.detach()[ids], requires_grad=False)
        return TextHead(rows, self.layout, self.ends, ids)


class TextCollator:
    """Turns lists of Text segments into a batch; see data/collate.py for those of speech.

    Rows are padded on the right; `left=True` pads on the left, as decoding needs.
    """

    def __init__(self, layout: TokenLayout, ends: Sequence[int]):
        self.end_id, self.ends = layout.slots[0].end_id, torch.tensor(ends, dtype=torch.long)

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
        own = torch.where(torch.isin(own, self.ends), self.end_id, own)
        return {"text_ids": ids, "attention_mask": mask, "step_targets": shift(own)[..., None]}
