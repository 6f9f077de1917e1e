"""TextLM: any causal LM of Transformers, with a draft head if it has one.

Decoding and training are those of SpeechLM, since both are GenerativeModels.
Letters: B rows, L positions, n ids, D width.
"""

import json
from collections.abc import Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from vocalmtp.engines.linears import LinearFactory
from vocalmtp.errors import InputError
from vocalmtp.heads import build_draft
from vocalmtp.heads.text import TextCollator, TextHead, TextLayout
from vocalmtp.io.progress import quiet
from vocalmtp.io.read import FORMAT, check_format, fill, read_object, reason
from vocalmtp.models.base import LossShares, TrainingOutput
from vocalmtp.models.batch import Batch
from vocalmtp.models.checkpoint import load_backbone
from vocalmtp.models.multi_token_lm import MultiTokenLM
from vocalmtp.models.objectives import build_objectives
from vocalmtp.models.prompts import Segment
from vocalmtp.models.state import DecodeState

DRAFT = "draft"  # the draft head's files beside those of the model: draft.json, draft.safetensors
STEP_LIMIT = 256  # tokens after which a text is cut off unless its limit is given


class TextLMConfig(PretrainedConfig):
    """Configuration of a TextLM; its folder has it in two parts, see `TextLM.save`."""

    model_type = "vocalmtp_text"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        draft: dict[str, Any] | None = None,
        objectives: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.backbone = dict(backbone or {})
        self.draft, self.objectives = dict(draft or {}), dict(objectives or {})
        super().__init__(**kwargs)


class Supervisor(Protocol):
    """Adds losses to those of a text LM, such as those of distillation."""

    def add_loss(
        self,
        output: TrainingOutput,
        student: "TextLM",
        batch: Batch,
        hidden: Tensor,
        inputs: Tensor,
        active_drafts: int | None,
        shares: LossShares | None,
    ) -> TrainingOutput:
        """Return the losses of a batch with those added; the arguments are those of `forward`."""
        ...


class TextLM(MultiTokenLM):
    """A causal LM with its output layer as a head of one slot, and by settings a draft head.

    Args:
        backbone: the causal LM.
        draft: settings of a new draft head.
        objectives: settings of auxiliary losses by name.

    """

    config_class = TextLMConfig
    config: TextLMConfig
    base_model_prefix = "text_lm"
    _supports_sdpa = True
    _tied_weights_keys = {"head.output.weight": "backbone.lm_head.weight"}  # one is saved
    layout: TextLayout
    head: TextHead
    step_sizes = (1,)

    def __init__(
        self,
        backbone: PreTrainedModel,
        draft: dict[str, Any] | None = None,
        objectives: dict[str, Any] | None = None,
    ):
        super().__init__(TextLMConfig(backbone.config.to_dict(), objectives=objectives))
        output = backbone.get_output_embeddings()
        self.backbone = backbone
        self.layout = TextLayout.of(output.out_features, end_ids(backbone))
        self.head = TextHead(output, self.layout)
        self.vocabulary_head: TextHead | None = None  # of a draft vocabulary
        self.draft = None
        if draft:
            self.add_draft(draft)
        self.objectives = build_objectives(self.config.objectives, self.layout, output.in_features)
        self.all_tied_weights_keys = dict(self._tied_weights_keys)

    def for_batch(self, batch: Batch) -> "TextLM":
        """Return the model itself: a step is always one token."""
        return self

    @property
    def width(self) -> int:
        """D, the size of hidden states."""
        return int(self.backbone.get_input_embeddings().weight.shape[1])

    def _optimize_parts(self, convert: LinearFactory) -> None:
        super()._optimize_parts(convert)
        if self.runner is not None:
            self.backbone.set_output_embeddings(nn.Identity())  # the head has its weights
        if self.vocabulary_head is not None:
            self.vocabulary_head.optimize_for_inference(convert)

    def add_draft(self, settings: dict[str, Any]) -> None:
        """Add a new draft head; heads of its states start as copies of the output layer.

        Raises:
            InputError: the settings are invalid.

        """
        width = self.head.output.in_features
        self.draft = build_draft(settings, width, lambda: deepcopy(self.head))
        self.config.draft = dict(settings)

    def restrict_drafts(self, ids: Tensor) -> None:
        """Draft only the tokens `ids` [n] and the end tokens, in training and by default."""
        self.vocabulary_head = self.head.restricted(self.with_ends(ids))

    def with_draft_vocabulary(self, ids: Tensor) -> "TextLM":
        """Return a view, for inference, that drafts only the tokens `ids` [n] and the end tokens.

        The generated text stays the same; all weights but those of the drafts' heads are shared.
        """
        ids = self.with_ends(ids)
        view = copy(self)
        view._modules = dict(self._modules)
        view.vocabulary_head = self.head.restricted(ids)
        if self.draft is not None and len(self.draft.heads):
            view.draft = copy(self.draft)
            heads = nn.ModuleList(cast(TextHead, head).restricted(ids) for head in self.draft.heads)
            view.draft._modules = self.draft._modules | {"heads": heads}
        return view

    def with_ends(self, ids: Tensor) -> Tensor:
        """Return `ids` [n], and the end tokens with them, in ascending order."""
        ends = torch.tensor(self.layout.end_tokens, dtype=torch.long, device=ids.device)
        return torch.cat([ids, ends]).unique()

    @property
    def drafting_head(self) -> TextHead:
        """The head for draft states that have none of their own."""
        return self.head if self.vocabulary_head is None else self.vocabulary_head

    def collator(self) -> TextCollator:
        """Return what turns prompts of text into batches."""
        return TextCollator(self.layout)

    # -- training ------------------------------------------------------------------------------

    def forward(
        self,
        batch: Batch,
        active_drafts: int | None = None,
        shares: LossShares | None = None,
        teacher: Supervisor | None = None,
    ) -> TrainingOutput:
        """Compute the losses of a batch that is padded on the right.

        Args:
            batch: as TextCollator makes it.
            active_drafts: how many states of the draft head count; None for all.
            shares: factors of the losses in data-parallel training; None for 1.
            teacher: adds losses of its own; None for no teacher.
        """
        inputs = self.backbone.get_input_embeddings()(batch.ids)
        hidden = self.run_backbone(inputs) if batch.hidden is None else batch.hidden  # [B, L, D]
        output = self.step_losses(hidden, inputs, batch.step_targets, active_drafts, shares)
        if teacher is None:
            return output
        return teacher.add_loss(output, self, batch, hidden, inputs, active_drafts, shares)

    # -- decoding ------------------------------------------------------------------------------

    def prefill(self, batch: Batch) -> tuple[Tensor, Tensor, DecodeState]:
        """Run a left-padded batch of prompts: inputs and hidden states [B, L, D], and a state.

        The state's steps include those of the prompt, whose tokens are like those that follow.
        """
        batch = batch.to(self.device)
        inputs = self.backbone.get_input_embeddings()(batch.ids)
        hidden, cache = self.decoder.prefill(inputs, batch.attention_mask)
        return inputs, hidden, DecodeState.start(cache, cache.lengths.clone())

    def embed_step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Count a token [B, 1] in `state`: the backbone's input [B, D] for it."""
        state.steps = state.steps + 1
        return self.embed(tokens[:, 0])

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed ids of the slot [..] as inputs of the backbone [.., D]."""
        known = tokens < self.layout.slots[0].size  # nothing follows an end token
        inputs: Tensor = self.backbone.get_input_embeddings()(torch.where(known, tokens, 0))
        return inputs

    def step_limit(self, segments: Sequence[Segment]) -> int:
        """Tokens after which a text is cut off."""
        return STEP_LIMIT

    # -- folders -------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the model as Transformers has it, and a draft head beside it.

        Auxiliary losses, which serve training alone, are left out.
        """
        with quiet():
            self.backbone.save_pretrained(folder)
        if self.draft is None:
            return
        facts = {"format": FORMAT, "draft": self.config.draft} | self._sizes()
        if self.vocabulary_head is not None and self.vocabulary_head.ids is not None:
            facts["ids"] = self.vocabulary_head.ids.tolist()
        (folder / f"{DRAFT}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        weights = {name: x.contiguous() for name, x in self.draft.state_dict().items()}
        save_file(weights, folder / f"{DRAFT}.safetensors")

    def _sizes(self) -> dict[str, int]:
        output = self.head.output
        return {"width": output.in_features, "vocabulary": output.out_features}

    @classmethod
    def load(cls, model: Path | str, draft: Path | str | None = None) -> "TextLM":
        """Load a causal LM in float32, with a draft head if there is one.

        Args:
            model: folder or name of the causal LM.
            draft: another folder to load the draft head from.

        Raises:
            InputError: either is incomplete or damaged, they do not belong together, or the
                causal LM cannot be decoded here.

        """
        text_lm = cls(load_backbone(model))
        check_output(text_lm, f"model '{model}'")
        folder = Path(model if draft is None else draft)
        if draft is not None or (folder / f"{DRAFT}.json").is_file():
            text_lm.load_draft(folder)
        return text_lm.eval()

    def load_draft(self, folder: Path) -> None:
        """Load the draft head in `folder`.

        Raises:
            InputError: there is none, it is damaged, or it belongs to another model.

        """
        what = f"draft head '{folder}'"
        if not (folder / f"{DRAFT}.json").is_file():
            raise InputError(
                f"{what}: has no {DRAFT}.json; train one (recipe: text_lm with draft:)",
                code="not_found",
            )
        facts = check_format(read_object(folder / f"{DRAFT}.json", what), what)
        for name, size in self._sizes().items():
            if facts.get(name) != size:
                raise InputError(
                    f"{what}: is for a model of {name} {facts.get(name)}, and this one has {size}; "
                    "give the model that it was trained on",
                    code="mismatch",
                )
        if not isinstance(facts.get("draft"), dict):
            raise InputError(
                f"{what}: {DRAFT}.json has no 'draft'; copy or train it again", code="damaged"
            )
        self.add_draft(facts["draft"])
        assert self.draft is not None
        fill(self.draft, folder / f"{DRAFT}.safetensors", what)
        if (ids := facts.get("ids")) is not None:
            self.restrict_drafts(checked_ids(ids, self._sizes()["vocabulary"], what))


def checked_ids(ids: object, vocabulary: int, what: str) -> Tensor:
    """Return a draft vocabulary [n]. Raises InputError unless it is a list of token ids."""
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < vocabulary for i in ids):
        raise InputError(
            f"{what}: {DRAFT}.json has 'ids' that are no tokens; copy or train it again",
            code="damaged",
        )
    return torch.tensor(ids, dtype=torch.long)


def new_backbone(config: dict[str, Any], vocabulary: int) -> PreTrainedModel:
    """Build a causal LM with random weights.

    Args:
        config: its configuration, with `model_type`.
        vocabulary: tokens of its tokenizer, which is the default `vocab_size`.

    Raises:
        InputError: the configuration is invalid, or its vocabulary too small.

    """
    settings = {"vocab_size": vocabulary} | config
    if settings["vocab_size"] < vocabulary:
        raise InputError(
            f"backbone.vocab_size '{settings['vocab_size']}': the tokenizer has {vocabulary}; "
            "leave it out",
            code="conflict",
        )
    try:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    except Exception as error:  # whatever a configuration makes Transformers raise
        raise InputError(
            f"backbone: cannot be built ({reason(error)}); give a model_type and its sizes",
            code="unusable",
        ) from error


def end_ids(backbone: PreTrainedModel) -> tuple[int, ...]:
    """Return the ids that end a text, by the generation config or else the config."""
    for config in (getattr(backbone, "generation_config", None), backbone.config):
        ends = getattr(config, "eos_token_id", None)
        if ends is not None:
            return tuple(ends) if isinstance(ends, list | tuple) else (ends,)
    return ()


@torch.inference_mode()
def check_output(model: TextLM, what: str) -> None:
    """Check that logits are what the output layer makes of the last hidden state.

    Raises:
        InputError: they are not, or the model cannot be run.

    """
    ids = torch.arange(4, device=model.device)[None] % model.layout.slots[0].size
    inputs = model.backbone.get_input_embeddings()(ids)
    try:
        expected = model.backbone(input_ids=ids, use_cache=False).logits
        logits = model.head.output(model.run_backbone(inputs))
    except Exception as error:  # of any architecture
        raise InputError(
            f"{what}: cannot be run ({reason(error)}); give another model", code="unusable"
        ) from error
    if logits.shape != expected.shape or not torch.allclose(logits, expected, atol=1e-3, rtol=1e-3):
        raise InputError(
            f"{what}: a {model.backbone.config.model_type} changes its logits after the output "
            "layer, which is not supported; give another model",
            code="unsupported",
        )
