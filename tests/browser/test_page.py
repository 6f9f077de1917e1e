"""The page as a person uses it. Screenshots go to the folder that VOCALMTP_SCREENSHOTS names."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import soundfile
from chat_fakes import QUESTION

from vocalmtp.eval.intelligibility import hear, word_errors

WAV = """async () => {
  const bytes = new Uint8Array(await window.vocalmtp.recording.wav().arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}"""


def state(page: Any, name: str) -> None:
    page.wait_for_selector(f"#talk[data-state={name}]")


def picture(page: Any, name: str) -> None:
    folder = os.environ.get("VOCALMTP_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_question_is_answered_aloud(open_page, question):
    page = open_page(question)
    assert page.get_attribute("#talk", "data-state") == "idle"
    picture(page, "idle")
    page.focus("#talk-button")
    page.keyboard.press("Enter")
    state(page, "listening")
    picture(page, "listening")
    state(page, "speaking")
    page.wait_for_selector(".talk-answer mark")
    picture(page, "speaking")
    state(page, "listening")
    heard = page.inner_text(".talk-user")
    assert word_errors(QUESTION, heard).rate <= 0.5
    assert page.inner_text(".talk-answer") == heard
    assert page.inner_text("#talk-latency").startswith("answered after")
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(page.evaluate(WAV))))
    assert word_errors(QUESTION, hear(sound[:, 0].astype("float32"), rate)).rate <= 0.6
    assert word_errors(heard, hear(sound[:, 1].astype("float32"), rate)).rate <= 0.6
    page.click("#talk-button")
    state(page, "idle")


def test_typing_interrupting_and_a_narrow_dark_page(open_page):
    page = open_page(viewport={"width": 375, "height": 740}, color_scheme="dark")
    page.fill("#talk-text", "One, two, three, four, five, six, seven, eight, nine, ten.")
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk-answer mark")
    picture(page, "speaking-narrow-dark")
    page.keyboard.press("Escape")
    page.wait_for_selector(".talk-answer s")
    assert page.get_attribute("#talk", "data-interruptions") == "1"
    kept = page.inner_text(".talk-answer").replace(page.inner_text(".talk-answer s"), "")
    assert "One, two, three, four, five, six, seven, eight, nine, ten.".startswith(kept.strip())
    picture(page, "interrupted-narrow-dark")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 375


def test_a_microphone_that_is_not_allowed_is_explained(open_page):
    page = open_page(allowed=False)
    page.click("#talk-button")
    state(page, "error")
    assert "not allowed" in page.inner_text("#talk-status")
    picture(page, "error")
