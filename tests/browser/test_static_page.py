"""The static page that speaks without a server (demo/browser), against the ONNX engine in Python."""

import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vocalmtp.loading import load
from vocalmtp.text.normalizer import ALPHABET, char_ids
from vocalmtp.text.pronunciation import load_pronouncer, track_ids

PAGE = Path(__file__).parents[2] / "demo" / "browser"
TEXT = "The birch canoe slid on the smooth planks."


class QuietHandler(SimpleHTTPRequestHandler):
    """A file server without a log."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built page, served as files."""
    node = shutil.which("node")
    if node is None or not (PAGE / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed (run npm install in demo/browser)")
    folder = tmp_path_factory.mktemp("page")
    subprocess.run([node, str(PAGE / "build.mjs"), str(folder)], check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def page(browse: Callable[..., Any], address: str) -> Any:
    """The page with its model loaded."""
    page = browse(address)
    page.wait_for_function("window.vocalmtp.ready")
    return page


def speak(page: Any, text: str, voice: str) -> np.ndarray:
    """Type a text and press the button: samples."""
    page.fill("#text", text)
    page.select_option("#voice", voice)
    page.click("#speak")
    page.wait_for_function("window.vocalmtp.samples !== null")
    return np.array(page.evaluate("Array.from(window.vocalmtp.samples)"), np.float32)


def test_audio_equals_that_of_the_engine(page: Any) -> None:
    pytest.importorskip("onnxruntime")
    tts = load("mini", engine="onnx", int8=False)
    for voice in ("heart", "daniel"):
        samples = speak(page, TEXT, voice)
        np.testing.assert_allclose(samples, tts(TEXT, voice=voice).samples, atol=1e-3)
    assert page.get_attribute("#save", "href").startswith("blob:")


def test_numbers_and_several_sentences(page: Any) -> None:
    text = page.evaluate(
        """async () => (await import('./text.js')).sentences(
            'I have 1,204 books — “all” of them!  Really? Yes',
            " abcdefghijklmnopqrstuvwxyz'.,?!-;:")"""
    )
    assert text == [
        "i have one thousand two hundred four books, all of them!",
        "really?",
        "yes.",
    ]
    assert len(speak(page, "One. Two.", "heart")) > 8_000


def test_phones_equal_those_of_the_package(page: Any) -> None:
    """Words of the lexicon, possessives and words that only the network knows."""
    texts = [
        "the church's bass don't stop-gap, zorblings!",
        "rock 'n' roll, xylophonist's flurm.",
        *random.Random(1).sample(sorted(load_pronouncer().lexicon), 200),
    ]
    numbers = page.evaluate(
        """async (texts) => {
            const pronouncer = await (await import('./phones.js')).Pronouncer.load('model');
            return texts.map((text) => pronouncer.numbers(text));
        }""",
        texts,
    )
    for text, found in zip(texts, numbers, strict=True):
        ids = zip(track_ids(text, phones=True), char_ids(text), strict=True)
        assert found == [(both - letter) // len(ALPHABET) for both, letter in ids], text


def test_a_text_without_words_is_refused(page: Any) -> None:
    assert not len(speak(page, "漢字", "heart"))
    assert "English" in page.inner_text("#status")


def test_a_missing_file_is_reported(browse: Callable[..., Any], address: str) -> None:
    page = browse(address)
    page.route("**/onnx.json", lambda route: route.fulfill(status=404))
    page.reload()
    page.wait_for_function("document.getElementById('status').textContent.includes('404')")
    assert page.is_disabled("#speak")
