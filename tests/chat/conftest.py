"""Sessions over the fakes of tests/chat_fakes.py."""

from collections.abc import Callable, Iterator

import pytest
from chat_fakes import CLERK, Clock, CountingEar, ScriptedWriter, ToneTTS, loudness

from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.room import Limits, Room
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


@pytest.fixture
def make_room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Room]:
    """Builds rooms whose answers are the given pieces of text; limits go to Limits. No Gradio."""
    monkeypatch.setattr("vocalmtp.chat.session.VoiceActivity.__init__", lambda self: None)
    monkeypatch.setattr("vocalmtp.chat.session.VoiceActivity.__call__", loudness)
    monkeypatch.setattr("vocalmtp.chat.page.mount_page", lambda app, room: app)

    def make(*pieces, **limits) -> Room:
        tts = ToneTTS()
        answerers = {
            "llm": Spoken(ScriptedWriter(*pieces or ("One two.",)), tts),
            "other": Spoken(ScriptedWriter("Other."), tts),
        }
        config = ChatConfig(echo="off")
        roles = {"clerk": CLERK}
        return Room(tts, CountingEar(), answerers, config, Limits(**limits), roles=roles)

    return make
