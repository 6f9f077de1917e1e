"""The embedding of steps by a transformer over their frames: a patch encoder (MiMo-Audio).

The embeddings of a frame's codes are added up, a transformer without a mask mixes the frames of one
step, and a linear layer joins them. Steps of text, and what is padding, have zeros.
Letters: K slots, G frames of a step, Q streams, W width of the transformer, D width of the backbone,
V_q ids of stream q.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError
from vocalmtp.models.layout import TokenLayout


class StepEncoderConfig(StrictModel):
    """Settings of a StepEncoder.

    Attributes:
        encoder: configuration of a causal LM of Transformers, with its `model_type`.
        causal: whether a frame attends to the frames before it and itself alone.

    """

    encoder: dict[str, Any]
    causal: bool = False


class StepEncoder(nn.Module):
    """Embeds the K tokens of a step by a transformer over its frames.

    Args:
        config: settings.
        layout: the slots of a step.
        width: D.

    Raises:
        InputError: the layout has a text track, or one token a step.

    """

    def __init__(self, config: StepEncoderConfig, layout: TokenLayout, width: int):
        from transformers import AutoConfig, AutoModelForCausalLM

        super().__init__()
        if layout.flat or any(stream.joint or stream.delay for stream in layout.streams):
            raise InputError(
                "step_encoder: needs a grouped layout without a text track and delays; leave it out",
                code="conflict",
            )
        self.layout, self.frames = layout, layout.frames_per_step
        self.causal = config.causal
        self.leading = layout.tokens_per_step - layout.codec_tokens
        settings = AutoConfig.for_model(**({"vocab_size": 1} | config.encoder))
        inner: int = settings.hidden_size
        slots = layout.slots[self.leading :][: len(layout.streams)]
        self.tables = nn.ModuleList(nn.Embedding(slot.vocab_size, inner) for slot in slots)
        self.encoder: Any = AutoModelForCausalLM.from_config(settings)
        for unused in ("get_input_embeddings", "get_output_embeddings"):
            getattr(self.encoder, unused)().requires_grad_(False)
        self.projection = nn.Linear(self.frames * inner, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed steps [.., K], the ids of each slot: [.., D]."""
        steps = tokens.reshape(-1, tokens.shape[-1])  # [N, K]
        codes = steps[:, self.leading :].unflatten(1, (self.frames, -1))  # [N, G, Q]
        parts = [table(codes[..., q]) for q, table in enumerate(self.tables)]
        visible = torch.ones(self.frames, self.frames, dtype=torch.bool, device=tokens.device)
        mixed = self.encoder.base_model(
            inputs_embeds=torch.stack(parts).sum(0),  # [N, G, W]
            attention_mask=(visible.tril() if self.causal else visible)[None, None],
            use_cache=False,
        )
        joined = self.projection(mixed.last_hidden_state.flatten(1))  # [N, D]
        has_codes = codes[:, 0, 0] < self.layout.slots[self.leading].size  # [N]
        return torch.where(has_codes[:, None], joined, 0).view(*tokens.shape[:-1], -1)
