"""The parts of a speech LM, and how they decode, apart from what training needs.

Letters: B rows, L positions, n steps, K slots, G frames per step, U characters, D width.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from vocalmtp.config import parse
from vocalmtp.engines.linears import LinearFactory
from vocalmtp.errors import InputError
from vocalmtp.heads import build_draft, build_head
from vocalmtp.models.audio_encoder import AudioEncoder, place_audio
from vocalmtp.models.base import DecodableLM
from vocalmtp.models.batch import Batch, Collator, PositionKind
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.elastic import check_draft, view_at_step_size
from vocalmtp.models.embeddings import (
    SlotEmbedding,
    SpeakerProjection,
    SpeakerProjectionConfig,
    TextEmbedding,
    TextEmbeddingConfig,
)
from vocalmtp.models.objectives import build_objectives
from vocalmtp.models.prompts import CONTROL_TOKENS, Segment, longest_speech, steps_of_text
from vocalmtp.models.state import DecodeState
from vocalmtp.models.step_encoder import StepEncoder, StepEncoderConfig
from vocalmtp.models.text_track import TextTrack, read_at

if TYPE_CHECKING:
    from vocalmtp.models.trunk import Trunk


@dataclass(frozen=True)
class EmbeddedBatch:
    """The inputs of the backbone for a batch, and the parts that decoding goes on to use."""

    inputs: Tensor  # [B, L, D]
    speaker: Tensor | None  # [B, D] projected speaker vectors
    text: Tensor | None  # [B, U, D] encoded text of the track


class SpeechDecoding(DecodableLM):
    """Backbone, slot embedding, control tokens and head.

    By configuration also a trunk, a speaker projection, a text track, an audio encoder, a draft head,
    objectives and several step sizes. A base of classes of modules, which set `backbone`.
    """

    config: SpeechLMConfig
    objectives: nn.ModuleDict
    training: bool
    device: torch.device
    _modules: dict[str, nn.Module | None]

    def build_parts(self, config: SpeechLMConfig) -> None:
        """Build all modules but the backbone, which is there."""
        self.layout = config.layout
        width = self.width
        self._build_inputs(config)
        if not config.backbone_norm:
            self.remove_backbone_norm()
        self.head = build_head(config.head, self.layout, width, config.stream_weights)
        if self.layout.all_end and self.head.in_order:
            raise InputError(
                f"end_slots 'all': head '{config.head['name']}' predicts slots in order, and the end "
                "first; give 'parallel' or leave it out",
                code="conflict",
            )
        self.draft = None
        if config.draft:
            self.add_draft(config.draft)
        self.objectives = build_objectives(config.objectives, self.layout, width)
        self.speaker_projection: SpeakerProjection | None = None
        if config.speaker_dim and not config.speaker_embedded:
            self.speaker_projection = SpeakerProjection(
                config.speaker_dim,
                width,
                config.speaker_dropout,
                parse(SpeakerProjectionConfig, config.speaker_projection, "speaker_projection"),
            )
        self.track: TextTrack | None = None
        if config.has_text_track:
            frames = self.layout.frames_per_step
            phones = len(config.phones.split())
            self.track = TextTrack(config.track_config, len(config.alphabet), width, frames, phones)
        self.audio_encoder: AudioEncoder | None = None
        if config.audio_input:
            self.add_audio_input(config.audio_input)
        _ = config.interleave_config  # checks it
        self.smaller_steps = nn.ModuleDict()  # modules of an elastic model's other step sizes
        self.step_size_index = len(config.step_sizes) - 1
        self.step_size_embedding: nn.Embedding | None = None
        if self.step_size_index:
            self.step_size_embedding = nn.Embedding(len(config.step_sizes), width)

    def _build_inputs(self, config: SpeechLMConfig) -> None:
        """Build what makes the backbone's inputs of steps, control tokens and text."""
        width = self.width
        self.trunk: Trunk | None = None
        if config.trunk:
            from vocalmtp.models import trunk  # imports Transformers

            trunk.check_wiring(config.text, bool(config.audio_input))
            self.trunk = trunk.build_trunk(config.trunk, config.trunk_layers, width)
        self.embedding: SlotEmbedding | StepEncoder
        if config.step_encoder:
            settings = parse(StepEncoderConfig, config.step_encoder, "step_encoder")
            if len(config.layouts) > 1:
                raise InputError(
                    "step_encoder: an elastic model has none; give one frames_per_step",
                    code="conflict",
                )
            self.embedding = StepEncoder(settings, self.layout, width)
        else:
            self.embedding = SlotEmbedding(
                self.layout, width, config.layouts, config.step_embedding
            )
        self.control_tokens = nn.Embedding(max(1, len(config.control_tokens)), width)
        self.text_embedding: TextEmbedding | None = None
        if config.text_embedding:
            text = parse(TextEmbeddingConfig, config.text_embedding, "text_embedding")
            self.text_embedding = TextEmbedding(text, width)

    @property
    def width(self) -> int:
        """D, the size of the backbone's hidden states."""
        size: int = self.backbone.config.hidden_size
        return size

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """The numbers of frames that a step may have (elastic.py)."""
        return self.config.step_sizes

    def at_step_size(self, frames: int) -> Self:
        """Return a view of the model with steps of `frames` frames; all weights are shared.

        Raises:
            InputError: the model was not trained for this step size.

        """
        return view_at_step_size(self, frames)

    def take_backbone(self, backbone: Any) -> None:
        """Replace the backbone by one of the same width."""
        self.backbone = backbone
        if not self.config.backbone_norm:
            self.remove_backbone_norm()

    def remove_backbone_norm(self) -> None:
        """Leave out the backbone's last norm.

        Raises:
            InputError: it has none of that name, or writes text from the normed states.

        """
        if self.config.writes_text:
            raise InputError(
                "backbone_norm 'false': text is written from normed states; leave it out, or "
                "audio_input and the learned part of the template",
                code="conflict",
            )
        if not isinstance(getattr(self.backbone.base_model, "norm", None), nn.Module):
            raise InputError(
                "backbone_norm 'false': this kind of backbone is not supported; take a llama or qwen2",
                code="unsupported",
            )
        self.backbone.base_model.norm = nn.Identity()

    def add_draft(self, settings: dict[str, Any]) -> None:
        """Add a new draft head; heads of its states start as copies of the model's.

        Raises:
            InputError: the settings are invalid, or do not fit an elastic model.

        """
        self.draft = build_draft(settings, self.width, lambda: deepcopy(self.head))
        self.config.draft = dict(settings)
        check_draft(self.draft, self.step_sizes)

    def add_audio_input(self, settings: dict[str, Any]) -> None:
        """Add an audio encoder and the control tokens of dialogue, or replace the audio encoder.

        A new encoder starts with the weights of the previous one that fit.

        Raises:
            InputError: the settings are invalid, or do not fit the model.

        """
        if self.trunk is not None:
            from vocalmtp.models.trunk import check_wiring

            check_wiring(self.config.text, audio_input=True)
        self.config.audio_input = dict(settings)
        config, previous = self.config.audio_input_config, self.audio_encoder
        vocabulary = self.backbone.config.vocab_size
        if config.end_id >= vocabulary:
            raise InputError(
                f"backbone.vocab_size '{vocabulary}': a model with audio input writes text, whose "
                f"end token has the id {config.end_id}; give {config.end_id + 1} or more",
                code="out_of_range",
            )
        alphabet = len(self.config.alphabet)
        self.audio_encoder = AudioEncoder(config, self.config.codec_streams, alphabet, self.width)
        if previous is not None:
            self.audio_encoder.load_fitting(previous)
            return
        control_tokens = nn.Embedding(len(CONTROL_TOKENS), self.width)
        with torch.no_grad():
            control_tokens.weight[:1] = self.control_tokens.weight[:1]
        self.control_tokens = control_tokens

    def collator(self) -> Collator:
        """Return what turns prompts into batches for this model."""
        config = self.config
        return Collator(
            self.layout,
            config.speaker_dim,
            config.audio_frames_per_position,
            config.control_tokens or CONTROL_TOKENS,
            config.step_text,
            config.interleave_config,
        )

    def embed(self, batch: Batch, row_by_row: bool = False) -> EmbeddedBatch:
        """Compute the backbone's inputs for a batch.

        Args:
            batch: padded on either side.
            row_by_row: encode text and audio row by row, so that rounding does not depend on the
                other rows of the batch: a prompt gives the same result in any batch.

        """
        speaker = text = None
        if self.speaker_projection is not None:
            assert batch.speaker is not None and batch.has_speaker is not None
            speaker = self.speaker_projection(batch.speaker, batch.has_speaker)  # [B, D]
        elif batch.speaker is not None:
            speaker = batch.speaker.to(self.control_tokens.weight.dtype)
        if self.track is not None:
            assert batch.characters is not None and batch.character_lengths is not None
            encode_text = self.track.encode_rows if row_by_row else self.track.encode
            text = encode_text(batch.characters, batch.character_lengths)  # [B, U, D]
        elif self.config.step_text:
            assert batch.characters is not None and batch.character_lengths is not None
            place = torch.arange(batch.characters.shape[1], device=batch.characters.device)
            inside = (place < batch.character_lengths[:, None]) & (batch.characters >= 0)
            text = self._embed_text(batch.characters, inside, row_by_row)  # [B, U, D]
            text = torch.where(inside[..., None], text, 0)
        steps = self._embed_speech(batch.steps, speaker, text, batch.pointers, dropout=True)
        kinds = batch.kinds[..., None]  # [B, L, 1]
        inputs = torch.where(kinds == PositionKind.SPEECH, steps, 0)
        is_control = batch.kinds == PositionKind.CONTROL
        control = self.control_tokens(torch.where(is_control, batch.ids, 0))
        inputs = torch.where(is_control[..., None], control, inputs)
        if speaker is not None:
            inputs = torch.where(kinds == PositionKind.SPEAKER, speaker[:, None], inputs)
        if self.config.uses_text_tokens:
            is_text, ids = batch.kinds == PositionKind.TEXT, batch.ids
            if batch.added_text is not None:
                ids = torch.where(is_text, ids, batch.added_text)
                is_text = is_text | (batch.added_text >= 0)
            tokens = self._embed_text(ids, is_text, row_by_row, batch.context_rows())
            inputs = torch.where(is_text[..., None], inputs + tokens, inputs)
        if batch.audio is not None:
            assert self.audio_encoder is not None and batch.audio_lengths is not None
            encoder = self.audio_encoder
            encode = encoder.encode_rows if row_by_row else encoder.forward
            inputs = place_audio(inputs, batch.kinds, encode(batch.audio, batch.audio_lengths))
        return EmbeddedBatch(self.with_step_size(inputs), speaker, text)

    def _embed_text(
        self,
        ids: Tensor,
        is_text: Tensor,
        row_by_row: bool,
        context: list[Tensor] | None = None,
    ) -> Tensor:
        """Embed ids [B, L] where `is_text` [B, L]: [B, L, D], of any value elsewhere.

        A trunk reads the `context` [C] of each row before them.
        """
        embedded: Tensor
        if self.text_embedding is not None:
            embedded = self.text_embedding(ids, is_text, row_by_row)
        elif self.trunk is not None:
            embedded = self.trunk(ids, is_text, row_by_row, context)
        else:
            embedded = self.backbone.get_input_embeddings()(torch.where(is_text, ids, 0))
        return embedded

    def with_step_size(self, inputs: Tensor) -> Tensor:
        """Add the embedding of the step size to inputs [.., D], in an elastic model."""
        if self.step_size_embedding is None:
            return inputs
        return inputs + self.step_size_embedding.weight[self.step_size_index]

    def _embed_speech(
        self,
        steps: Tensor,
        speaker: Tensor | None,
        text: Tensor | None,
        pointers: Tensor | None,
        dropout: bool = False,
    ) -> Tensor:
        """Embed steps [B, .., K] with the text at their `pointers` [B, .., G]: [B, .., D].

        In training, `dropout` removes the codes of some steps, so that text and speaker matter.
        """
        speech: Tensor = self.embedding(steps)
        if dropout and self.training and self.config.step_dropout > 0:
            kept = torch.rand(steps.shape[:-1], device=steps.device) >= self.config.step_dropout
            speech = speech * kept[..., None]
        if text is not None and pointers is not None:
            read = (
                read_at(text, pointers)[..., 0, :]
                if self.track is None
                else self.track.read(text, pointers)
            )
            speech = speech + read
        if speaker is not None and self.config.speaker_every_step:
            speech = speech + speaker.view(len(speaker), *[1] * (speech.dim() - 2), -1)
        return speech

    # -- decoding ------------------------------------------------------------------------------

    def prefill(self, batch: Batch) -> tuple[Tensor, Tensor, DecodeState]:
        """Run a left-padded batch of prompts.

        Returns:
            The backbone's inputs and hidden states of all positions, [B, L, D] each, and a state.

        """
        batch = batch.to(self.device)
        embedded = self.embed(batch, row_by_row=True)
        hidden, cache = self.decoder.prefill(embedded.inputs, batch.attention_mask)
        given = batch.given_steps
        state = DecodeState.start(
            cache, torch.zeros_like(cache.lengths) if given is None else given
        )
        if self.config.speaker_every_step:
            state.speaker = embedded.speaker
        if embedded.text is not None and batch.character_lengths is not None:
            state.start_text(embedded.text, batch.character_lengths, tracked=self.track is not None)
        if self.layout.has_text_steps and batch.characters is not None:
            state.text_alone = batch.characters >= 0
        return embedded.inputs, hidden, state

    def embed_step(self, state: DecodeState, tokens: Tensor) -> Tensor:
        """Count a step of tokens [B, K] in `state`: the backbone's input [B, D] for it."""
        pointers = state.move_pointers(self.layout, tokens)  # [B, G]
        inputs = self._embed_speech(tokens, state.speaker, state.encoded_text, pointers)
        state.steps = state.steps + 1
        return self.with_step_size(inputs)

    def step_limit(self, segments: Sequence[Segment]) -> int:
        """Steps after which speech is cut off, see `longest_speech`."""
        frame_rate = self.config.tokenizer.get("frame_rate", 25.0)
        seconds = longest_speech(segments, tracked=self.track is not None)
        steps = self.layout.num_steps(int(seconds * frame_rate))
        if self.layout.has_text_steps:
            steps += steps_of_text(segments)
        return steps

    def _optimize_parts(self, convert: LinearFactory) -> None:
        super()._optimize_parts(convert)
        for frames in self.step_sizes[:-1]:
            self.at_step_size(frames).head.optimize_for_inference(convert)
        if self.track is not None:
            self.track.optimize_for_inference(convert)
