"""Everything that defines a speech LM, as a Transformers configuration (config.json)."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from vocalmtp.config import parse, rename_former_keys
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import FORMAT, check_format, read_object, reason
from vocalmtp.models.audio_encoder import MEL_RATE, AudioInputConfig
from vocalmtp.models.embeddings import StepEmbedding
from vocalmtp.models.interleaving import InterleaveConfig
from vocalmtp.models.layout import EndSlots, TokenLayout
from vocalmtp.models.prompts import LEARNED, TextMode, check_template
from vocalmtp.models.streams import ADVANCE, Stream
from vocalmtp.models.text_track import TrackConfig

# What Transformers and its Trainer add to the keys of a configuration.
ADDED_KEYS = {
    "architectures",
    "dtype",
    "model_type",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


class SpeechLMConfig(PretrainedConfig):
    """Configuration of a SpeechLM. Its parts are plain dicts, which their own classes check.

    Args:
        backbone: configuration of a causal LM of Transformers, with its `model_type`.
        trunk: configuration of a frozen text LM, whose hidden states the backbone reads at the
            positions of text (trunk.py); empty for a backbone that reads text itself.
        trunk_layers: settings of decoder layers between the two (TrunkLayersConfig), of published
            models; empty for a projection.
        streams: the codec's streams (`name`, `size`, `delay`, `levels`); a text track adds its own.
        frames_per_step: codec frames in a step; a list makes an elastic model (elastic.py).
        flat: whether a step is one token (next-token prediction).
        flat_order: the streams in the order of a flat layout; empty: as they are listed.
        end_slots: which slots of a step learn the end, see TokenLayout.
        step_embedding: how the embeddings of a step's slots are joined, see StepEmbedding.
        step_encoder: settings of a transformer over the frames of a step (StepEncoderConfig), by which
            they are joined; empty: by `step_embedding`.
        text: where the text is: "prompt", "track" or "both".
        text_embedding: settings of an own embedding of text (TextEmbedding); empty for that of the
            backbone.
        step_text: whether the embedding of a text token is added to every step's input.
        control_tokens: names of the control tokens; empty for prompts.CONTROL_TOKENS.
        prompt_format: the family of published models whose prompts it reads (published/); empty for
            the prompts of `prompts.tts_prompt`.
        prompt_settings: what that family has to know of the model to write its prompts.
        template: how the text of a prompt is framed (prompts.opening); empty: not at all.
        backbone_norm: whether the backbone's last norm is applied; without it, heads have norms of
            their own (heads/normed.py).
        head: settings of the head, with its `name`.
        draft: settings of the draft head, with its `name`; empty for none.
        objectives: settings of auxiliary losses by name.
        track: settings of the text track (TrackConfig).
        audio_input: settings of the audio encoder (AudioInputConfig); empty for none.
        interleave: how the text and the speech of answers alternate (InterleaveConfig); empty: the text
            comes first.
        alphabet: the characters of the text track, in the order of their ids.
        phones: the phones that the characters of the text track have, in the order of their ids,
            separated by spaces; empty for letters alone.
        tokenizer: the speech tokenizer: `name`, `hash` and `frame_rate`.
        speaker_dim: size of speaker vectors; 0 for none.
        speaker_projection: settings of the projection of speaker vectors (SpeakerProjectionConfig).
        speaker_embedded: whether speaker vectors are embeddings, which are not projected.
        speaker_every_step: whether the speaker vector is also added to every step's input.
        speaker_dropout: share of training prompts without their speaker vector.
        step_dropout: share of training steps without their codes, so that text and voice matter.
        loss_weights: weights of streams in the loss, by name.
        text_loss_weight: weight of the loss of supervised text.
        text_version: text.VERSION at export; 0 if it was not noted.
        format: version of the file format.
        **kwargs: keys that Transformers adds.

    """

    model_type = "vocalmtp"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        trunk: dict[str, Any] | None = None,
        trunk_layers: dict[str, Any] | None = None,
        streams: list[dict[str, Any]] | None = None,
        frames_per_step: int | Sequence[int] = 1,
        flat: bool = False,
        flat_order: Sequence[int] = (),
        end_slots: EndSlots = "first",
        step_embedding: StepEmbedding = "normalized",
        step_encoder: dict[str, Any] | None = None,
        text: TextMode = "track",
        text_embedding: dict[str, Any] | None = None,
        step_text: bool = False,
        control_tokens: Sequence[str] = (),
        prompt_format: str = "",
        prompt_settings: dict[str, Any] | None = None,
        template: str = "",
        backbone_norm: bool = True,
        head: dict[str, Any] | None = None,
        draft: dict[str, Any] | None = None,
        objectives: dict[str, Any] | None = None,
        track: dict[str, Any] | None = None,
        audio_input: dict[str, Any] | None = None,
        interleave: dict[str, Any] | None = None,
        alphabet: str = "",
        phones: str = "",
        tokenizer: dict[str, Any] | None = None,
        speaker_dim: int = 0,
        speaker_projection: dict[str, Any] | None = None,
        speaker_embedded: bool = False,
        speaker_every_step: bool = False,
        speaker_dropout: float = 0.1,
        step_dropout: float = 0.1,
        loss_weights: dict[str, float] | None = None,
        text_loss_weight: float = 1.0,
        text_version: int = 0,
        format: int = FORMAT,
        **kwargs: Any,
    ):
        self.format = format
        self.backbone = dict(backbone or {})
        self.trunk = dict(trunk or {})
        self.trunk_layers = dict(trunk_layers or {})
        self.streams = [dict(stream) for stream in streams or []]
        self.frames_per_step = (
            frames_per_step if isinstance(frames_per_step, int) else list(frames_per_step)
        )
        self.flat = flat
        self.flat_order = list(flat_order)
        self.end_slots = end_slots
        self.step_embedding = step_embedding
        self.step_encoder = dict(step_encoder or {})
        self.text = text
        self.text_embedding = dict(text_embedding or {})
        self.step_text = step_text
        self.control_tokens = list(control_tokens)
        self.prompt_format = prompt_format
        self.prompt_settings = dict(prompt_settings or {})
        self.template = template
        self.backbone_norm = backbone_norm
        self.head = dict(head or {"name": "parallel"})
        self.draft = dict(draft or {})
        self.objectives = dict(objectives or {})
        self.track = dict(track or {})
        self.audio_input = dict(audio_input or {})
        self.interleave = dict(interleave or {})
        self.alphabet = alphabet
        self.phones = phones
        self.tokenizer = dict(tokenizer or {})
        self.speaker_dim = speaker_dim
        self.speaker_projection = dict(speaker_projection or {})
        self.speaker_embedded = speaker_embedded
        self.speaker_every_step = speaker_every_step
        self.speaker_dropout = speaker_dropout
        self.step_dropout = step_dropout
        self.loss_weights = dict(loss_weights or {})
        self.text_loss_weight = text_loss_weight
        self.text_version = text_version
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a configuration from a dict, whose keys may have former names."""
        known = inspect.signature(cls).parameters
        return super().from_dict(rename_former_keys(config_dict, known), **kwargs)

    @classmethod
    def load(cls, folder: Path | str) -> "SpeechLMConfig":
        """Read a model's config.json.

        Raises:
            InputError: it is missing, damaged, of a later version, or of another kind of model.

        """
        what = f"model '{folder}'"
        data = check_format(read_object(Path(folder) / "config.json", what), what)
        data = rename_former_keys(data, inspect.signature(cls).parameters)
        if data.get("model_type") != cls.model_type:
            raise InputError(
                f"{what}: its model_type is {data.get('model_type')!r}, not '{cls.model_type}'; "
                "give a folder that 'vocalmtp export' wrote",
                code="invalid_value",
            )
        own = set(inspect.signature(cls).parameters) - {"kwargs"}
        for key in sorted(data.keys() - own - PretrainedConfig().to_dict().keys() - ADDED_KEYS):
            raise InputError(
                f"{what}: config.json has an unknown key '{key}'; remove it, or, if a later "
                "version wrote it, run: pip install --upgrade vocalmtp",
                code="version_too_new",
            )
        try:
            config = cls.from_dict(data)
            _ = config.layouts, config.track_config  # these check the parts
            check_template(config.template, config.text)
            _ = config.audio_input and config.audio_input_config, config.interleave_config
        except InputError as error:
            raise InputError(f"{what}: config.json: {error}", code=error.code) from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(
                f"{what}: config.json is damaged ({reason(error)}); copy or export it again",
                code="damaged",
            ) from error
        return config

    @property
    def has_text_track(self) -> bool:
        """Whether the text runs along the speech."""
        return self.text != "prompt"

    @property
    def track_config(self) -> TrackConfig:
        """The checked settings of the text track. Raises InputError if they are invalid."""
        return parse(TrackConfig, self.track, "track")

    @property
    def uses_text_tokens(self) -> bool:
        """Whether prompts have tokens of the backbone's own vocabulary."""
        return self.text != "track" or bool(self.audio_input)

    @property
    def writes_text(self) -> bool:
        """Whether the backbone's output layer predicts text, in training at least."""
        return bool(self.audio_input) or LEARNED in self.template

    @property
    def audio_input_config(self) -> AudioInputConfig:
        """The checked settings of the audio input. Raises InputError if they are invalid."""
        config = parse(AudioInputConfig, self.audio_input, "audio_input")
        names = [stream["name"] for stream in self.streams]
        for name in config.streams:
            if name not in names:
                raise InputError(
                    f"audio_input.streams '{name}': no such stream; {nearest(name, names)}",
                    code="unknown_name",
                )
        return config

    @property
    def interleave_config(self) -> InterleaveConfig | None:
        """The checked settings of interleaved answers; None: the text comes first.

        Raises:
            InputError: they are invalid, or do not fit the model.

        """
        if not self.interleave:
            return None
        config = parse(InterleaveConfig, self.interleave, "interleave")
        if not self.audio_input:
            raise InputError(
                "interleave: needs a model that answers; set audio_input as well", code="missing"
            )
        if self.text != "prompt":
            raise InputError(
                f"interleave: the text track of text: {self.text} needs the whole answer before its "
                "speech; give text: prompt",
                code="conflict",
            )
        for key in ("draft", "step_text", "template"):
            if getattr(self, key):
                raise InputError(
                    f"interleave: a model with {key} has none; leave one out", code="conflict"
                )
        if len(self.step_sizes) > 1:
            raise InputError(
                "interleave: an elastic model has none; give one frames_per_step", code="conflict"
            )
        return config

    @property
    def audio_frames_per_position(self) -> int:
        """Frames of audio input in one position; 0 for a model without audio input."""
        return self.audio_input_config.frames_per_position if self.audio_input else 0

    @property
    def audio_frame_rate(self) -> float:
        """Frames of audio input per second."""
        mels = self.audio_input_config.source == "mels"
        return MEL_RATE if mels else self.tokenizer["frame_rate"]

    @property
    def codec_streams(self) -> list[Stream]:
        """The codec's own streams, without delays."""
        return [
            Stream(name=s["name"], size=s["size"], levels=tuple(s.get("levels", ())))
            for s in self.streams
        ]

    @property
    def stream_weights(self) -> dict[str, float]:
        """Weights of the streams in the loss, see `heads.base.token_weights`."""
        own = {ADVANCE: self.track_config.loss_weight} if self.has_text_track else {}
        return own | self.loss_weights

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """The numbers of frames that a step may have, ascending.

        Raises:
            InputError: they are not distinct positive numbers.

        """
        if isinstance(self.frames_per_step, int):
            return (self.frames_per_step,)
        frames = self.frames_per_step
        positive = all(isinstance(each, int) and each >= 1 for each in frames)
        if not frames or not positive or len(set(frames)) < len(frames):
            raise InputError(
                f"frames_per_step '{frames}': must be a number, or a list of different ones from 1",
                code="out_of_range",
            )
        return tuple(sorted(frames))

    @property
    def layout(self) -> TokenLayout:
        """The token layout; for an elastic model that of its largest step size."""
        return self.layout_for(self.step_sizes[-1])

    @property
    def layouts(self) -> tuple[TokenLayout, ...]:
        """The token layouts of all step sizes, ascending."""
        return tuple(self.layout_for(frames) for frames in self.step_sizes)

    def layout_for(self, frames: int) -> TokenLayout:
        """Return the token layout of steps of `frames` frames.

        With a text track, its advances lead and the codec's streams follow one step later.
        """
        streams = [
            Stream(
                name=s["name"],
                size=s["size"],
                delay=s.get("delay", 0) + self.has_text_track,
                levels=tuple(s.get("levels", ())),
            )
            for s in self.streams
        ]
        if self.has_text_track:
            streams.insert(0, self.track_config.stream)
        return TokenLayout(
            streams=tuple(streams),
            frames_per_step=frames,
            flat=self.flat,
            flat_order=tuple(self.flat_order),
            end_slots=self.end_slots,
        )

    def step_size_of(self, tokens: int) -> int:
        """Return the frames of a step of `tokens` codec tokens.

        Raises:
            InputError: the model was not trained for steps of so many tokens.

        """
        counts = {layout.codec_tokens: layout.frames_per_step for layout in self.layouts}
        if tokens not in counts:
            raise InputError(
                f"tokens_per_step '{tokens}': the model was not trained for it; "
                f"give {' or '.join(map(str, counts))}",
                code="unsupported",
            )
        return counts[tokens]
