"""Sessions over the fakes of tests/chat_fakes.py."""

from collections.abc import Callable, Iterator

import pytest
from chat_fakes import Clock, CountingEar, ScriptedWriter, ToneTTS, loudness

from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.session import ChatSession
from vocalmtp.chat.speaking import Spoken


@pytest.fixture
def make_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatSession]]:
    """Builds sessions on a clock moved by hand; settings go to ChatConfig. Closed at the end."""
    monkeypatch.setattr("vocalmtp.chat.session.VoiceActivity.__init__", lambda self: None)
    monkeypatch.setattr("vocalmtp.chat.session.VoiceActivity.__call__", loudness)
    made: list[ChatSession] = []

    def make(writer: ScriptedWriter | None = None, tts=None, clock=None, **settings) -> ChatSession:
        answerer = Spoken(writer or ScriptedWriter("Hello there, friend. "), tts or ToneTTS())
        config = ChatConfig(**{"ahead": None, "echo": "off"} | settings)
        made.append(ChatSession(answerer, CountingEar(), None, config, clock or Clock()))
        return made[-1]

    yield make
    for session in made:
        session.close()
