"""The session object of the Realtime interface, and the settings of a conversation behind it."""

from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from vocalmtp.config import parse
from vocalmtp.errors import InputError

RATE = 24_000  # Hz, of audio in both directions
WHOLE = ("turn_detection", "transcription", "noise_reduction")  # are replaced, or null for off
PATIENCE = {"low": 1.2, "medium": 0.6, "auto": 0.6, "high": 0.4}  # seconds of silence, by eagerness
MAX_TOOLS = 128
SLOWEST = 0.5
CHARS_PER_TOKEN = 4  # of English text, approximately

Modality = Literal["text", "audio"]


class AudioFormat(BaseModel):
    """The format of audio: 16-bit little-endian mono PCM."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24_000] = 24_000


class TurnDetection(BaseModel):
    """How turns of the user are found; both types use voice activity."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)
    silence_duration_ms: int = Field(default=600, ge=50, le=10_000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = None  # without effect
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"

    def silence(self) -> float:
        """Return the seconds of silence that end a turn."""
        if self.type == "semantic_vad":
            return PATIENCE[self.eagerness]
        return self.silence_duration_ms / 1000


class InputAudio(BaseModel):
    """Settings of the user's audio."""

    format: AudioFormat = Field(default_factory=AudioFormat)
    transcription: dict[str, Any] | None = None  # whether transcripts are sent; the model is ours
    noise_reduction: dict[str, Any] | None = None
    turn_detection: TurnDetection | None = Field(default_factory=TurnDetection)


def _voice_name(voice: Any) -> Any:
    return voice.get("id") if isinstance(voice, dict) else voice


class OutputAudio(BaseModel):
    """Settings of the answers' audio."""

    format: AudioFormat = Field(default_factory=AudioFormat)
    voice: Annotated[str | None, BeforeValidator(_voice_name), Field(max_length=200)] = None
    speed: float = Field(default=1.0, ge=0.25, le=1.5, allow_inf_nan=False)


class SessionAudio(BaseModel):
    """Settings of both directions."""

    input: InputAudio = Field(default_factory=InputAudio)
    output: OutputAudio = Field(default_factory=OutputAudio)


class Tool(BaseModel):
    """A function of the client that the language model may call."""

    type: Literal["function"]
    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)

    def for_chat(self) -> dict[str, Any]:
        """Return the tool in the form of chat completions."""
        function = {"name": self.name, "parameters": self.parameters}
        if self.description is not None:
            function["description"] = self.description
        return {"type": "function", "function": function}


class SessionConfig(BaseModel):
    """The settings of a session that clients may change."""

    type: Literal["realtime"] = "realtime"
    model: str = Field(default="", max_length=200)
    instructions: str = Field(default="", max_length=100_000)
    output_modalities: list[Modality] = Field(default=["audio"], min_length=1, max_length=2)
    audio: SessionAudio = Field(default_factory=SessionAudio)
    tools: list[Tool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: Any = "auto"
    max_output_tokens: Annotated[int, Field(ge=1, le=4096)] | Literal["inf"] = "inf"
    tracing: Any = None
    truncation: Any = "auto"
    prompt: Any = None
    include: list[str] | None = None

    def updated(self, changes: Any) -> "SessionConfig":
        """Return the settings with those of a session.update; raises InputError."""
        if not isinstance(changes, dict):
            raise InputError("session: must be an object", code="invalid_value")
        return parse(SessionConfig, _merged(self.model_dump(), changes), "session")

    def chat_settings(self, system: str) -> dict[str, Any]:
        """Return the fields of `ChatConfig`, given the system prompt."""
        detection = self.audio.input.turn_detection
        settings: dict[str, Any] = {
            "system": system,
            "speed": max(self.audio.output.speed, SLOWEST),
        }
        if isinstance(self.max_output_tokens, int):
            settings["max_answer_chars"] = CHARS_PER_TOKEN * self.max_output_tokens
        if detection is None:
            return settings | {"detect_turns": False, "answer_turns": False}
        silence = detection.silence()
        return settings | {
            "detect_turns": True,
            "answer_turns": detection.create_response,
            "interruptible": detection.interrupt_response,
            "vad_threshold": min(max(detection.threshold, 0.01), 0.99),
            "pre_roll": detection.prefix_padding_ms / 1000,
            "end_silence": silence,
            "pause": min(0.2, silence / 2),
        }

    def chat_tools(self) -> tuple[dict[str, Any], ...]:
        """Return the functions that the language model may call."""
        return () if self.tool_choice == "none" else tuple(tool.for_chat() for tool in self.tools)


def _merged(known: Any, changes: Any, key: str = "") -> Any:
    """`known` with changes; null changes only what can be turned off, as clients send many nulls."""
    if key in WHOLE or not (isinstance(known, dict) and isinstance(changes, dict)):
        return deepcopy(changes)
    given = {name: value for name, value in changes.items() if value is not None or name in WHOLE}
    return known | {name: _merged(known.get(name), value, name) for name, value in given.items()}
