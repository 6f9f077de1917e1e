"""The text side of a speech LM that listens: the model of the decode loop when text is written.

Letters: B rows, L positions, n steps, D width.
"""

import torch
from torch import Tensor

from vocalmtp.data.collate import Collator
from vocalmtp.errors import InputError
from vocalmtp.heads.text import TextHead, TextLayout
from vocalmtp.models.backbone import Runner, TransformersRunner
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState


class TextDecodingView:
    """A speech LM that writes: prompts are those of speech, and a step is a token of text.

    The weights, the runner and the prompts are the model's. Raises InputError if it does not
    listen.
    """

    track = draft = None

    def __init__(self, model: SpeechLM):
        if model.audio_encoder is None:
            raise InputError(
                "model: has no audio input; train one that has with recipes/chat_mini",
                code="unsupported",
            )
        self.model, self.config, self.device = model, model.config, model.device
        output = model.backbone.get_output_embeddings()
        end_id = model.config.audio_input_config.end_id
        self.layout = TextLayout.of(model.backbone.config.vocab_size, (end_id,))
        self.head = TextHead(output, self.layout)

    @property
    def runner(self) -> Runner:
        return self.model.runner or TransformersRunner(self.model.backbone)

    def collator(self) -> Collator:
        return self.model.collator()

    def read(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, DecodeState]:
        """Read a left-padded batch of prompts: inputs and hidden of all positions, [B, L, D]."""
        inputs, _, _ = self.model.prompt_inputs(batch)
        hidden, cache = self.runner.prefill(inputs, batch["attention_mask"])
        return inputs, hidden, DecodeState(cache, steps=torch.zeros_like(cache.lengths))

    def step(self, state: DecodeState, tokens: Tensor) -> tuple[Tensor, DecodeState]:
        """Take in a token [B, 1]: hidden [B, D], which predicts the next, and a state."""
        known = torch.where(tokens[:, 0] < self.layout.slots[0].size, tokens[:, 0], 0)
        inputs = self.model.backbone.get_input_embeddings()(known)  # nothing follows an end
        state.steps = state.steps + 1
        return self.runner.step(self.model._paced(inputs), state.cache), state
