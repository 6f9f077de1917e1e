"""Everything that defines a speech LM, as a Transformers configuration (config.json)."""

import inspect
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from transformers import PretrainedConfig

from vocalmtp.config import StrictModel, parse, rename_former_keys
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import FORMAT, check_format, read_object, read_shapes, reason
from vocalmtp.models.audio_encoder import MEL_RATE, AudioInputConfig
from vocalmtp.models.layout import ADVANCE, Stream, TokenLayout
from vocalmtp.models.text_track import TrackConfig

# What Transformers and its Trainer add to the keys of a configuration.
ADDED = {"architectures", "dtype", "model_type", "torch_dtype", "transformers_version", "use_cache"}
# Former names of parameters (regular expressions), which older saved models still use.
FORMER_WEIGHTS = {
    r"^hearing\.letters\.": "audio_encoder.character_output.",
    r"^hearing\.": "audio_encoder.",
    r"^markers\.": "control_tokens.",
    r"^step_size_embedding\.": "step_size_embedding.",
    r"^smaller\.": "smaller_steps.",
    r"^speaker\.nobody": "speaker_projection.no_speaker",
    r"^speaker\.": "speaker_projection.",
    r"\.order\.": ".frame_proj.",
}


class SpeechLMConfig(PretrainedConfig):
    """Configuration of a SpeechLM; nested parts are plain dicts, so that it is readable JSON.

    `frames_per_step` is one number, or a list of those that an elastic model (model/elastic.py) can
    be asked for. `backbone` is the configuration of any Hugging Face causal LM (with its
    `model_type`). `streams` are the codec's streams (name, size, levels); a text track adds its
    own. `draft` describes a draft head, empty for none; `objectives` are auxiliary losses by name;
    `listen` is how it hears and writes (model/hearing.py), empty for a model that only speaks.
    `tokenizer` names the speech tokenizer: name, hash, frame_rate. `text_version` is the
    text.VERSION that the model was exported with, 0 if that was not noted.
    """

    model_type = "vocalmtp"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        streams: list[dict[str, Any]] | None = None,
        frames_per_step: int | Sequence[int] = 1,
        flat: bool = False,
        text: str = "track",
        head: dict[str, Any] | None = None,
        draft: dict[str, Any] | None = None,
        objectives: dict[str, Any] | None = None,
        track: dict[str, Any] | None = None,
        audio_input: dict[str, Any] | None = None,
        alphabet: str = "",
        tokenizer: dict[str, Any] | None = None,
        speaker_dim: int = 0,
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
        self.streams = [dict(stream) for stream in streams or []]
        many = not isinstance(frames_per_step, int)
        self.frames_per_step = list(frames_per_step) if many else frames_per_step
        self.flat = flat
        self.text = text
        self.head = dict(head or {"name": "parallel"})
        self.draft = dict(draft or {})
        self.objectives = dict(objectives or {})
        self.track = dict(track or {})
        self.audio_input = dict(audio_input or {})
        self.alphabet = alphabet
        self.tokenizer = dict(tokenizer or {})
        self.speaker_dim = speaker_dim
        self.speaker_every_step = speaker_every_step
        self.speaker_dropout = speaker_dropout
        self.step_dropout = step_dropout
        self.loss_weights = dict(loss_weights or {})
        self.text_loss_weight = text_loss_weight
        self.text_version = text_version
        super().__init__(**kwargs)

    @classmethod
    def load(cls, folder: Path | str) -> "SpeechLMConfig":
        """Read a model's config.json.

        Raises InputError if it is missing, damaged, of a later version, or of another kind.
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
        for key in sorted(data.keys() - own - PretrainedConfig().to_dict().keys() - ADDED):
            raise InputError(
                f"{what}: config.json has an unknown key '{key}'; remove it, or, if a later "
                "version wrote it, run: pip install --upgrade vocalmtp",
                code="version_too_new",
            )
        try:
            config = cls.from_dict(data)
            _ = config.layouts, config.track_config  # which check their parts
            _ = config.audio_input and config.audio_input_config
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
        return parse(TrackConfig, self.track, "track")

    @property
    def reads_text(self) -> bool:
        """Whether the backbone reads text of its own vocabulary."""
        return self.text != "track" or bool(self.audio_input)

    @property
    def audio_input_config(self) -> AudioInputConfig:
        """How it listens. Raises InputError if that cannot be."""
        config = parse(AudioInputConfig, self.audio_input, "audio_input")
        names = [stream["name"] for stream in self.streams]
        for name in config.streams:
            if name not in names:
                raise InputError(
                    f"audio_input.streams '{name}': no such stream; {nearest(name, names)}",
                    code="not_found",
                )
        return config

    @property
    def audio_frames_per_position(self) -> int:
        """Frames of a heard position; 0 for a model that does not listen."""
        return self.audio_input_config.frames_per_position if self.audio_input else 0

    @property
    def audio_frame_rate(self) -> float:
        """Frames a second of what a model that listens hears."""
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
        """Weights of the streams in the loss, see heads/base.py."""
        own = {ADVANCE: self.track_config.loss_weight} if self.has_text_track else {}
        return own | self.loss_weights

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """The frames that a step may have, ascending. Raises InputError if they cannot be."""
        if isinstance(self.frames_per_step, int):
            return (self.frames_per_step,)
        frames = self.frames_per_step
        whole = all(isinstance(each, int) and each >= 1 for each in frames)
        if not frames or not whole or len(set(frames)) < len(frames):
            raise InputError(
                f"frames_per_step '{frames}': must be a number, or a list of different ones from 1",
                code="out_of_range",
            )
        return tuple(sorted(frames))

    @property
    def layout(self) -> TokenLayout:
        """The token layout, of an elastic model that of its longest steps."""
        return self.layout_for(self.step_sizes[-1])

    @property
    def layouts(self) -> tuple[TokenLayout, ...]:
        """The layouts of all groupings."""
        return tuple(self.layout_for(frames) for frames in self.step_sizes)

    def layout_for(self, frames: int) -> TokenLayout:
        """The token layout of steps of so many frames; with a track, advances lead and the codec
        follows a step later.
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
        return TokenLayout(streams=tuple(streams), frames_per_step=frames, flat=self.flat)


def check_sizes(config: SpeechLMConfig, folder: Path, what: str) -> None:
    """Raise InputError if the weights are not there, or far too few for the numbers in `config`.

    A damaged digit must not make a model of a billion layers.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InputError(
            f"{what}: model.safetensors is missing; copy or export it again", code="missing"
        )
    shapes = [shape for file in files for shape in read_shapes(file, what).values()]
    longest = max((length for shape in shapes for length in shape), default=0)
    most = {"layer": len(shapes)} | dict.fromkeys(("size", "width", "kernel", "dim"), longest)
    own = {"speaker_dim": config.speaker_dim}
    for key, value in chain(
        *(
            d.items()
            for d in (
                config.backbone,
                config.track,
                config.head,
                config.draft,
                config.audio_input,
                own,
            )
        )
    ):
        limit = next((most[word] for word in most if word in key), None)
        if limit is not None and isinstance(value, int) and value > limit:
            raise InputError(
                f"{what}: config.json has {key} {value}, for which there are too few weights; "
                "copy or export both again",
                code="invalid_value",
            )


class RecommendedSampling(StrictModel):
    """How the model speaks unless it is asked to otherwise."""

    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    greedy: bool | None = None


class ModelCard(StrictModel):
    """The card of a model's folder."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None
    default_voice: str | None = None
    sampling: RecommendedSampling = RecommendedSampling()
    int8: bool = False


def read_card(folder: Path) -> dict[str, Any]:
    """What `card.json` says of a model (data, figures, licence, default voice, sampling); or {}.

    Raises InputError if the file is no JSON object, or what is used of it has not its form.
    """

    path = folder / "card.json"
    if not path.is_file():
        return {}
    card = read_object(path, f"card '{path}'")
    parse(ModelCard, card, f"card '{path}'")
    return card
