"""SpeechLM: any Hugging Face causal LM that also reads and writes codec tokens.

Letters: B batch, L positions, S steps, K slots, G frames per step, U characters, D hidden size.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from vocalmtp.data.collate import CONTROL, SPEAKER, SPEECH, TEXT, Collator
from vocalmtp.errors import InputError
from vocalmtp.heads import DraftHead, SpeechHead, build_draft, build_head
from vocalmtp.io.read import check_finite, reason
from vocalmtp.models.audio_encoder import AudioEncoder, place_heard
from vocalmtp.models.backbone import Runner, TransformersRunner
from vocalmtp.models.config import FORMER_WEIGHTS, SpeechLMConfig, check_sizes
from vocalmtp.models.elastic import add_groupings, check_draft, view_at
from vocalmtp.models.embeddings import SlotEmbedding
from vocalmtp.models.layout import IGNORED
from vocalmtp.models.objectives import build_objectives
from vocalmtp.models.output import SpeechLMOutput, written_losses
from vocalmtp.models.prompts import CONTROL_TOKENS
from vocalmtp.models.speaker import SpeakerProjection
from vocalmtp.models.state import DecodeState
from vocalmtp.models.text_track import TextTrack


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Transformers from telling of what it loads, and drawing a bar over it."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


class SpeechLM(PreTrainedModel):
    """Backbone, slot embeddings, speaker projection, markers and head; by config, a text track and
    a draft head.

    Speech tokens have embeddings and heads of their own: the backbone's text vocabulary stays as it
    is. The backbone is called as a plain module; nothing mutable is kept here (see DecodeState).
    """

    config_class = SpeechLMConfig
    config: SpeechLMConfig
    base_model_prefix = "speech_lm"
    _supports_sdpa = True

    def __init__(self, config: SpeechLMConfig):
        super().__init__(config)
        self.layout = config.layout
        self.runner: Runner | None = None  # runs the backbone in decoding; None = as it is
        self.backbone = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config.backbone))
        width = self.backbone.config.hidden_size
        self.embedding = SlotEmbedding(self.layout, width, config.layouts)
        self.control_tokens = nn.Embedding(1, width)
        self.head = build_head(config.head, self.layout, width, config.stream_weights)
        self.draft: DraftHead | None = None
        if config.draft:
            self.add_draft(config.draft)
        self.objectives = build_objectives(config.objectives, self.layout, width)
        self.speaker_projection = None
        if config.speaker_dim:
            self.speaker_projection = SpeakerProjection(
                config.speaker_dim, width, config.speaker_dropout
            )
        self.track = None
        if config.has_text_track:
            self.track = TextTrack(
                config.track_config, len(config.alphabet), width, self.layout.frames_per_step
            )
        self.audio_encoder: AudioEncoder | None = None
        if config.audio_input:
            self.add_audio_input(config.audio_input)
        self.smaller_steps = nn.ModuleDict()  # of an elastic model, its groupings of fewer frames
        self.step_size_index, self.step_size_embedding = len(config.step_sizes) - 1, None
        if self.step_size_index:
            self.step_size_embedding = nn.Embedding(len(config.step_sizes), width)
        self.register_load_state_dict_pre_hook(rename_former_weights)
        self.post_init()
        add_groupings(self, width)

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """The frames that a step may have, see model/elastic.py."""
        return self.config.step_sizes

    def at(self, frames: int) -> "SpeechLM":
        """This model with steps of so many frames, see model/elastic.py."""
        return view_at(self, frames)

    def at_slots(self, count: int) -> "SpeechLM":
        """This model with steps of so many slots, K."""
        frames = {each.tokens_per_step: each.frames_per_step for each in self.config.layouts}
        return view_at(self, frames[count])

    def add_draft(self, settings: dict[str, Any]) -> None:
        """Give the model a new draft head (heads/draft.py), whose grouped heads are copies of its
        own.
        """
        width = self.backbone.config.hidden_size
        self.draft = build_draft(settings, width, lambda: deepcopy(self.head))
        self.config.draft = dict(settings)
        check_draft(self.draft, self.step_sizes)

    def add_audio_input(self, settings: dict[str, Any]) -> None:
        """Give the model ears (model/hearing.py), which keep what fits of those that it has, and
        the markers of a conversation. Raises InputError for settings that do not fit it.
        """
        self.config.audio_input = dict(settings)
        own, backbone, before = self.config, self.backbone.config, self.audio_encoder
        width, listens = backbone.hidden_size, own.audio_input_config
        if listens.end_id >= backbone.vocab_size:
            raise InputError(
                f"backbone.vocab_size '{backbone.vocab_size}': a model that listens writes text, "
                f"whose end has the id {listens.end_id}; give {listens.end_id + 1} or more",
                code="invalid_value",
            )
        self.audio_encoder = AudioEncoder(listens, own.codec_streams, len(own.alphabet), width)
        if before is not None:
            self.audio_encoder.take_over(before)
            return
        markers = nn.Embedding(len(CONTROL_TOKENS), width)
        with torch.no_grad():
            markers.weight[:1] = self.control_tokens.weight[:1]
        self.control_tokens = markers

    @property
    def drafting_head(self) -> SpeechHead:
        """The head of draft states that have none of their own."""
        return self.head

    def collator(self) -> Collator:
        return Collator(self.layout, self.config.speaker_dim, self.config.audio_frames_per_position)

    def drop_objectives(self) -> None:
        """Forget the auxiliary losses and their weights, which only serve training."""
        self.objectives, self.config.objectives = nn.ModuleDict(), {}
        for grouping in self.smaller_steps.values():
            grouping["objectives"] = nn.ModuleDict()
        for ties in (self.all_tied_weights_keys, self._tied_weights_keys or {}):
            for name in [name for name in ties if ".objectives." in name]:
                del ties[name]

    def _init_weights(self, module: nn.Module) -> None:
        """Our own modules start as torch makes them; the backbone initialises itself."""
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    @classmethod
    def from_backbone(cls, name_or_folder: str, config: SpeechLMConfig) -> "SpeechLM":
        """A speech LM over a pretrained causal LM; `config.backbone` is read from there."""
        try:
            backbone = AutoModelForCausalLM.from_pretrained(name_or_folder, use_safetensors=True)
        except Exception as error:  # as in `load`
            raise InputError(
                f"model.pretrained '{name_or_folder}': cannot be loaded ({reason(error)}); "
                "give the name or folder of a causal LM with safetensors",
                code="unusable",
            ) from error
        config.backbone = backbone.config.to_diff_dict() | {
            "model_type": backbone.config.model_type
        }
        model = cls(config)
        model.backbone = backbone
        return model

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a saved model as Transformers does; former parameter names are accepted."""
        return super().from_pretrained(*args, key_mapping=FORMER_WEIGHTS, **kwargs)

    @classmethod
    def load(cls, folder: Path | str) -> "SpeechLM":
        """A saved model, in float32.

        Raises InputError if its folder is not whole, damaged, or of a later version.
        """
        folder, what = Path(folder), f"model '{folder}'"
        config = SpeechLMConfig.load(folder)
        check_sizes(config, folder, what)
        try:
            with quiet():
                model, found = cls.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=True,
                    local_files_only=True,
                    ignore_mismatched_sizes=True,  # they are told below
                    output_loading_info=True,
                )
        except InputError as error:
            raise InputError(f"{what}: config.json: {error}", code=error.code) from error
        except Exception as error:  # whatever a configuration makes Transformers raise
            raise InputError(
                f"{what}: is damaged ({reason(error)}); copy or export it again", code="damaged"
            ) from error
        for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
            for name in sorted(str(key) for key in found[problem]):
                raise InputError(
                    f"{what}: its weights do not fit config.json ({problem.split('_')[0]}: "
                    f"{name}); copy or export both again",
                    code="mismatch",
                )
        check_finite(model.state_dict(), "model.safetensors", what)
        model._weight_conversions = None  # it is saved under the present names
        return model

    # -- training ------------------------------------------------------------------------------

    def forward(
        self,
        kinds: Tensor,
        text_ids: Tensor,
        steps: Tensor,
        markers: Tensor,
        attention_mask: Tensor,
        speaker: Tensor | None = None,
        has_speaker: Tensor | None = None,
        characters: Tensor | None = None,
        character_lengths: Tensor | None = None,
        pointers: Tensor | None = None,
        text_targets: Tensor | None = None,
        step_targets: Tensor | None = None,
        heard: Tensor | None = None,
        heard_lengths: Tensor | None = None,
        heard_letters: Tensor | None = None,
        active_drafts: int | None = None,
    ) -> SpeechLMOutput:
        """Losses of a batch as data/collate.py makes it (its docstring gives the shapes).

        Of the draft head, the first `active_drafts` states count (None: all). An elastic model sees
        by the slots of `steps` which frames a step has.
        """
        own = self.at_slots(steps.shape[-1])
        voice = self._voice(speaker, has_speaker)
        encoded = None
        if self.track is not None:
            encoded = self.track.encode(characters, character_lengths)
        ears = None if heard is None else self.audio_encoder(heard, heard_lengths)
        inputs = own._inputs(kinds, text_ids, steps, markers, voice, encoded, pointers, ears)
        hidden = self._run(inputs, attention_mask)  # [B, L, D]
        head = own.head.loss(hidden, step_targets)
        loss, text_loss, character_loss, per_draft, parts = head.loss, None, None, None, None
        if self.draft is not None:
            drafted = self.draft.loss(hidden, inputs, step_targets, own.head, active_drafts)
            loss, per_draft = loss + drafted.loss, drafted.per_state
        auxiliary = {name: of(hidden, step_targets) for name, of in own.objectives.items()}
        loss = loss + sum(auxiliary.values())
        auxiliary = {name: value.detach() for name, value in auxiliary.items()}
        if text_targets is not None and (text_targets != IGNORED).any():
            answering = ((kinds == CONTROL) & (markers == CONTROL_TOKENS.index("answer"))).cumsum(
                1
            ) > 0
            output = self.backbone.get_output_embeddings()
            text_loss, parts = written_losses(output, hidden, text_targets, answering)
            loss = loss + self.config.text_loss_weight * text_loss
        if heard is not None:
            character_loss = self.audio_encoder.character_loss(hidden, kinds, heard_letters)
            loss = loss + self.config.audio_input_config.character_loss_weight * character_loss
        return SpeechLMOutput(
            loss,
            text_loss,
            character_loss,
            parts,
            head.loss.detach(),
            head.per_slot,
            per_draft,
            auxiliary,
        )

    def _voice(self, speaker: Tensor | None, has_speaker: Tensor | None) -> Tensor | None:
        return (
            None
            if self.speaker_projection is None
            else self.speaker_projection(speaker, has_speaker)
        )  # [B, D]

    def _inputs(
        self,
        kinds: Tensor,
        text_ids: Tensor,
        steps: Tensor,
        markers: Tensor,
        voice: Tensor | None,
        encoded: Tensor | None,
        pointers: Tensor | None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """The embedding of every position, [B, L, D]; `heard` [B, H, D] as Hearing makes it."""
        speech = self._speech_inputs(steps, voice, encoded, pointers, dropout=True)
        inputs = torch.where((kinds == SPEECH)[..., None], speech, 0)
        inputs = torch.where((kinds == CONTROL)[..., None], self.control_tokens(markers), inputs)
        if voice is not None:
            inputs = torch.where((kinds == SPEAKER)[..., None], voice[:, None], inputs)
        if self.config.reads_text:
            text = self.backbone.get_input_embeddings()(text_ids)
            inputs = torch.where((kinds == TEXT)[..., None], text, inputs)
        if heard is not None:
            inputs = place_heard(inputs, kinds, heard)
        return self._paced(inputs)

    def _paced(self, inputs: Tensor) -> Tensor:
        """Inputs [.., D] that tell how many frames a step has, where that can be asked for."""
        return (
            inputs
            if self.step_size_embedding is None
            else inputs + self.step_size_embedding.weight[self.step_size_index]
        )

    def _speech_inputs(
        self,
        steps: Tensor,
        voice: Tensor | None,
        encoded: Tensor | None,
        pointers: Tensor | None,
        dropout: bool = False,
    ) -> Tensor:
        """Steps [B, .., K] and the text at their frames to [B, .., D].

        In training, some steps lose their codes, so that text and voice are listened to.
        """
        speech = self.embedding(steps)
        if dropout and self.training and self.config.step_dropout > 0:
            kept = torch.rand(steps.shape[:-1], device=steps.device) >= self.config.step_dropout
            speech = speech * kept[..., None]
        if encoded is not None:
            speech = speech + self.track.read(encoded, pointers)
        if voice is not None and self.config.speaker_every_step:
            speech = speech + voice.view(len(voice), *[1] * (speech.dim() - 2), -1)
        return speech

    def _run(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """The backbone over whole sequences. Right padding needs no mask: attention is causal."""
        mask = None if bool(attention_mask[:, 0].all()) else attention_mask
        return self.backbone.base_model(
            inputs_embeds=inputs, attention_mask=mask, use_cache=False
        ).last_hidden_state

    # -- decoding ------------------------------------------------------------------------------

    def prefill(self, batch: dict[str, Tensor]) -> tuple[Tensor, DecodeState]:
        """Read a left-padded batch of prompts: hidden [B, D] of its last position, and a state."""
        _, hidden, state = self.read(batch)
        return hidden[:, -1], state

    def read(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, DecodeState]:
        """As `prefill`, with the inputs and hidden states of all positions, [B, L, D] each."""
        inputs, voice, encoded = self.prompt_inputs(batch)
        runner = self.runner or TransformersRunner(self.backbone)
        hidden, cache = runner.prefill(inputs, batch["attention_mask"])
        state = DecodeState(cache, steps=torch.zeros_like(cache.lengths))
        if self.config.speaker_every_step:
            state.speaker = voice
        if self.track is not None:
            state.encoded_text, state.character_lengths = encoded, batch["character_lengths"]
            state.pointers = torch.zeros_like(state.steps)
            state.pointer_history = state.pointers[:, None]
        return inputs, hidden, state

    def prompt_inputs(
        self, batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """A batch of prompts as inputs [B, L, D], the voices [B, D] and the text [B, U, D]."""
        voice = self._voice(batch["speaker"], batch["has_speaker"])
        encoded = heard = None
        if self.track is not None:
            encoded = self.track.encode_rows(batch["characters"], batch["character_lengths"])
        if "heard" in batch:
            heard = self.audio_encoder.rows(batch["heard"], batch["heard_lengths"])
        parts = (batch[key] for key in ("kinds", "text_ids", "steps", "markers"))
        inputs = self._inputs(*parts, voice, encoded, batch.get("pointers"), heard)
        return inputs, voice, encoded

    def step(self, state: DecodeState, tokens: Tensor) -> tuple[Tensor, DecodeState]:
        """Take in a step of tokens [B, K]: hidden [B, D], which predicts the next, and a state."""
        inputs = self.embed_step(state, tokens)
        runner = self.runner or TransformersRunner(self.backbone)
        return runner.step(inputs, state.cache), state

    def steps(self, state: DecodeState, inputs: Tensor, sees: Tensor | None = None) -> Tensor:
        """Run the backbone over entered steps, [B, n, D] to hidden [B, n, D]; see Runner.steps."""
        runner = self.runner or TransformersRunner(self.backbone)
        return runner.steps(inputs, state.cache, sees)

    def embed_step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Move on by a step of tokens [B, K]: the input [B, D] of the backbone, still to be run."""
        pointers = None
        if self.track is not None:
            moves = self.layout.advances(tokens)  # [B, G]
            last = (state.character_lengths - 1)[:, None]
            pointers = torch.minimum(state.pointers[:, None] + moves.cumsum(1), last)  # [B, G]
            state.advance_pointers(pointers[:, -1])
        inputs = self._speech_inputs(tokens, state.speaker, state.encoded_text, pointers)
        state.steps = state.steps + 1
        return self._paced(inputs)


def rename_former_weights(model: nn.Module, weights: dict[str, Tensor], *_: Any) -> None:
    """Rename the entries of a state dict in place by FORMER_WEIGHTS, as for `from_pretrained`."""
    for name in list(weights):
        new = name
        for pattern, replacement in FORMER_WEIGHTS.items():
            new = re.sub(pattern, replacement, new)
        if new != name:
            weights[new] = weights.pop(name)


def load_text_tokenizer(folder: Path | str) -> Any:
    """The tokenizer of a pretrained backbone's text. Raises InputError if it is not whole."""
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # as in `SpeechLM.load`
        raise InputError(
            f"model '{folder}': its text tokenizer cannot be loaded ({reason(error)}); "
            "copy it again",
            code="damaged",
        ) from error
