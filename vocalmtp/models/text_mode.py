"""Text decoding of a speech LM with audio input: transcripts and answers as text.

Letters: B rows, L positions, n steps, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vocalmtp.engines.cache import TreeMask
from vocalmtp.engines.graphs import Programs
from vocalmtp.errors import InputError
from vocalmtp.heads.text import TextHead, TextLayout
from vocalmtp.models.batch import Batch, Collator
from vocalmtp.models.prompts import Segment
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState

STEP_LIMIT = 256  # tokens after which a text is cut off unless its limit is given


class TextDecodingView:
    """A GenerativeModel that decodes a speech LM's text: prompts are the same, a step is a token.

    Weights and runner are those of the speech LM.

    Raises:
        InputError: the model has no audio input, and so was not trained to write text.

    """

    draft = None

    def __init__(self, model: SpeechLM):
        if model.audio_encoder is None:
            raise InputError(
                "model: has no audio input; train one that has with recipes/chat_mini",
                code="unsupported",
            )
        self.model = model
        end_id = model.config.audio_input_config.end_id
        self.layout = TextLayout.of(model.backbone.config.vocab_size, (end_id,))
        self.head = TextHead(model.backbone.get_output_embeddings(), self.layout)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def drafting_head(self) -> TextHead:
        """The text head; there are no drafts."""
        return self.head

    @property
    def programs(self) -> Programs | None:
        """Those of the speech LM."""
        return self.model.programs

    def collator(self) -> Collator:
        """Return what turns prompts into batches for this model."""
        return self.model.collator()

    def prefill(self, batch: Batch) -> tuple[Tensor, Tensor, DecodeState]:
        """Run a left-padded batch of prompts: inputs and hidden states [B, L, D], and a state."""
        batch = batch.to(self.device)
        inputs = self.model.embed(batch, row_by_row=True).inputs
        hidden, cache = self.model.decoder.prefill(inputs, batch.attention_mask)
        return inputs, hidden, DecodeState.start(cache, torch.zeros_like(cache.lengths))

    def embed_step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Count a token [B, 1] in `state`: the backbone's input [B, D] for it."""
        known = tokens[:, 0] < self.layout.slots[0].size  # nothing follows an end token
        ids = torch.where(known, tokens[:, 0], 0)
        state.steps = state.steps + 1
        return self.model.with_step_size(self.model.backbone.get_input_embeddings()(ids))

    def step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Embed a token [B, 1] and run the backbone: hidden states [B, D]."""
        return self.model.decoder.step(self.embed_step(state, tokens), state.cache)

    def steps(self, state: DecodeState, inputs: Tensor, tree: TreeMask | None = None) -> Tensor:
        """Run the backbone over embedded tokens [B, n, D]: hidden states [B, n, D]."""
        return self.model.decoder.steps(inputs, state.cache, tree)

    def step_limit(self, segments: Sequence[Segment]) -> int:
        """Tokens after which a text is cut off."""
        return STEP_LIMIT

    def check_tree_support(self) -> None:
        """Raise InputError if the backbone cannot verify draft trees."""
        self.model.check_tree_support()
