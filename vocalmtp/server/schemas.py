"""Bodies of the requests of the HTTP interface. Unknown keys are ignored, as clients send many."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vocalmtp.audio.stream_encoder import StreamFormat
from vocalmtp.chat.history import Message
from vocalmtp.decoding.options import given_sampling

MAX_ITEMS = 32  # of a batch
SampleRate = Literal[8_000, 16_000, 24_000, 48_000]  # those that all formats support


def _voice_name(voice: Any) -> Any:
    """The name of a voice that is given as {"id": name}."""
    return voice.get("id") if isinstance(voice, dict) else voice


VoiceName = Annotated[
    str,
    BeforeValidator(_voice_name, json_schema_input_type=str | dict[str, str]),
    Field(min_length=1, max_length=200, description='A name of /v1/audio/voices, or {"id": name}.'),
]


class SpeechSettings(BaseModel):
    """How a text is spoken; everything has a default."""

    model: str = Field("", max_length=200, description="The loaded model answers to every alias.")
    voice: VoiceName | None = None
    role: str | None = Field(None, max_length=200, description="A role, in place of a voice.")
    instructions: str | None = Field(
        None, max_length=4096, description="Accepted, and without effect on models without them."
    )
    language: str | None = Field(
        None, max_length=40, description="For models of several languages: of the text."
    )
    response_format: StreamFormat = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0, allow_inf_nan=False)
    sample_rate: SampleRate = 24_000  # what clients assume
    seed: int = Field(0, ge=0, lt=2**63)
    temperature: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    top_k: int | None = Field(None, ge=1, le=2**31)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    min_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    repetition_penalty: float | None = Field(None, gt=0, le=100, allow_inf_nan=False)

    def sampling(self) -> dict[str, Any]:
        """Return the sampling options that were given."""
        return given_sampling(self)


class SpeechRequest(SpeechSettings):
    """Body of POST /v1/audio/speech."""

    input: str = Field(min_length=1, description="The text.")
    stream_format: Literal["audio", "sse"] = "audio"


class CaptionedRequest(SpeechSettings):
    """Body of POST /dev/captioned_speech."""

    input: str = Field(min_length=1, description="The text.")
    stream: bool = Field(True, description="JSON lines while it is spoken, or one object.")


class BatchItem(SpeechSettings):
    """One text of a batch."""

    input: str = Field(min_length=1, description="The text.")


class BatchRequest(BaseModel):
    """Body of POST /v1/audio/speech/batch: each item has its own settings."""

    items: list[BatchItem] = Field(min_length=1, max_length=MAX_ITEMS)


class ContentPart(BaseModel):
    """A part of a message; parts that are not text are for the endpoint only."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(max_length=50)
    text: str = Field("", max_length=100_000)


class ChatMessage(BaseModel):
    """A message of the conversation."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None

    def as_message(self) -> Message:
        """Return the text of the message."""
        content = self.content or ""
        text = content if isinstance(content, str) else " ".join(part.text for part in content)
        roles: dict[str, Literal["system", "assistant"]] = {
            "system": "system",
            "developer": "system",
            "assistant": "assistant",
        }
        return Message(roles.get(self.role, "user"), text)


class AudioOptions(BaseModel):
    """How an answer is spoken."""

    voice: VoiceName | None = None
    format: StreamFormat | Literal["pcm16"] = "wav"

    @property
    def stream_format(self) -> StreamFormat:
        """The format of the encoder."""
        return "pcm" if self.format == "pcm16" else self.format


class CompletionRequest(BaseModel):
    """Body of POST /v1/chat/completions; other keys go to the endpoint as they are."""

    model_config = ConfigDict(extra="allow")
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    model: str = Field("", max_length=200)
    modalities: list[Literal["text", "audio"]] = Field(["text"], max_length=2)
    audio: AudioOptions | None = None
    stream: bool = False
