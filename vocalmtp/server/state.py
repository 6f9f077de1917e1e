"""What the conversations of a server share, and the limits on them."""

from dataclasses import dataclass, field

from pydantic import Field

from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.llm import Echo
from vocalmtp.chat.pipeline import ChatPipeline
from vocalmtp.chat.responders import CascadeResponder, Responder, warm_up
from vocalmtp.chat.session import ChatSession
from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError, nearest
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.roles import Role, list_roles, load_role
from vocalmtp.server.engine import EngineTTS
from vocalmtp.server.service import SpeechService
from vocalmtp.tts import TTS
from vocalmtp.voices import AnyVoice

SAMPLE_QUESTION = "What is the capital of France?"


class ServerLimits(StrictModel):
    """Limits on the conversations of a server."""

    sessions: int = Field(default=4, ge=1)  # conversations at a time
    minutes: float = Field(default=30.0, gt=0)  # duration of one conversation
    message: int = Field(default=65_536, ge=1024)  # bytes of one message
    max_ahead: float = Field(default=10.0, gt=0)  # seconds of audio faster than real time
    invalid_messages: int = Field(default=20, ge=1)  # until the connection is closed
    questions: int = Field(default=10, ge=1)  # typed turns beyond one a second


@dataclass
class ServerState:
    """The models, settings and visitors of a server.

    Attributes:
        responders: by name; the first one is the default.
        voice: the default voice.
        role: the default persona.
        roles: the personas that visitors may choose, by name.
        active: the number of conversations.
        speech: what the speech routes use; None to serve conversations only.

    """

    tts: TTS
    recognizer: Recognizer
    responders: dict[str, Responder]
    config: ChatConfig = field(default_factory=ChatConfig)
    limits: ServerLimits = field(default_factory=ServerLimits)
    voice: AnyVoice = None
    role: Role | None = None
    roles: dict[str, Role] = field(default_factory=dict)
    active: int = 0
    speech: SpeechService | None = None

    @classmethod
    def over(
        cls,
        pipeline: ChatPipeline,
        config: ChatConfig | None = None,
        limits: ServerLimits | None = None,
        voice: AnyVoice = None,
        role: Role | None = None,
        speech: SpeechService | None = None,
    ) -> "ServerState":
        """Return the state of a server that offers a pipeline's responder, an echo, and all roles."""
        responder, tts = pipeline.responder, pipeline.tts
        echo = CascadeResponder(tts, Echo())
        return cls(
            tts,
            pipeline.recognizer,
            {responder.name: responder, echo.name: echo},
            config or ChatConfig(),
            limits or ServerLimits(),
            voice,
            role,
            {card.name: card for card in [*offered_roles(tts), *([role] if role else [])]},
            speech=speech,
        )

    def open_session(self) -> ChatSession:
        """Begin a conversation with the defaults."""
        responder = next(iter(self.responders.values()))
        pipeline = ChatPipeline(responder, self.recognizer, self.tts)
        return pipeline.session(self.voice, self.role, self.config)

    def configure(
        self,
        session: ChatSession,
        voice: str | None = None,
        responder: str | None = None,
        role: str | None = None,
    ) -> None:
        """Change a conversation from the next answer on; None leaves a setting as it is.

        Visitors may name built-in voices and roles, but no files.

        Args:
            session: the conversation.
            voice: name of a built-in voice.
            responder: name of a responder.
            role: name of a role; "" for none.

        Raises:
            InputError: a name is unknown.

        """
        if role and role not in self.roles:
            raise InputError(
                f"role '{role}': no such role; {nearest(role, self.roles)}", code="unknown_name"
            )
        if voice is not None and voice not in self.tts.voices:
            raise InputError(
                f"voice '{voice}': no such voice; {nearest(voice, self.tts.voices)}",
                code="unknown_name",
            )
        if responder is not None and responder not in self.responders:
            raise InputError(
                f"responder '{responder}': no such responder; "
                f"{nearest(responder, self.responders)}",
                code="unknown_name",
            )
        if responder is not None:
            session.responder = self.responders[responder]
        if role is not None:
            session.role = self.roles.get(role)
        session.voice = self.tts.find_voice(voice or session.voice)

    def warm_up(self) -> None:
        """Do one-time work before the first visitor; raises InputError if the defaults do not fit."""
        with self.open_session() as session:
            warm_up(self.tts, session.voice)
        if self.speech is not None:
            self.speech.ready = True

    def close(self) -> None:
        """End the engine, if there is one; its requests fail."""
        if isinstance(self.tts, EngineTTS):
            self.tts.engine.close()

    def sample_question(self) -> bytes:
        """Return a spoken question as a WAV file, for visitors without a microphone."""
        return self.tts(SAMPLE_QUESTION, self.voice).to_bytes("wav")


def offered_roles(tts: TTS) -> list[Role]:
    """Return the roles of the package whose voice the model has."""
    return [card for card in map(load_role, list_roles()) if card.voice in tts.voices]
