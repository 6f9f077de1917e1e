"""The page with the mini model: a spoken question, and an interruption.

Screenshots are saved in the folder that VOCALMTP_SCREENSHOTS names. VOCALMTP_INTERRUPTIONS is the number
of interruptions, whose latency `pytest -s` prints.
"""

import os
import statistics
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.chat_fakes import QUESTION
from helpers.chat_page import ask, screenshot, wait_for_answer, wait_for_state

import vocalmtp
from vocalmtp.audio.io import Audio, resample
from vocalmtp.evaluation.scoring import word_errors
from vocalmtp.recognizers.base import SAMPLE_RATE, build_recognizer

STORY = (
    "Once upon a time there was a small brown fox who lived under an old oak tree and walked "
    "every morning to the river to look at the boats and the birds and the children who played"
)
INTERRUPTIONS = int(os.environ.get("VOCALMTP_INTERRUPTIONS", "1"))
INTERVAL = 8.0  # seconds between them

# Times of the first voice of the user, of the event, and of the last output of the loudspeaker.
WATCH = """() => {
  const { microphone, loudspeaker } = window.vocalmtp;
  const peakOf = (context, source, size) => {
    const analyser = new AnalyserNode(context, { fftSize: size });
    source.connect(analyser);
    const samples = new Float32Array(size);
    return () => {
      analyser.getFloatTimeDomainData(samples);
      return samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    };
  };
  const source = microphone.context.createMediaStreamSource(microphone.stream);
  const user = peakOf(microphone.context, source, 256);
  const answer = peakOf(loudspeaker.context, loudspeaker.node, 128);
  const seen = (window.seen = { begun: 0, voice: 0, event: 0, output: 0 });
  const { onInterrupted } = window.vocalmtp;
  window.vocalmtp.onInterrupted = function (event) {
    seen.event = performance.now();
    onInterrupted.call(this, event);
  };
  setInterval(() => {
    const now = performance.now();
    if (answer() > 0) {
      seen.begun ||= now;
      if (!seen.event || now - seen.event < 1000) seen.output = now;
    }
    if (seen.begun && user() > 0.02) seen.voice ||= now;
  }, 2);
}"""


def envelope(samples: np.ndarray, rate: int) -> np.ndarray:
    """RMS of every 10 ms."""
    size = rate // 100
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return np.sqrt((frames**2).mean(1))


def max_correlation(part: np.ndarray, envelope: np.ndarray) -> float:
    """The highest correlation of `part` with a window of another envelope."""
    windows = np.lib.stride_tricks.sliding_window_view(envelope, len(part))
    windows = windows - windows.mean(1, keepdims=True)
    part = part - part.mean()
    norms = np.linalg.norm(windows, axis=1) * np.linalg.norm(part) + 1e-9
    return float((windows @ part / norms).max())


def test_spoken_question_is_answered_by_speech(browse, mini, question):
    page = browse(mini, question)
    assert page.get_attribute("#talk", "data-state") == "idle"
    screenshot(page, "idle")
    page.focus("#talk-button")
    page.keyboard.press("Enter")
    wait_for_state(page, "listening")
    screenshot(page, "listening")
    wait_for_state(page, "speaking")
    page.wait_for_selector(".talk-answer mark")
    screenshot(page, "speaking")
    answer = wait_for_answer(page)
    transcript = page.inner_text(".talk-user")
    assert word_errors(QUESTION, transcript).rate <= 0.5
    assert answer == transcript
    assert page.inner_text("#talk-latency-total")
    with page.expect_download() as download:
        page.click("#talk-download")
    samples, rate = soundfile.read(download.value.path(), dtype="float32")
    spoken = vocalmtp.load("mini")(QUESTION, greedy=True)
    expected = envelope(spoken.samples, spoken.sample_rate)
    assert max_correlation(expected, envelope(samples[:, 0], rate)) > 0.75  # other speech: 0.44
    recognized = build_recognizer().transcribe(resample(samples[:, 1], rate, SAMPLE_RATE))
    assert word_errors(answer, recognized).rate <= 0.6
    page.click("#talk-button")
    wait_for_state(page, "idle")


@pytest.fixture(scope="module")
def interruptions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for the microphone: the same words, one INTERVAL apart."""
    speech = vocalmtp.load("mini")("Wait a moment, please.", greedy=True)
    quiet = np.zeros(round(INTERVAL * speech.sample_rate), np.float32)
    samples = np.concatenate([np.concatenate([quiet, speech.samples])] * INTERRUPTIONS + [quiet])
    path = tmp_path_factory.mktemp("interruptions") / "microphone.wav"
    return Audio(samples, speech.sample_rate).save(path)


def test_voice_of_the_user_interrupts_the_answer(browse, mini, interruptions):
    page = browse(mini, interruptions)
    page.click("#talk-button")
    wait_for_state(page, "listening")
    page.evaluate(WATCH)
    taken, known = [], []
    for turn in range(INTERRUPTIONS):
        ask(page, STORY)
        page.wait_for_selector(f"#talk[data-interruptions='{turn + 1}']")
        page.wait_for_timeout(300)
        seen = page.evaluate("window.seen")
        assert seen["begun"] < seen["voice"] < seen["event"]
        taken.append(seen["output"] - seen["voice"])
        known.append(seen["event"] - seen["voice"])
        crossed = page.locator(".talk-answer s").last.inner_text()
        assert crossed and STORY.endswith(crossed)
        wait_for_answer(page, 2 * turn + 2)  # the echo of the interruption
        page.evaluate("Object.assign(window.seen, { begun: 0, voice: 0, event: 0, output: 0 })")
    print(
        f"\nvoice to silence: {statistics.median(taken):.0f} ms {sorted(map(round, taken))}, "
        f"of which until the event: {statistics.median(known):.0f} ms"
    )
