"""The wiring `decoder`: a small causal LM emits speech over a frozen text LM, the trunk.

The speech LM's backbone is then a speech decoder of any size. At the positions of text, its inputs are
the trunk's hidden states joined with the trunk's embeddings (VocalNet, arXiv 2504.04060), so that what
the trunk knows and writes is never changed by training on speech. In the wiring `inline`, which is the
default, the backbone is the text LM itself and emits the steps.

Letters: B rows, L positions, U text tokens, E width of the trunk, D width of the backbone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel

from vocalmtp.errors import InputError


class Trunk(nn.Module):
    """A frozen text LM, and the projection of its hidden states to a backbone's inputs.

    Args:
        config: configuration of the text LM, with its `model_type`.
        width: D.

    """

    def __init__(self, config: dict[str, Any], width: int):
        super().__init__()
        self.lm: Any = AutoModel.from_config(AutoConfig.for_model(**config))
        size: int = self.lm.config.hidden_size
        self.norm = nn.LayerNorm(2 * size)
        self.projection = nn.Linear(2 * size, width)
        self.freeze()

    def freeze(self) -> None:
        """Exclude the text LM from training."""
        self.lm.requires_grad_(False)
        self.lm.eval()

    def load(self, backbone: Any) -> None:
        """Take over the weights of a causal LM of the same configuration."""
        self.lm = backbone.base_model
        self.freeze()

    def train(self, mode: bool = True) -> "Trunk":
        """Set the mode of the projection; the text LM stays in evaluation mode, without dropout."""
        super().train(mode)
        self.lm.eval()
        return self

    def forward(self, ids: Tensor, is_text: Tensor, row_by_row: bool = False) -> Tensor:
        """Compute the backbone's inputs at text positions.

        Args:
            ids: [B, L] token ids where there is text.
            is_text: [B, L].
            row_by_row: run every row on its own, so that rounding does not depend on the others.

        Returns:
            [B, L, D], zero where there is no text.

        """
        rows = [row[text] for row, text in zip(ids, is_text, strict=True)]  # [U] each
        groups = [[row] for row in rows] if row_by_row else [rows]
        read = [one for group in groups for one in self._read(group)]  # [U, D] each
        inputs = read[0].new_zeros(*ids.shape, read[0].shape[-1])
        return inputs.index_put(torch.nonzero(is_text, as_tuple=True), torch.cat(read))

    def _read(self, rows: list[Tensor]) -> list[Tensor]:
        """The inputs [U, D] of rows of tokens [U]; attention is causal, padding comes last."""
        padded = pad_sequence(rows, batch_first=True)  # [B, U]
        if not padded.shape[1]:  # no text at all
            empty = self.projection.weight.new_zeros(0, len(self.projection.weight))
            return [empty for _ in rows]
        with torch.no_grad():
            tokens = self.lm.get_input_embeddings()(padded)
            hidden = self.lm(inputs_embeds=tokens, use_cache=False).last_hidden_state
        inputs = self.projection(self.norm(torch.cat([hidden, tokens], -1)))
        return [one[: len(row)] for one, row in zip(inputs, rows, strict=True)]


def check_wiring(text: str, audio_input: bool) -> None:
    """Check that a model with a trunk reads text by it.

    Raises:
        InputError: its text is on the track alone, or it has an audio input.

    """
    if text == "track":
        raise InputError(
            "text 'track': a trunk reads the text of prompts; give 'prompt' or 'both'",
            code="conflict",
        )
    if audio_input:
        raise InputError(
            "audio_input: a model with a trunk writes no text of its own; leave one of them out",
            code="unsupported",
        )
