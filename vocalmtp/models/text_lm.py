"""TextLM: any causal LM of Transformers, and a draft head (heads/draft.py) if it has one.

It has the interface of SpeechLM that decoding and training use, so both are the same for text.
Letters: B rows, L positions, n steps, D width.
"""

import json
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from vocalmtp.errors import InputError
from vocalmtp.heads import DraftHead, build_draft
from vocalmtp.heads.text import TextCollator, TextHead, TextLayout
from vocalmtp.io.read import FORMAT, check_finite, check_format, fill, read_object, reason
from vocalmtp.models.backbone import Runner, TransformersRunner
from vocalmtp.models.objectives import build_objectives
from vocalmtp.models.speech_lm import SpeechLMOutput, quiet
from vocalmtp.models.state import DecodeState

DRAFT = "draft"  # the draft head's files beside those of the model: draft.json, draft.safetensors


class TextLMConfig(PretrainedConfig):
    """What a TextLM is made of; a folder has it in two parts, see `TextLM.save`."""

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


class TextLM(PreTrainedModel):
    """A causal LM, its output layer as a head of one slot, and by settings a draft head."""

    config_class = TextLMConfig
    config: TextLMConfig
    base_model_prefix = "text_lm"
    _supports_sdpa = True
    _tied_weights_keys = {"head.output.weight": "backbone.lm_head.weight"}  # one is saved
    track = audio_encoder = None
    step_sizes = (1,)

    def __init__(
        self,
        backbone: PreTrainedModel,
        draft: dict[str, Any] | None = None,
        objectives: dict[str, Any] | None = None,
    ):
        super().__init__(TextLMConfig(backbone.config.to_dict(), objectives=objectives))
        output = backbone.get_output_embeddings()
        self.runner: Runner | None = None  # runs the backbone in decoding; None = as it is
        self.backbone = backbone
        self.layout = TextLayout.of(output.out_features, end_ids(backbone))
        self.head = TextHead(output, self.layout)
        self.vocabulary_head: TextHead | None = None  # of a draft vocabulary
        self.draft: DraftHead | None = None
        if draft:
            self.add_draft(draft)
        self.objectives = build_objectives(self.config.objectives, self.layout, output.in_features)
        self.all_tied_weights_keys = dict(self._tied_weights_keys)

    def at_slots(self, count: int) -> "TextLM":
        """Itself: a step is a token."""
        return self

    def add_draft(self, settings: dict[str, Any]) -> None:
        """Give the model a new draft head, whose heads are copies of the output layer."""
        width = self.head.output.in_features
        self.draft = build_draft(settings, width, lambda: deepcopy(self.head))
        self.config.draft = dict(settings)

    def with_draft_vocabulary(self, ids: Tensor) -> "TextLM":
        """The same model, whose drafts are of the tokens `ids` [n] and of its ends alone.

        What it says stays the same. For inference; all else is shared.
        """
        ends = torch.tensor(self.layout.end_tokens, dtype=torch.long, device=ids.device)
        ids = torch.cat([ids, ends]).unique()
        view = copy(self)
        view._modules = dict(self._modules)
        view.vocabulary_head = self.head.restricted(ids)
        if self.draft is not None and len(self.draft.heads):
            view.draft = copy(self.draft)
            heads = nn.ModuleList(head.restricted(ids) for head in self.draft.heads)
            view.draft._modules = self.draft._modules | {"heads": heads}
        return view

    @property
    def drafting_head(self) -> TextHead:
        """The head of draft states that have none of their own."""
        return self.vocabulary_head or self.head

    def collator(self) -> TextCollator:
        return TextCollator(self.layout)

    # -- training ------------------------------------------------------------------------------

    def forward(
        self,
        text_ids: Tensor,
        attention_mask: Tensor,
        step_targets: Tensor,
        active_drafts: int | None = None,
    ) -> SpeechLMOutput:
        """Losses of a batch as TextCollator makes it.

        Of the draft head, the first `active_drafts` states count (None: all).
        """
        inputs = self.backbone.get_input_embeddings()(text_ids)
        mask = None if bool(attention_mask[:, 0].all()) else attention_mask  # padded on the left
        hidden = self.backbone.base_model(
            inputs_embeds=inputs, attention_mask=mask, use_cache=False
        ).last_hidden_state  # [B, L, D]
        head = self.head.loss(hidden, step_targets)
        loss, per_draft = head.loss, None
        if self.draft is not None:
            drafted = self.draft.loss(hidden, inputs, step_targets, self.head, active_drafts)
            loss, per_draft = loss + drafted.loss, drafted.per_state
        auxiliary = {name: own(hidden, step_targets) for name, own in self.objectives.items()}
        loss = loss + sum(auxiliary.values())
        auxiliary = {name: value.detach() for name, value in auxiliary.items()}
        return SpeechLMOutput(
            loss=loss,
            head_loss=head.loss.detach(),
            per_slot=head.per_slot,
            per_draft=per_draft,
            auxiliary=auxiliary,
        )

    # -- decoding ------------------------------------------------------------------------------

    def read(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, DecodeState]:
        """Read a left-padded batch of prompts: inputs and hidden of all positions, [B, L, D] each.

        The steps of the state include those of the prompt: its tokens are like those that follow.
        """
        inputs = self.backbone.get_input_embeddings()(batch["text_ids"])
        runner = self.runner or TransformersRunner(self.backbone)
        hidden, cache = runner.prefill(inputs, batch["attention_mask"])
        return inputs, hidden, DecodeState(cache, steps=cache.lengths.clone())

    def step(self, state: DecodeState, tokens: Tensor) -> tuple[Tensor, DecodeState]:
        """Take in a token [B, 1]: hidden [B, D], which predicts the next, and a state."""
        return self.steps(state, self.embed_step(state, tokens)[:, None])[:, 0], state

    def steps(self, state: DecodeState, inputs: Tensor, sees: Tensor | None = None) -> Tensor:
        """Run the backbone over entered steps, [B, n, D] to hidden [B, n, D]; see Runner.steps."""
        runner = self.runner or TransformersRunner(self.backbone)
        return runner.steps(inputs, state.cache, sees)

    def embed_step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Move on by a token [B, 1]: the input [B, D] of the backbone, still to be run."""
        state.steps = state.steps + 1
        return self.embed(tokens[:, 0])

    def embed(self, tokens: Tensor) -> Tensor:
        """Ids of the slot [..] to the backbone's inputs [.., D]; nothing follows an end."""
        known = tokens < self.layout.slots[0].size
        return self.backbone.get_input_embeddings()(torch.where(known, tokens, 0))

    # -- folders -------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the model as Transformers has it, and a draft head beside it.

        Auxiliary losses are left out: they only serve training.
        """
        with quiet():
            self.backbone.save_pretrained(folder)
        if self.draft is None:
            return
        facts = {"format": FORMAT, "draft": self.config.draft} | self._sizes()
        (folder / f"{DRAFT}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        weights = {name: x.contiguous() for name, x in self.draft.state_dict().items()}
        save_file(weights, folder / f"{DRAFT}.safetensors")

    def _sizes(self) -> dict[str, int]:
        output = self.head.output
        return {"width": output.in_features, "vocabulary": output.out_features}

    @classmethod
    def load(cls, model: Path | str, draft: Path | str | None = None) -> "TextLM":
        """The causal LM `model`, a folder or name, in float32, with a draft head if it has one.

        `draft` is another folder to take the draft head from. Raises InputError if either is not
        whole, they do not belong together, or the model is none that can be decoded here.
        """
        text_lm = cls(load_backbone(model))
        check_output(text_lm, f"model '{model}'")
        folder = Path(model if draft is None else draft)
        if draft is not None or (folder / f"{DRAFT}.json").is_file():
            text_lm.load_draft(folder)
        return text_lm.eval()

    def load_draft(self, folder: Path) -> None:
        """Take the draft head from `folder`. Raises InputError if there is none that fits."""
        what = f"draft head '{folder}'"
        if not (folder / f"{DRAFT}.json").is_file():
            raise InputError(
                f"{what}: has no {DRAFT}.json; train one (recipe: text_lm with draft:)",
                code="empty",
            )
        facts = check_format(read_object(folder / f"{DRAFT}.json", what), what)
        for name, mine in self._sizes().items():
            if facts.get(name) != mine:
                raise InputError(
                    f"{what}: is for a model of {name} {facts.get(name)}, and this one has {mine}; "
                    "give the model that it was trained on",
                    code="conflict",
                )
        if not isinstance(facts.get("draft"), dict):
            raise InputError(
                f"{what}: {DRAFT}.json has no 'draft'; copy or train it again", code="damaged"
            )
        self.add_draft(facts["draft"])
        fill(self.draft, folder / f"{DRAFT}.safetensors", what)


def load_backbone(model: Path | str) -> PreTrainedModel:
    """A causal LM of Transformers in float32. Raises InputError if it cannot be loaded whole."""
    what = f"model '{model}'"
    if (Path(model) / "config.json").is_file():
        kind = read_object(Path(model) / "config.json", what).get("model_type")
        if kind == "vocalmtp":
            raise InputError(
                f"{what}: speaks; for text give the folder of a causal LM", code="invalid_value"
            )
    try:
        with quiet():
            backbone, found = AutoModelForCausalLM.from_pretrained(
                model, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # whatever a configuration makes Transformers raise
        raise InputError(
            f"{what}: cannot be loaded ({reason(error)}); give the name or folder of a causal LM "
            "with safetensors",
            code="unusable",
        ) from error
    for name in sorted(str(key) for key in found["missing_keys"]):
        raise InputError(f"{what}: its weights lack {name}; copy it again", code="damaged")
    check_finite(backbone.state_dict(), "model.safetensors", what)
    return backbone


def new_backbone(config: dict[str, Any], vocabulary: int) -> PreTrainedModel:
    """A causal LM of random weights for so many tokens. Raises InputError for a wrong config."""
    settings = {"vocab_size": vocabulary} | config
    if settings["vocab_size"] < vocabulary:
        raise InputError(
            f"backbone.vocab_size '{settings['vocab_size']}': the tokenizer has {vocabulary}; "
            "leave it out",
            code="conflict",
        )
    try:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    except Exception as error:
        raise InputError(
            f"backbone: cannot be built ({reason(error)}); give a model_type and its sizes",
            code="unusable",
        ) from error


def end_ids(backbone: PreTrainedModel) -> tuple[int, ...]:
    """The ids that end a text, as the generation config or the config says."""
    for config in (getattr(backbone, "generation_config", None), backbone.config):
        ends = getattr(config, "eos_token_id", None)
        if ends is not None:
            return tuple(ends) if isinstance(ends, list | tuple) else (ends,)
    return ()


@torch.inference_mode()
def check_output(model: TextLM, what: str) -> None:
    """Raise InputError if the logits are not the output layer's of the last hidden state."""
    ids = torch.arange(4)[None] % model.layout.slots[0].size
    inputs = model.backbone.get_input_embeddings()(ids)
    try:
        want = model.backbone(input_ids=ids, use_cache=False).logits
        hidden = model.backbone.base_model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        got = model.head.output(hidden)
    except Exception as error:  # of any architecture
        raise InputError(
            f"{what}: cannot be run ({reason(error)}); give another model", code="unusable"
        ) from error
    if got.shape != want.shape or not torch.allclose(got, want, atol=1e-3, rtol=1e-3):
        raise InputError(
            f"{what}: a {model.backbone.config.model_type} changes its logits after the output "
            "layer, which is not supported; give another model",
            code="unsupported",
        )
