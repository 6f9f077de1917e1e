"""Sessions over the fakes of tests/chat_fakes.py."""

from collections.abc import Callable, Iterator

import pytest
from chat_fakes import Clock, CountingEar, ScriptedWriter, ToneTTS, fake_room, hear_by_loudness

from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.room import Room
from vocalmtp.chat.session import ChatSession
from vocalmtp.chat.speaking import Spoken


@pytest.fixture
def make_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatSession]]:
    """Builds sessions on a clock moved by hand; settings go to ChatConfig. Closed at the end."""
    hear_by_loudness(monkeypatch)
    made: list[ChatSession] = []

    def make(writer: ScriptedWriter | None = None, tts=None, clock=None, **settings) -> ChatSession:
        answerer = Spoken(writer or ScriptedWriter("Hello there, friend. "), tts or ToneTTS())
        config = ChatConfig(**{"ahead": None, "echo": "off"} | settings)
        made.append(ChatSession(answerer, CountingEar(), None, config, clock or Clock()))
        return made[-1]

    yield make
    for session in made:
        session.close()


@pytest.fixture
def make_room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Room]:
    """Builds rooms as `fake_room` does. No Gradio."""
    hear_by_loudness(monkeypatch)
    monkeypatch.setattr("vocalmtp.chat.page.mount_page", lambda app, room: app)
    return fake_room
