"""Chromium with a microphone that plays a file, a server of the mini model, and one of fakes."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.chat_fakes import QUESTION, RATE, fake_room, hear_by_loudness, silence, tone

import vocalmtp
from vocalmtp.audio.io import Audio
from vocalmtp.bench.chat_server import serving
from vocalmtp.server.state import ServerState

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",  # root, as in containers, has none
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
)
PATIENCE = 60_000  # milliseconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def browse() -> Iterator[Callable[..., Any]]:
    """Opens a page; `sound` is what its microphone plays, `allowed` whether it may be used.

    There is one browser for each sound, and a context of its own for each page.
    """
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browsers: dict[Path | None, Any] = {}
    with ExitStack() as stack:
        tool = stack.enter_context(playwright.sync_playwright())

        def open_it(
            address: str, sound: Path | None = None, allowed: bool = True, **options: Any
        ) -> Any:
            if sound not in browsers:
                played = (
                    [] if sound is None else [f"--use-file-for-fake-audio-capture={sound}%noloop"]
                )
                browsers[sound] = tool.chromium.launch(
                    executable_path=CHROMIUM, args=[*FLAGS, *played]
                )
                stack.callback(browsers[sound].close)
            permissions = ["microphone"] if allowed else []
            context = browsers[sound].new_context(permissions=permissions, **options)
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.goto(address)
            page.wait_for_function("window.vocalmtp")
            return page

        yield open_it


@pytest.fixture(scope="module")
def mini() -> Iterator[str]:
    """The address of `vocalmtp chat` with the mini model and an echo, in a process of its own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with serving() as server:
        yield server.page


def recording(folder: Path, *parts: np.ndarray, sample_rate: int) -> Path:
    return Audio(np.concatenate(parts), sample_rate).save(folder / "microphone.wav")


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears: silence, a question, and silence."""
    speech = vocalmtp.load("mini")(QUESTION, greedy=True)
    quiet = np.zeros(2 * speech.sample_rate, np.float32)
    folder = tmp_path_factory.mktemp("question")
    return recording(folder, quiet, speech.samples, *[quiet] * 60, sample_rate=speech.sample_rate)


@pytest.fixture(scope="module")
def room() -> Iterator[ServerState]:
    """A room of fakes that says one word a quarter of a second."""
    with pytest.MonkeyPatch.context() as patch:
        hear_by_loudness(patch)
        yield fake_room("One two three four five six seven eight.")


@pytest.fixture(scope="module")
def fakes(room: ServerState) -> Iterator[str]:
    """The address of the page of that room."""
    pytest.importorskip("gradio", reason="the extra 'demo' is not installed")
    from helpers.chat_line import serving_room

    with serving_room(room) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears: a tone of half a second, and another while it is answered."""
    parts = [silence(1.0), tone(0.5), silence(1.6), tone(0.5), silence(120.0)]
    return recording(tmp_path_factory.mktemp("tones"), *parts, sample_rate=RATE)
