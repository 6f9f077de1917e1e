"""What decoding and training need of a model, and what speech and text LMs have in common.

Letters: B rows, L positions, n steps, K slots, N draft states, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from vocalmtp.engines.cache import TreeMask
from vocalmtp.engines.graphs import Programs
from vocalmtp.engines.linears import LinearFactory, keep_linear, replace_linears
from vocalmtp.engines.llama import LlamaRunner
from vocalmtp.errors import InputError
from vocalmtp.heads.base import SpeechHead
from vocalmtp.heads.draft.base import DraftHead
from vocalmtp.models.backbone import Runner, TransformersRunner, has_sliding_window
from vocalmtp.models.batch import Batch, Collate
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.prompts import Segment
from vocalmtp.models.state import DecodeState


class GenerativeModel(Protocol):
    """The interface of a model that can be decoded: SpeechLM, TextLM and TextDecodingView."""

    @property
    def layout(self) -> TokenLayout:
        """How tokens make up a step."""

    @property
    def head(self) -> SpeechHead:
        """Predicts the tokens of a step from one hidden state."""

    @property
    def draft(self) -> DraftHead | None:
        """Predicts hidden states of later steps."""

    @property
    def drafting_head(self) -> SpeechHead:
        """The head for draft states that have none of their own."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def collator(self) -> Collate:
        """Return what turns prompts into batches for this model."""

    def prefill(self, batch: Batch) -> tuple[Tensor, Tensor, DecodeState]:
        """Run a left-padded batch of prompts.

        Returns:
            The backbone's inputs and hidden states of all positions, [B, L, D] each, and a state.

        """

    def embed_step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Count a step of tokens [B, K] in `state`: the backbone's input [B, D] for it."""

    def step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Embed a step [B, K] and run the backbone: hidden states [B, D], which predict the next."""

    def steps(self, state: DecodeState, inputs: Tensor, tree: TreeMask | None = None) -> Tensor:
        """Run the backbone over embedded steps [B, n, D]: hidden states [B, n, D].

        They are a chain, or a draft `tree`, see `Runner.steps`.
        """

    def step_limit(self, segments: Sequence[Segment]) -> int:
        """Steps after which a prompt's generation is cut off unless its limit is given."""

    def check_tree_support(self) -> None:
        """Raise InputError if the backbone cannot verify draft trees."""


@dataclass(frozen=True, kw_only=True)
class TrainingOutput:
    """Losses of a batch; `loss` is their weighted sum, the other ones are for logging."""

    loss: Tensor
    head_loss: Tensor
    per_slot: Tensor  # [K] cross-entropy of every slot, detached
    auxiliary: dict[str, Tensor]  # weighted loss of every objective, detached
    per_draft: Tensor | None = None  # [N] cross-entropy of every state of the draft head, detached
    text_loss: Tensor | None = None  # of supervised text
    text_loss_parts: Tensor | None = None  # [2, 2] loss and count of transcripts, and of answers
    character_loss: Tensor | None = None  # of the audio input's characters


@dataclass(frozen=True)
class LossShares:
    """Factors of the losses of one process in data-parallel training.

    Losses are means over the targets of a batch. Times these factors, they average over processes
    with unequal numbers of targets to the mean over all targets.
    """

    slots: Tensor  # [K] of the head
    drafts: Tensor  # [N, K] of the states of the draft head
    objectives: dict[str, Tensor]  # [K] of each objective
    text: Tensor  # [] of supervised text
    characters: Tensor  # [] of the characters of the audio input


class DecodableLM:
    """What speech and text LMs have in common in decoding; a base of classes of modules.

    The backbone is called as a plain module. Nothing mutable of a generation is kept here, see
    DecodeState.
    """

    backbone: Any  # a causal LM of Transformers, or its weights alone (inference_lm.py)
    layout: TokenLayout
    head: SpeechHead
    draft: DraftHead | None
    convert: LinearFactory = staticmethod(keep_linear)  # of an optimized model
    runner: Runner | None = None  # of an optimized model; None runs the backbone as it is
    programs: Programs | None = None  # of passes with fixed shapes, if the engine has them

    @property
    def decoder(self) -> Runner:
        """What runs the backbone in decoding."""
        return TransformersRunner(self.backbone) if self.runner is None else self.runner

    @property
    def drafting_head(self) -> SpeechHead:
        """The head for draft states that have none of their own."""
        return self.head

    def embed_step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Count a step of tokens [B, K] in `state`: the backbone's input [B, D] for it."""
        raise NotImplementedError

    def step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Embed a step [B, K] and run the backbone: hidden states [B, D], which predict the next."""
        return self.decoder.step(self.embed_step(state, tokens), state.cache)

    def steps(self, state: DecodeState, inputs: Tensor, tree: TreeMask | None = None) -> Tensor:
        """Run the backbone over embedded steps [B, n, D]: hidden states [B, n, D].

        They are a chain, or a draft `tree`, see `Runner.steps`.
        """
        return self.decoder.steps(inputs, state.cache, tree)

    def check_tree_support(self) -> None:
        """Raise InputError if the backbone cannot verify draft trees."""
        if self.runner is None and has_sliding_window(self.backbone.config):
            raise InputError(
                f"draft tree: a {self.backbone.config.model_type} has sliding-window attention, "
                "which does not support trees; give drafts instead",
                code="unsupported",
            )

    def optimize_for_inference(self, convert: LinearFactory = keep_linear) -> None:
        """Fuse modules for decoding on a CPU, in place; the model cannot be trained or saved then.

        Args:
            convert: makes the module that replaces a linear layer.

        """
        self.convert = convert
        module = cast(nn.Module, self)
        if LlamaRunner.supports(self.backbone):
            self.runner = LlamaRunner(self.backbone, convert)
            self.backbone.base_model.layers = nn.ModuleList()  # the runner has their weights
        else:
            nn.Module.float(self.backbone)
        for name, part in module.named_children():  # the text embedding may have 16 bits
            if name != "backbone":
                part.float()
        self._optimize_parts(convert)
        if convert is not keep_linear:
            replace_linears(module, convert)

    def use_programs(self, programs: Programs) -> None:
        """Fuse modules, and decode with fixed shapes by `programs`, in place.

        The model cannot be trained or saved then.

        Raises:
            InputError: the backbone does not support this.

        """
        from vocalmtp.models.aligned import AlignedRunner

        self.runner = AlignedRunner(self.backbone, programs.compile_backbone)
        if self.programs is None:
            self._optimize_parts(keep_linear)
        self.programs = programs

    def _optimize_parts(self, convert: LinearFactory) -> None:
        self.head.optimize_for_inference(convert)
        if self.draft is not None:
            self.draft.optimize_for_inference(convert)
