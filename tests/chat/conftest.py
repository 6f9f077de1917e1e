"""Sessions over the fakes of tests/chat_fakes.py."""

from collections.abc import Callable, Iterator

import pytest
from helpers.chat_fakes import (
    Clock,
    CountingEar,
    ScriptedWriter,
    ToneTTS,
    fake_room,
    hear_by_loudness,
)

from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.session import ChatSession
from vocalmtp.server.state import ServerState


@pytest.fixture
def make_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatSession]]:
    """Builds sessions on a clock moved by hand; settings go to ChatConfig. Closed at the end."""
    hear_by_loudness(monkeypatch)
    made: list[ChatSession] = []

    def make(writer: ScriptedWriter | None = None, tts=None, clock=None, **settings) -> ChatSession:
        answerer = CascadeResponder(
            writer or ScriptedWriter("Hello there, friend. "), tts or ToneTTS()
        )
        config = ChatConfig(**{"ahead": None, "echo": "off"} | settings)
        made.append(ChatSession(answerer, CountingEar(), None, config, clock or Clock()))
        return made[-1]

    yield make
    for session in made:
        session.close()


@pytest.fixture
def make_room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ServerState]:
    """Builds rooms as `fake_room` does. No Gradio."""
    hear_by_loudness(monkeypatch)
    monkeypatch.setattr("vocalmtp.server.app.mount_page", lambda app, room: app)
    return fake_room
