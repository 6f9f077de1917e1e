"""The speech interface over a tiny random model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from helpers.chat_fakes import CountingRecognizer, ScriptedLLM  # noqa: E402
from helpers.llm_process import llm_server  # noqa: E402
from helpers.speech_client import client_of  # noqa: E402
from helpers.toy_model import save_toy_model  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from vocalmtp.chat.pipeline import ChatPipeline  # noqa: E402
from vocalmtp.chat.responders import CascadeResponder  # noqa: E402
from vocalmtp.engines.linears import has_exact_int8
from vocalmtp.loading import load  # noqa: E402
from vocalmtp.server.engine import EngineTTS, SpeechEngine  # noqa: E402
from vocalmtp.server.metrics import Metrics  # noqa: E402
from vocalmtp.server.service import SpeechLimits, SpeechService  # noqa: E402
from vocalmtp.server.state import ServerState  # noqa: E402
from vocalmtp.server.voices import VoiceCatalogue  # noqa: E402
from vocalmtp.tts import TTS  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with the voices `ann` and `bob`."""
    return save_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def tts(folder: Path) -> TTS:
    """A model with the voices `ann` and `bob`."""
    return load(folder)


@pytest.fixture(scope="session")
def mini() -> TTS:
    """The bundled model in 8 bits, whose rows do not depend on the batch by a single bit."""
    if not has_exact_int8():
        pytest.skip("8-bit products saturate on this CPU")
    return load("mini", int8=True)


@pytest.fixture(scope="module")
def llm_url() -> Iterator[str]:
    """The address of an OpenAI-compatible server."""
    with llm_server() as url:
        yield url


@pytest.fixture
def make_state(tts: TTS) -> Iterator[Callable[..., ServerState]]:
    """Makes servers, which are closed at the end; settings go to SpeechLimits."""
    made: list[ServerState] = []

    def make(
        model: TTS | None = None,
        voices: Path | None = None,
        lenient: bool = False,
        llm: object = None,
        **settings: float,
    ) -> ServerState:
        limits, metrics = SpeechLimits(**settings), Metrics()
        engine = SpeechEngine(model or tts, limits.rows, limits.queue, metrics)
        served = EngineTTS(engine)
        catalogue = VoiceCatalogue(served, folder=voices, lenient=lenient)
        speech = SpeechService(engine, catalogue, metrics, "toy", limits)
        responder = CascadeResponder(served, llm or ScriptedLLM("Hello there."))
        pipeline = ChatPipeline(responder, CountingRecognizer(), served)
        made.append(ServerState.over(pipeline, speech=speech))
        return made[-1]

    yield make
    for state in made:
        state.close()


@pytest.fixture
def client(make_state: Callable[..., ServerState]) -> TestClient:
    """A client of a server with default settings."""
    return client_of(make_state())
