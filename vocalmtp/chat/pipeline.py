"""The models of a conversation, loaded by name: responder, recognizer and voices."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.llm import build_llm
from vocalmtp.chat.responders import RESPONDERS, CascadeResponder, Responder
from vocalmtp.chat.session import ChatSession
from vocalmtp.chat.transformers_chat import TransformersChat
from vocalmtp.config import parse
from vocalmtp.engines.base import AUTO
from vocalmtp.errors import InputError
from vocalmtp.fetch.cards import find_card, first_fetched
from vocalmtp.hub import DEFAULT_MODEL, model_folder
from vocalmtp.loading import load
from vocalmtp.recognizers.base import Recognizer, build_recognizer
from vocalmtp.roles import Role, load_role
from vocalmtp.tts import TTS
from vocalmtp.voices import AnyVoice

DEFAULT_RESPONDER = "cascade"


@dataclass(frozen=True)
class ChatPipeline:
    """Loaded models, for any number of conversations at a time."""

    responder: Responder
    recognizer: Recognizer
    tts: TTS

    def session(
        self, voice: AnyVoice = None, role: Role | None = None, config: ChatConfig | None = None
    ) -> ChatSession:
        """Begin a conversation; a voice that is a recording is encoded now, and only once."""
        session = ChatSession(self.responder, self.recognizer, voice, config, role=role)
        session.voice = self.tts.find_voice(session.voice)
        return session


def build_pipeline(
    model: str = DEFAULT_MODEL,
    llm: str | None = None,
    llm_model: str | None = None,
    recognizer: str | None = None,
    responder: str = DEFAULT_RESPONDER,
    device: str = "cpu",
    load_tts: Callable[[str, str], TTS] = load,
) -> ChatPipeline:
    """Load the models of a conversation; the speech model, which takes longest, comes last.

    Args:
        model: name or folder of the model that speaks.
        llm: see `build_llm`; None for one that was fetched, or else an echo.
        llm_model: see `build_llm`.
        recognizer: see `build_recognizer`; None for one that was fetched, or else pocketsphinx.
        responder: name of a registered responder: cascade, or speech-lm, for which `model` is
            responder and recognizer in one; a model over a text LM (models/trunk.py) answers by that,
            and needs a recognizer.
        device: torch device of all models.
        load_tts: loads a model, given its name and the device.

    Raises:
        InputError: a part is missing or not usable, or parts do not go together.

    """
    factory = RESPONDERS[responder]
    if not factory.end_to_end:
        if llm is None and llm_model is None:
            llm = best_here("llm")
        writer = build_llm(llm, llm_model, device)
        listener = build_recognizer(recognizer or best_here("recognizer"), device)
        listener.warm_up()
        tts = load_tts(model, device)
        return ChatPipeline(factory(tts, writer), listener, tts)
    _refuse(responder, {"llm": llm, "llm-model": llm_model})
    tts = load_tts(model, device)
    if tts.model.config.trunk:  # it writes, and the decoder over it speaks; it does not hear
        writer = _load_trunk(model_folder(model), device)
        listener = build_recognizer(recognizer or best_here("recognizer"), device)
        return ChatPipeline(CascadeResponder(tts, writer), listener, tts)
    _refuse(responder, {"recognizer": recognizer})
    if getattr(tts.model, "audio_encoder", None) is None:
        raise InputError(
            f"model '{model}': has no audio input; give one that has, as trained by "
            f"recipes/chat_mini or recipes/backbone, or another responder than '{responder}'",
            code="unsupported",
        )
    built = factory(tts)
    return ChatPipeline(built, built.recognizer or build_recognizer(None, device), tts)


def _load_trunk(folder: Path, device: str) -> TransformersChat:
    """Load the text LM of a speech LM as a chat model; an engine has changed the loaded one."""
    from vocalmtp.models.speech_lm import SpeechLM

    trunk = SpeechLM.load(folder).trunk
    assert trunk is not None, "of this configuration"
    return TransformersChat(folder, device, loaded=trunk.causal_lm())


def _refuse(responder: str, options: dict[str, str | None]) -> None:
    """Raise InputError if an option was given that an end-to-end responder does not take."""
    for option, value in options.items():
        if value is not None:
            raise InputError(
                f"{option} '{value}': is not for the end-to-end responder '{responder}'; leave one "
                "out",
                code="conflict",
            )


def best_here(kind: Literal["llm", "recognizer"]) -> str | None:
    """Return the name of a fetched model whose packages are installed, or None."""
    name = first_fetched(kind)
    usable = name is not None and all(find_spec(package) for package in find_card(name).needs)
    return name if usable else None


def talk(
    model: str = DEFAULT_MODEL,
    voice: AnyVoice = None,
    role: Role | str | None = None,
    llm: str | None = None,
    llm_model: str | None = None,
    recognizer: str | None = None,
    responder: str = DEFAULT_RESPONDER,
    device: str = "cpu",
    engine: str = AUTO,
    threads: int | None = None,
    **settings: Any,
) -> ChatSession:
    """Begin a conversation as `vocalmtp chat` does.

    Args:
        model: name or folder of the model that speaks.
        voice: as for `TTS`; overrides the role's voice.
        role: a persona and its voice, or its name or file.
        llm: URL of an endpoint, or folder or name of a chat model; None for one that was fetched,
            or else an echo.
        llm_model: name of the model at the endpoint.
        recognizer: NAME, NAME=ARGUMENT or a folder; None for one that was fetched, or else
            pocketsphinx.
        responder: cascade, or speech-lm.
        device: torch device of all models.
        engine: see `vocalmtp.load`.
        threads: see `vocalmtp.load`.
        settings: fields of `ChatConfig`.

    Raises:
        InputError: a part is missing or not usable, or parts do not go together.

    """
    config = parse(ChatConfig, settings, "chat")
    role = load_role(role) if isinstance(role, str) else role
    load_tts = partial(load, engine=engine, threads=threads)
    pipeline = build_pipeline(model, llm, llm_model, recognizer, responder, device, load_tts)
    return pipeline.session(voice, role, config)
