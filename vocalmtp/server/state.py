"""What all conversations of a server share, and how many there may be."""

from dataclasses import dataclass, field

from pydantic import Field

from vocalmtp.chat.answer import Responder
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.pipeline import ChatPipeline
from vocalmtp.chat.responders import warm_up
from vocalmtp.chat.session import ChatSession
from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError, nearest
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.roles import Role
from vocalmtp.tts import TTS, AnyVoice

QUESTION = "What is the capital of France?"


class ServerLimits(StrictModel):
    """What one server takes on."""

    sessions: int = Field(4, ge=1)  # at a time
    minutes: float = Field(30.0, gt=0)  # of one conversation
    message: int = Field(65_536, ge=1024)  # bytes of one message
    ahead: float = Field(10.0, gt=0)  # seconds of sound that may come faster than time goes
    mistakes: int = Field(20, ge=1)  # messages that make no sense, until the connection is closed
    questions: int = Field(10, ge=1)  # typed turns that may come faster than one a second


@dataclass
class ServerState:
    """Makes conversations; `answerers` are the ways to answer by name, first the default."""

    tts: TTS
    ear: Recognizer
    answerers: dict[str, Responder]
    config: ChatConfig = field(default_factory=ChatConfig)
    limits: ServerLimits = field(default_factory=ServerLimits)
    voice: AnyVoice = None  # the default
    role: Role | None = None  # the default
    roles: dict[str, Role] = field(default_factory=dict)  # those that visitors may pick, by name
    talking: int = 0  # conversations now

    def open(self) -> ChatSession:
        """A new conversation, as everybody gets it."""
        answerer = next(iter(self.answerers.values()))
        return ChatPipeline(answerer, self.ear, self.tts).session(
            self.voice, self.role, self.config
        )

    def configure(
        self,
        session: ChatSession,
        voice: str | None = None,
        mode: str | None = None,
        role: str | None = None,
    ) -> None:
        """Change who answers from the next answer on; None leaves it, the role "" is nobody.

        Only built-in voices and roles: a visitor must not name files. Raises InputError for others.
        """
        if role and role not in self.roles:
            raise InputError(
                f"role '{role}': no such role; {nearest(role, self.roles)}", code="not_found"
            )
        if voice is not None and voice not in self.tts.voices:
            raise InputError(
                f"voice '{voice}': no such voice; {nearest(voice, self.tts.voices)}",
                code="not_found",
            )
        if mode is not None and mode not in self.answerers:
            raise InputError(
                f"mode '{mode}': no such mode; {nearest(mode, self.answerers)}", code="not_found"
            )
        session.answerer = self.answerers[mode] if mode else session.answerer
        if role is not None:
            session.role = self.roles.get(role)
        session.voice = self.tts.find_voice(voice or session.voice)

    def warm_up(self) -> None:
        """Let nobody wait for what is slow only once."""
        with self.open() as session:  # what does not fit is said first
            warm_up(self.tts, session.voice)

    def question(self) -> bytes:
        """A spoken question as a WAV file, for visitors without a microphone."""
        return self.tts(QUESTION, self.voice).to_bytes("wav")
