"""Whom one talks to: who answers, in which voices, and what hears the user."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vocalmtp.chat.answer import Responder
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.llm import build_llm
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.session import ChatSession
from vocalmtp.config import parse
from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL
from vocalmtp.recognizers.base import Recognizer, build_recognizer
from vocalmtp.roles import Role, load_role
from vocalmtp.tts import TTS, AnyVoice, load


@dataclass(frozen=True)
class ChatPipeline:
    """One can have any number of conversations at a time."""

    answerer: Responder
    ear: Recognizer
    tts: TTS

    def session(
        self, voice: AnyVoice = None, role: Role | None = None, config: ChatConfig | None = None
    ) -> ChatSession:
        """A new conversation; a voice that is a recording is listened to now, and only once."""
        session = ChatSession(self.answerer, self.ear, voice, config, role=role)
        session.voice = self.tts.find_voice(session.voice)
        return session


def build_pipeline(
    model: str = DEFAULT_MODEL,
    llm: str | None = None,
    llm_model: str | None = None,
    ear: str | None = None,
    native: bool = False,
    device: str = "cpu",
    load: Callable[[str], TTS] = load,
) -> ChatPipeline:
    """Who answers is an echo, or writes (`llm`, `llm_model`: see `build_llm`), or is the `model`
    itself, which was trained to hear and to answer (`native`); `model` says it.

    What is wrong with the small parts is said before the model is loaded. Raises InputError if
    something is not there, or does not go together.
    """
    if not native:
        writer, listens = build_llm(llm, llm_model, device), build_recognizer(ear, device)
        listens.warm_up()
        tts = load(model)
        return ChatPipeline(CascadeResponder(writer, tts), listens, tts)
    refused = {"llm": llm, "llm-model": llm_model, "ear": ear}
    for option, value in (refused | {"device": None if device == "cpu" else device}).items():
        if value is not None:
            raise InputError(
                f"{option} '{value}': native needs none; leave one out", code="conflict"
            )
    from vocalmtp.chat.native import SpeechLMResponder
    from vocalmtp.dialogue import DialogueModel
    from vocalmtp.recognizers.speech_lm import SpeechLMRecognizer

    tts = load(model)
    dialogue = DialogueModel(tts)
    return ChatPipeline(SpeechLMResponder(dialogue), SpeechLMRecognizer(dialogue), tts)


def talk(
    model: str = DEFAULT_MODEL,
    voice: AnyVoice = None,
    role: Role | str | None = None,
    llm: str | None = None,
    llm_model: str | None = None,
    ear: str | None = None,
    native: bool = False,
    device: str = "cpu",
    **settings: Any,
) -> ChatSession:
    """A conversation, as `vocalmtp chat` has it, with the `settings` of ChatConfig.

    Raises InputError if something is not there, or does not go together.
    """
    config = parse(ChatConfig, settings, "chat")
    role = load_role(role) if isinstance(role, str) else role
    partner = build_pipeline(model, llm, llm_model, ear, native, device)
    return partner.session(voice, role, config)
