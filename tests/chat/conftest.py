"""Sessions and servers over the fakes of tests/helpers/chat_fakes.py."""

from collections.abc import Callable, Iterator

import pytest
from helpers.chat_fakes import (
    Clock,
    CountingRecognizer,
    ScriptedLLM,
    ToneTTS,
    detect_by_level,
    fake_server,
)

from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.session import ChatSession
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.server.state import ServerState


@pytest.fixture
def make_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatSession]]:
    """Makes sessions, which are closed at the end; settings go to ChatConfig."""
    detect_by_level(monkeypatch)
    made: list[ChatSession] = []

    def make(
        llm=None, tts=None, clock=None, recognizer: Recognizer | None = None, **settings
    ) -> ChatSession:
        responder = CascadeResponder(tts or ToneTTS(), llm or ScriptedLLM("Hello there, friend. "))
        config = ChatConfig(**{"max_lead": None, "echo": "off"} | settings)
        recognizer = recognizer or CountingRecognizer()
        made.append(ChatSession(responder, recognizer, None, config, clock or Clock()))
        return made[-1]

    yield make
    for session in made:
        session.close()


@pytest.fixture
def make_server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ServerState]:
    """Makes servers as `fake_server` does, without Gradio."""
    detect_by_level(monkeypatch)
    monkeypatch.setattr("vocalmtp.server.app.mount_page", lambda app, state: app)
    return fake_server
