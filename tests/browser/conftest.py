"""A real server, and Chromium with a microphone that plays a file."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_fakes import QUESTION

import vocalmtp
from vocalmtp.audio import Audio

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """That of `vocalmtp chat` with the mini model and an echo, in a process of its own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vocalmtp", "chat", "--port", str(port), "--sessions", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert process.poll() is None
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def question(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears: the question, and again while the answer sounds."""
    speech = vocalmtp.load("mini")(QUESTION, greedy=True)
    quiet = np.zeros(2 * speech.sample_rate, np.float32)
    samples = np.concatenate([quiet, speech.samples, *[quiet] * 30])
    path = tmp_path_factory.mktemp("sound") / "question.wav"
    return Audio(samples, speech.sample_rate).save(path)


@pytest.fixture
def open_page(address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page in a browser of its own; `sound` is what the microphone plays, if any."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with ExitStack() as stack:
        tool = stack.enter_context(playwright.sync_playwright())

        def open_it(sound: Path | None = None, allowed: bool = True, **options: Any) -> Any:
            flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
            flags.append("--use-fake-device-for-media-stream")
            if sound is not None:
                flags.append(f"--use-file-for-fake-audio-capture={sound}%noloop")
            browser = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
            stack.callback(browser.close)
            permissions = ["microphone"] if allowed else []
            context = browser.new_context(permissions=permissions, **options)
            context.set_default_timeout(60_000)
            page = context.new_page()
            page.goto(address)
            page.wait_for_function("window.vocalmtp")
            return page

        yield open_it
