"""The depth head of published models: a decoder of Transformers over the slots of one step.

The backbone's own output layer predicts slot 0. The decoder reads the backbone's hidden state at
place 0 and the embedding of slot k - 1 at place k, and an output layer of each slot predicts slot k
at place k (CSM, Qwen3-TTS).
Letters: B rows, S steps, K slots, D width of the backbone, W width of the decoder, V_k vocabulary of
slot k.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import LinearFactory
from vocalmtp.engines.llama import LlamaRunner
from vocalmtp.heads.base import HEADS, SlotSampler, SpeechHead
from vocalmtp.models.backbone import TransformersRunner
from vocalmtp.models.layout import TokenLayout


class DepthDecoderConfig(StrictModel):
    """Settings of a depth decoder.

    Attributes:
        decoder: configuration of a causal LM of Transformers, with its `model_type`.
        projection: whether a layer leads from D to W: "none", "linear", or "bias" for one with a bias.
        end_code: the code that ends the speech where all slots but the last have it; None: the end
            id of slot 0 does.
        published_ids: whether ids that published models lack are never predicted: those of padding,
            and the ends of all slots, or all but the first one without an `end_code`.

    """

    decoder: dict[str, Any]
    projection: str = "linear"
    end_code: int | None = None
    published_ids: bool = False


@HEADS.register("depth_decoder")
class DepthDecoderHead(SpeechHead):
    """Predicts slots in order, each from the hidden state and the slots before it."""

    Config = DepthDecoderConfig
    in_order = True
    penalized_slots = 1  # published loops penalize what the backbone predicts

    def __init__(
        self,
        config: DepthDecoderConfig,
        layout: TokenLayout,
        width: int,
        loss_weights: Mapping[str, float],
    ):
        from transformers import AutoConfig, AutoModelForCausalLM

        super().__init__(layout, loss_weights)
        self.end_code, self.published_ids = config.end_code, config.published_ids
        settings = AutoConfig.for_model(**({"vocab_size": 1} | config.decoder))
        inner: int = settings.hidden_size
        slots = layout.slots
        self.first = nn.Linear(width, slots[0].vocab_size, bias=False)
        self.tables = nn.ModuleList(nn.Embedding(slot.vocab_size, width) for slot in slots[:-1])
        self.projection: nn.Module = nn.Identity()
        self.decoder: Any = None  # of a single slot
        if len(slots) > 1:
            if config.projection != "none":
                self.projection = nn.Linear(width, inner, bias=config.projection == "bias")
            self.decoder = AutoModelForCausalLM.from_config(settings)
            for unused in ("get_input_embeddings", "get_output_embeddings"):
                getattr(self.decoder, unused)().requires_grad_(False)
        self.outputs = nn.ModuleList(
            nn.Linear(inner, slot.vocab_size, bias=False) for slot in slots[1:]
        )
        self.runner: Any = None  # of an optimized head

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [B, S, D] to K logits [B, S, V_k], teacher-forced.

        Raises:
            ValueError: there are several slots and no `targets` [B, S, K] of the slots before.

        """
        if self.num_slots > 1 and targets is None:
            raise ValueError("all slots at once need the step's targets")
        if self.num_slots == 1:
            return [self._allowed(0, self.first(hidden))]
        places = [hidden]
        for k, table in enumerate(self.tables):
            assert targets is not None
            pad = self.layout.slots[k].pad_id
            places.append(table(torch.where(targets[..., k] < 0, pad, targets[..., k])))
        inputs = self.projection(torch.stack(places, -2))  # [B, S, K, W]
        length = inputs.shape[-2]
        causal = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril()
        mixed = self.decoder.base_model(
            inputs_embeds=inputs.flatten(0, -3),  # [B S, K, W]
            attention_mask=causal[None, None],  # [1, 1, K, K]
            use_cache=False,
        )
        states = mixed.last_hidden_state.view(inputs.shape)
        later = [output(states[..., k, :]) for k, output in enumerate(self.outputs, start=1)]
        return [self._allowed(k, x) for k, x in enumerate([self.first(hidden), *later])]

    def propose(self, hidden: Tensor, pick: SlotSampler) -> Tensor:
        """Draw the step [B, K] that hidden states [B, D] predict, slot by slot with a cache."""
        tokens = [pick(0, self._allowed(0, self.first(hidden)))]
        runner, cache = self.runner, None
        for k, output in enumerate(self.outputs, start=1):
            if cache is None:
                runner = TransformersRunner(self.decoder) if runner is None else runner
                places = torch.stack([hidden, self.tables[0](tokens[0])], 1)
                inputs = self.projection(places)  # [B, 2, W]
                mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=inputs.device)
                states, cache = runner.prefill(inputs, mask)
                state = states[:, -1]
            else:
                state = runner.step(self.projection(self.tables[k - 1](tokens[-1])), cache)
            tokens.append(pick(k, self._allowed(k, output(state))))
        return self._ended(torch.stack(tokens, -1))

    def _allowed(self, k: int, logits: Tensor) -> Tensor:
        """Exclude the ids that published models lack from logits [.., V_k] of slot `k`."""
        if not self.published_ids:
            return logits
        slot = self.layout.slots[k]
        kept = slot.size if k or self.end_code is not None else slot.size + 1
        excluded = torch.full_like(logits[..., kept:], -torch.inf)
        return torch.cat([logits[..., :kept], excluded], -1)

    def _ended(self, steps: Tensor) -> Tensor:
        """Replace steps [B, K] that mean the end by the layout's."""
        if self.end_code is None:
            return steps
        over = (steps[:, :-1] == self.end_code).all(1)
        slots = self.layout.slots
        end = [slots[0].end_id, *(slot.pad_id for slot in slots[1:])]
        return torch.where(over[:, None], torch.tensor(end, device=steps.device), steps)

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Fuse the layers of a decoder that LlamaRunner supports."""
        if self.decoder is not None and LlamaRunner.supports(self.decoder):
            self.runner = LlamaRunner(self.decoder, convert)
            self.decoder.base_model.layers = nn.ModuleList()
