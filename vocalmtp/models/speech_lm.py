"""SpeechLM: any causal LM of Transformers, extended to read and write codec tokens.

Letters: B rows, L positions, n steps, K slots, G frames per step, U characters, D width.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from vocalmtp.models.base import LossShares, TrainingOutput
from vocalmtp.models.batch import Batch, PositionKind
from vocalmtp.models.checkpoint import (
    FORMER_WEIGHTS,
    load_backbone,
    load_speech_lm,
    rename_former_weights,
)
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.elastic import add_smaller_steps, view_at_step_size
from vocalmtp.models.layout import IGNORED
from vocalmtp.models.multi_token_lm import MultiTokenLM
from vocalmtp.models.prompts import CONTROL_TOKENS
from vocalmtp.models.speech_decoding import SpeechDecoding


class SpeechLM(SpeechDecoding, MultiTokenLM):
    """The parts of `SpeechDecoding` as a model of Transformers, for training and for decoding.

    Speech tokens have their own embeddings and heads, so that the backbone's text vocabulary stays
    as it is.
    """

    config_class = SpeechLMConfig
    config: SpeechLMConfig
    base_model_prefix = "speech_lm"
    _supports_sdpa = True

    def __init__(self, config: SpeechLMConfig, backbone: PreTrainedModel | None = None):
        super().__init__(config)
        if backbone is None:
            settings = AutoConfig.for_model(**config.backbone)
            backbone = AutoModelForCausalLM.from_config(settings)
        self.backbone = backbone
        self.build_parts(config)
        self.register_load_state_dict_pre_hook(rename_former_weights)
        self.post_init()
        add_smaller_steps(self)

    # -- parts ---------------------------------------------------------------------------------

    def for_batch(self, batch: Batch) -> "SpeechLM":
        """Return the view whose steps have as many slots as those of `batch`."""
        sizes = {layout.tokens_per_step: layout.frames_per_step for layout in self.config.layouts}
        return view_at_step_size(self, sizes[batch.steps.shape[-1]])

    def drop_objectives(self) -> None:
        """Remove the auxiliary losses and their weights, which serve training alone."""
        self.objectives, self.config.objectives = nn.ModuleDict(), {}
        for modules in self.smaller_steps.values():
            assert isinstance(modules, nn.ModuleDict)
            modules["objectives"] = nn.ModuleDict()
        for ties in (self.all_tied_weights_keys, self._tied_weights_keys or {}):
            for name in [name for name in ties if ".objectives." in name]:
                del ties[name]

    # -- loading -------------------------------------------------------------------------------

    @classmethod
    def from_backbone(cls, name_or_folder: str, config: SpeechLMConfig) -> "SpeechLM":
        """Build a speech LM over a pretrained causal LM, whose configuration `config` takes over.

        Raises:
            InputError: the causal LM cannot be loaded.

        """
        backbone = load_backbone(name_or_folder, "model.pretrained")
        config.backbone = config_of(backbone.config)
        model = cls(config)
        model.take_backbone(backbone)
        return model

    @classmethod
    def over_trunk(cls, name_or_folder: str, config: SpeechLMConfig) -> "SpeechLM":
        """Build a speech LM over a pretrained text LM, which stays frozen (trunk.py).

        Raises:
            InputError: the text LM cannot be loaded.

        """
        trunk = load_backbone(name_or_folder, "model.trunk")
        config.trunk = config_of(trunk.config)
        model = cls(config)
        assert model.trunk is not None
        model.trunk.load(trunk)
        return model

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a saved model as Transformers does; former names of parameters are accepted."""
        return super().from_pretrained(*args, key_mapping=FORMER_WEIGHTS, **kwargs)

    @classmethod
    def load(cls, folder: Path | str) -> "SpeechLM":
        """Load a saved model in float32.

        Raises:
            InputError: its folder is incomplete, damaged, or was written by a later version.

        """
        return load_speech_lm(cls, Path(folder))

    # -- training ------------------------------------------------------------------------------

    def forward(
        self, batch: Batch, active_drafts: int | None = None, shares: LossShares | None = None
    ) -> TrainingOutput:
        """Compute the losses of a batch that is padded on the right.

        Args:
            batch: its steps may have any of the model's step sizes.
            active_drafts: how many states of the draft head count; None for all.
            shares: factors of the losses in data-parallel training; None for 1.
        """
        model = self.for_batch(batch)
        inputs = model.embed(batch).inputs
        hidden = model.run_backbone(inputs)  # [B, L, D]
        output = model.step_losses(hidden, inputs, batch.step_targets, active_drafts, shares)
        loss = output.loss
        parts: dict[str, Any] = {}
        if batch.text_targets is not None:
            parts["text_loss"], parts["text_loss_parts"] = self._text_losses(hidden, batch)
            share = 1.0 if shares is None else shares.text
            loss = loss + share * self.config.text_loss_weight * parts["text_loss"]
        if self.audio_encoder is not None and batch.audio_characters is not None:
            parts["character_loss"] = self.audio_encoder.character_loss(
                hidden, batch.kinds, batch.audio_characters
            )
            weight = self.config.audio_input_config.character_loss_weight
            share = 1.0 if shares is None else shares.characters
            loss = loss + share * weight * parts["character_loss"]
        return replace(output, loss=loss, **parts)

    def hidden_states(self, batch: Batch) -> Tensor:
        """Run whole sequences that are padded on the right: hidden states [B, L, D]."""
        return self.run_backbone(self.embed(batch).inputs)

    def _text_losses(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of supervised text from hidden states [B, L, D].

        Returns:
            The mean over all targets, and detached [2, 2]: mean and count of the targets outside of
            answers, then of those in answers.

        """
        targets = batch.text_targets
        assert targets is not None
        answer = CONTROL_TOKENS.index("answer")
        starts = (batch.kinds == PositionKind.CONTROL) & (batch.ids == answer)
        chosen = targets != IGNORED
        logits = self.backbone.get_output_embeddings()(hidden[chosen])
        losses = F.cross_entropy(logits.float(), targets[chosen], reduction="none")  # [N]
        in_answer = (starts.cumsum(1) > 0)[chosen]
        parts = []
        for part in (~in_answer, in_answer):
            count = part.sum().float()
            parts.append(torch.stack([(losses.detach() * part).sum() / count.clamp(min=1), count]))
        return losses.mean(), torch.stack(parts)


def config_of(config: PretrainedConfig) -> dict[str, Any]:
    """Return the settings of a causal LM that are not the defaults, with its `model_type`."""
    settings: dict[str, Any] = config.to_diff_dict()
    return settings | {"model_type": config.model_type}
