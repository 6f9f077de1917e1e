"""Chromium with a microphone that plays a file, a server of the mini model, and one of fakes."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.chat_fakes import QUESTION, RATE, detect_by_level, fake_server, silence, tone

import vocalmtp
from vocalmtp.audio.io import Audio
from vocalmtp.bench.chat import serving
from vocalmtp.server.state import ServerState

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",  # root, as in containers, has none
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
)
TIMEOUT = 120_000  # milliseconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            # The microphone plays in real time: a machine without time to spare drops speech.
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="module")
def browse() -> Iterator[Callable[..., Any]]:
    """Opens a page; `microphone` is the file of its microphone, `allowed` whether it may be used.

    There is one browser for each file, and a context for each page.
    """
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browsers: dict[Path | None, Any] = {}
    with ExitStack() as stack:
        tool = stack.enter_context(playwright.sync_playwright())

        def open_page(
            address: str, microphone: Path | None = None, allowed: bool = True, **options: Any
        ) -> Any:
            if microphone not in browsers:
                files = (
                    []
                    if microphone is None
                    else [f"--use-file-for-fake-audio-capture={microphone}%noloop"]
                )
                browsers[microphone] = tool.chromium.launch(
                    executable_path=CHROMIUM, args=[*FLAGS, *files]
                )
                stack.callback(browsers[microphone].close)
            permissions = ["microphone"] if allowed else []
            context = browsers[microphone].new_context(permissions=permissions, **options)
            context.set_default_timeout(TIMEOUT)
            page = context.new_page()
            page.goto(address)
            page.wait_for_function("window.vocalmtp")
            return page

        yield open_page


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
    """A file for the microphone: silence, a question, and silence."""
    speech = vocalmtp.load("mini")(QUESTION, greedy=True)
    quiet = np.zeros(2 * speech.sample_rate, np.float32)
    folder = tmp_path_factory.mktemp("question")
    return recording(folder, quiet, speech.samples, *[quiet] * 60, sample_rate=speech.sample_rate)


@pytest.fixture(scope="module")
def state() -> Iterator[ServerState]:
    """A server of fakes whose answers have one word every quarter of a second."""
    with pytest.MonkeyPatch.context() as patch:
        detect_by_level(patch)
        yield fake_server("One two three four five six seven eight.")


@pytest.fixture(scope="module")
def fakes(state: ServerState) -> Iterator[str]:
    """The address of the page of that server."""
    pytest.importorskip("gradio", reason="the extra 'demo' is not installed")
    from helpers import chat_server

    with chat_server.serving(state) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for the microphone: a tone of half a second, and another one during the answer."""
    parts = [silence(1.0), tone(0.5), silence(1.6), tone(0.5), silence(120.0)]
    return recording(tmp_path_factory.mktemp("tones"), *parts, sample_rate=RATE)
