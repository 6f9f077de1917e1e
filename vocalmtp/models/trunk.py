"""The wiring `decoder`: a small causal LM emits speech over a frozen text LM, the trunk.

The speech LM's backbone is then a speech decoder of any size. At the positions of text, its inputs
are made of the trunk's hidden states (VocalNet, arXiv 2504.04060), so that what the trunk knows and
writes is never changed by training on speech. In the wiring `inline`, which is the default, the
backbone is the text LM itself and emits the steps.

Letters: B rows, L positions, C tokens of context, U text tokens, E width of the trunk, D width of the
backbone.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from vocalmtp.config import StrictModel, parse
from vocalmtp.errors import InputError
from vocalmtp.models.blocks import Block


class TrunkLayersConfig(StrictModel):
    """Settings of the decoder layers of a LayeredTrunk.

    Attributes:
        layers: their number.
        heads: of attention.
        hidden: width of the feed-forward layers.
        epsilon: of the norms; None: that of torch.

    """

    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    hidden: int = Field(ge=1)
    epsilon: float | None = Field(default=None, gt=0)


class Trunk(nn.Module):
    """A frozen text LM; subclasses make inputs of the backbone of its hidden states.

    Args:
        config: configuration of the text LM, with its `model_type`.
        width: D.

    """

    def __init__(self, config: dict[str, Any], width: int):
        super().__init__()
        self.width = width
        self.lm: Any = AutoModel.from_config(AutoConfig.for_model(**config))
        self.freeze()

    def freeze(self) -> None:
        """Exclude the text LM from training."""
        self.lm.requires_grad_(False)
        self.lm.eval()

    def load(self, backbone: Any) -> None:
        """Take over the weights of a causal LM of the same configuration."""
        self.lm = backbone.base_model
        self.freeze()

    def causal_lm(self) -> Any:
        """Return the text LM with its output layer, as a causal LM with weights of its own.

        Raises:
            InputError: the output layer is not tied to the embedding, and so not part of the model.

        """
        if not self.lm.config.tie_word_embeddings:
            raise InputError(
                "trunk: cannot write, as the text LM's output layer is not part of the model; take "
                "a text LM whose output layer is its embedding",
                code="unsupported",
            )
        causal: Any = AutoModelForCausalLM.from_config(self.lm.config)
        causal.base_model.load_state_dict(self.lm.state_dict())
        causal.tie_weights()
        return causal.eval()

    def train(self, mode: bool = True) -> "Trunk":
        """Set the mode of what reads the states; the text LM stays without dropout."""
        super().train(mode)
        self.lm.eval()
        return self

    def forward(
        self,
        ids: Tensor,
        is_text: Tensor,
        row_by_row: bool = False,
        context: list[Tensor] | None = None,
    ) -> Tensor:
        """Compute the backbone's inputs at text positions.

        Args:
            ids: [B, L] token ids where there is text.
            is_text: [B, L].
            row_by_row: run every row on its own, so that rounding does not depend on the others.
            context: the tokens [C] that the text LM reads before the text of each row; None: none.

        Returns:
            [B, L, D], zero where there is no text.

        """
        texts = [row[text] for row, text in zip(ids, is_text, strict=True)]  # [U] each
        before = [row[:0] for row in ids] if context is None else context
        pairs = list(zip(before, texts, strict=True))
        groups = [[pair] for pair in pairs] if row_by_row else [pairs]
        read = [one for group in groups for one in self.read(group)]  # [U, D] each
        inputs = read[0].new_zeros(*ids.shape, self.width)
        return inputs.index_put(torch.nonzero(is_text, as_tuple=True), torch.cat(read))

    def read(self, rows: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The inputs [U, D] of rows of context [C] and text [U]."""
        raise NotImplementedError

    def run(self, rows: list[Tensor]) -> tuple[Tensor, Tensor] | None:
        """Run the text LM over rows of tokens [U]: hidden states and embeddings [B, U, E].

        Attention is causal, and padding comes last. None if there is no text at all.
        """
        padded = pad_sequence(rows, batch_first=True)  # [B, U]
        if not padded.shape[1]:
            return None
        with torch.no_grad():
            tokens = self.lm.get_input_embeddings()(padded)
            hidden = self.lm(inputs_embeds=tokens, use_cache=False).last_hidden_state
        return hidden, tokens


class ProjectedTrunk(Trunk):
    """A frozen text LM, and the projection of its hidden states, joined with its embeddings."""

    def __init__(self, config: dict[str, Any], width: int):
        super().__init__(config, width)
        size: int = self.lm.config.hidden_size
        self.norm = nn.LayerNorm(2 * size)
        self.projection = nn.Linear(2 * size, width)

    def read(self, rows: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """See Trunk."""
        found = self.run([torch.cat(row) for row in rows])
        if found is None:
            return [self.projection.weight.new_zeros(0, self.width) for _ in rows]
        inputs = self.projection(self.norm(torch.cat(found, -1)))
        return [
            one[len(before) : len(before) + len(text)]
            for one, (before, text) in zip(inputs, rows, strict=True)
        ]


class LayeredTrunk(Trunk):
    """A frozen text LM, and decoder layers over its hidden states, as VocalNet's release has them.

    The inputs are a learned vector in place of the first token, and what the layers make of the hidden
    states of the others and, in place of the last one, of its embedding, which ends the text. A state
    predicts a token, so the first word is read from the state of the last token before it: that token
    is the second of the text. The first has any id.
    """

    def __init__(self, config: dict[str, Any], layers: TrunkLayersConfig, width: int):
        super().__init__(config, width)
        size = self.lm.config.hidden_size
        if size != width:
            raise InputError(
                f"trunk_layers: the trunk is {size} wide, and the backbone {width}; give a backbone of "
                "the trunk's width, or leave trunk_layers out",
                code="mismatch",
            )
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(
            Block(width, layers.heads, layers.hidden, layers.epsilon) for _ in range(layers.layers)
        )

    def read(self, rows: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """See Trunk."""
        found = self.run([torch.cat([before, text[1:-1]]) for before, text in rows])
        states = []
        for number, (before, text) in enumerate(rows):
            end = self.lm.get_input_embeddings()(text[-1:])  # [1, E]
            inner = end[:0]
            if found is not None:
                inner = found[0][number, len(before) : len(before) + len(text[1:-1])]
            states.append(torch.cat([inner, end[: len(text) - 1]]))
        x = pad_sequence(states, batch_first=True)  # [B, U - 1, D]
        for layer in self.layers if x.shape[1] else ():
            x, _ = layer(x)
        return [
            torch.cat([self.start[None], one])[: len(text)]
            for one, (_, text) in zip(x, rows, strict=True)
        ]


def build_trunk(config: dict[str, Any], layers: dict[str, Any], width: int) -> Trunk:
    """Build a trunk.

    Args:
        config: configuration of the text LM, with its `model_type`.
        layers: settings of a LayeredTrunk; empty for a projection.
        width: D.

    """
    if layers:
        return LayeredTrunk(config, parse(TrunkLayersConfig, layers, "trunk_layers"), width)
    return ProjectedTrunk(config, width)


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
