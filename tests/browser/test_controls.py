"""The controls of the page, over fakes whose answers have one word every quarter of a second."""

import time

import numpy as np
import pytest
import soundfile
from helpers.chat_fakes import CLERK, RATE, ThinkingLLM, fake_server
from helpers.chat_page import ask, screenshot, wait_for_answer, wait_for_state

from vocalmtp.server.socket import CLOSE_MESSAGES
from vocalmtp.server.state import ServerLimits

WORDS = "One two three four five six seven eight.".split()

MARKS = """() => {
  window.marks = [];
  new MutationObserver(() => {
    const word = document.querySelector(".talk-answer mark")?.textContent;
    if (word && word !== window.marks.at(-1)) window.marks.push(word);
  }).observe(document.querySelector("#talk-log"), { childList: true, subtree: true });
}"""

# The lowest contrast of a text with its background (WCAG 2, relative luminance).
CONTRAST = """(names) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => {
      const share = c / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = paint(getComputedStyle(element).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  return Object.fromEntries(names.map((name) => {
    const element = document.querySelector(name);
    const pair = [light(paint(getComputedStyle(element).color)), light(behind(element))].sort();
    return [name, (pair[1] + 0.05) / (pair[0] + 0.05)];
  }));
}"""


@pytest.fixture(autouse=True)
def _reset(state):
    """Reset limits and records of the server before every test."""
    state.limits = ServerLimits()
    for responder in state.responders.values():
        responder.llm.requests.clear()
    state.tts.used.clear()
    yield


@pytest.fixture
def pages(browse):
    """Opens pages that are closed after the test."""
    opened = []

    def open_page(*arguments, **options):
        opened.append(browse(*arguments, **options))
        return opened[-1]

    yield open_page
    for page in opened:
        page.context.close()


@pytest.mark.parametrize("show", [False, True])
def test_thinking_is_a_state_and_thoughts_are_shown_on_request(
    pages, fakes, state, monkeypatch, show
):
    llm = ThinkingLLM("<think>Two times six", 2.0, ".</think>One two.")
    monkeypatch.setattr(state.responders["llm"], "llm", llm)
    config = state.config.model_copy(update={"show_thoughts": show})
    monkeypatch.setattr(state, "config", config)
    page = pages(fakes)
    ask(page, "What is it?")
    page.wait_for_function(
        "() => document.querySelector('#talk-status').textContent.startsWith('Thinking')"
    )
    screenshot(page, f"thinking-{show}")
    assert wait_for_answer(page) == "One two."
    shown = [text.strip() for text in page.locator(".talk-thoughts").all_inner_texts()]
    assert shown == ["Two times six."] * show


def test_current_word_is_highlighted(pages, fakes):
    page = pages(fakes)
    page.evaluate(MARKS)
    ask(page, "Count.")
    assert wait_for_answer(page) == " ".join(WORDS)
    found = page.evaluate("window.marks")
    assert found == [word for word in WORDS if word in found]  # in their order
    assert len(found) >= 3
    assert page.locator("mark").count() == 0
    assert page.get_attribute("#talk", "data-gaps") == "0"


def test_lines_of_an_answer_are_kept(pages, fakes, state, monkeypatch):
    monkeypatch.setattr(state.responders["llm"].llm, "pieces", ("One:\n  two.\nThree.",))
    page = pages(fakes)
    ask(page, "List them.")
    assert wait_for_answer(page) == "One:\n  two.\nThree."


def test_voice_interrupts_and_conversation_is_downloaded(pages, fakes, tones):
    page = pages(fakes, tones)
    page.click("#talk-button")
    page.wait_for_selector("#talk[data-interruptions='1']")
    assert page.locator(".talk-answer s").count() == 1
    wait_for_answer(page, 2)
    transcripts = page.locator(".talk-user").all_inner_texts()
    assert len(transcripts) == 2 and set(transcripts) <= {"5 tenths", "6 tenths"}
    with page.expect_download() as download:
        page.click("#talk-download")
    assert download.value.suggested_filename == "conversation.wav"
    sound, rate = soundfile.read(download.value.path())
    assert rate == RATE
    user, answer = ((np.abs(sound) > 0.05).sum(axis=0) / rate).tolist()
    assert 0.6 < user < 1.1  # two tones of half a second
    assert 1.7 < answer < 4.0  # the second answer, and the played part of the first one


def test_sample_question_needs_no_microphone(pages, fakes):
    page = pages(fakes, allowed=False)
    page.click("#talk-sample")
    page.click("#talk-sample")  # no effect
    assert wait_for_answer(page) == " ".join(WORDS)
    assert page.inner_text(".talk-user") == "15 tenths"  # six words


def wait_until_empty(page, state) -> None:
    """Wait until the server has no conversation."""
    deadline = time.monotonic() + 60
    while state.active:
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def pick(page, label: str, option: str) -> None:
    page.get_by_label(label).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_voice_model_and_persona_change_from_the_next_answer_on(pages, fakes, state):
    page = pages(fakes)
    ask(page, "Who are you?")
    wait_for_state(page, "speaking")
    pick(page, "Persona", "clerk")  # brings its voice
    page.wait_for_function("document.querySelector('[aria-label=Voice]').value === 'bob'")
    assert page.get_attribute("#talk", "data-state") == "speaking"
    wait_for_answer(page)
    ask(page, "And now?")
    wait_for_answer(page, 2)
    systems = [messages[0][1] for messages in state.responders["llm"].llm.requests]
    assert systems == [state.config.system, CLERK.persona]
    assert state.tts.used == ["ann", "bob"]
    pick(page, "Voice", "ann")
    pick(page, "Answers by", "other")
    ask(page, "And who is that?")
    assert wait_for_answer(page, 3) == "Other."
    assert state.responders["other"].llm.requests[0][0] == ("system", CLERK.persona)
    assert state.tts.used[-1] == "ann"


def test_lost_connection_is_reopened_with_the_settings(pages, fakes, state):
    page = pages(fakes)
    pick(page, "Persona", "clerk")
    ask(page, "Hello?")
    wait_for_state(page, "speaking")
    page.evaluate("window.vocalmtp.socket.close()")
    wait_for_state(page, "connecting")
    wait_for_state(page, "listening")
    ask(page, "Are you still there?")
    page.wait_for_function("document.querySelectorAll('.talk-answer').length === 2")
    wait_for_state(page, "speaking")
    wait_for_state(page, "listening")
    assert page.locator(".talk-answer").last.inner_text() == " ".join(WORDS)
    last = state.responders["llm"].llm.requests[-1]
    assert last[0] == ("system", CLERK.persona)
    assert last[-1] == ("user", "Are you still there?")
    page.click("#talk-button")
    wait_until_empty(page, state)  # the lost conversation, and this one


def test_new_conversation_after_stop_is_shown_below_the_old_one(pages, fakes, state):
    page = pages(fakes)
    ask(page, "Hello?")
    wait_for_state(page, "speaking")
    page.click("#talk-interrupt")
    page.wait_for_selector("#talk[data-interruptions='1']")
    page.click("#talk-button")
    wait_for_state(page, "idle")
    ask(page, "Are you still there?")
    wait_for_state(page, "speaking")
    assert wait_for_answer(page, 2) == " ".join(WORDS)
    assert page.locator(".talk-answer s").count() == 1  # in the first one
    assert page.locator(".talk-user").all_inner_texts() == ["Hello?", "Are you still there?"]
    assert page.locator(".talk-note").count() == 1
    assert "Hello?" not in str(state.responders["llm"].llm.requests[-1])
    with page.expect_download() as download:
        page.click("#talk-download")
    sound, rate = soundfile.read(download.value.path())
    assert (
        np.abs(sound[:, 1]) > 0.05
    ).sum() / rate > 1.7  # the second one, and a part of the first one


def test_answer_without_audio_ends(pages, fakes, state, monkeypatch):
    page = pages(fakes)
    for pieces in ((RuntimeError("no such luck"),), ("\u65e5\u672c\u8a9e",)):
        monkeypatch.setattr(state.responders["llm"].llm, "pieces", pieces)
        ask(page, "Hello?")
        wait_for_state(page, "listening")
    assert "no such luck" in page.inner_text(".talk-note")
    assert page.inner_text(".talk-answer") == "\u65e5\u672c\u8a9e"


def test_busy_server_is_reported(pages, fakes, state):
    state.limits = ServerLimits(sessions=1)
    first, second = pages(fakes), pages(fakes)
    ask(first, "Hello?")
    wait_for_state(first, "speaking")
    ask(second, "Hello?")
    wait_for_state(second, "error")
    assert second.inner_text("#talk-status") == CLOSE_MESSAGES["busy"]
    first.context.close()  # frees its place
    wait_until_empty(second, state)
    ask(second, "Hello again?")
    assert wait_for_answer(second) == " ".join(WORDS)


def test_time_limit_is_reported(pages, fakes, state):
    state.limits = ServerLimits(minutes=0.01)
    page = pages(fakes)
    ask(page, "Hello?")
    wait_for_state(page, "error")
    assert page.inner_text("#talk-status") == CLOSE_MESSAGES["time_limit"]


def test_password_opens_page_and_socket(pages):
    from helpers.chat_server import serving

    with serving(fake_server("Welcome."), auth="ann:se:cret") as port:
        address = f"http://127.0.0.1:{port}/"
        options = {"http_credentials": {"username": "ann", "password": "se:cret"}}
        page = pages(address, **options)
        ask(page, "Hello?")
        assert wait_for_answer(page) == "Welcome."
        stranger = page.context.browser.new_context()
        assert stranger.request.get(address).status == 401
        stranger.close()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", "blocked"),
        ('() => Promise.reject(new DOMException("", "NotFoundError"))', "No microphone was found"),
        ('() => Promise.reject(new DOMException("", "NotReadableError"))', "another program"),
        ("undefined", "https"),
    ],
)
def test_unusable_microphone_is_explained(pages, fakes, broken, message):
    page = pages(fakes, allowed=False)
    if broken == "undefined":
        page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    elif broken:
        page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {broken}; }}")
    page.click("#talk-button")
    wait_for_state(page, "error")
    assert message in page.inner_text("#talk-status")
    assert page.get_by_role("button", name="Talk", exact=True).is_visible()
    screenshot(page, "error")
    ask(page, "Then I type.")  # everything else works
    assert wait_for_answer(page) == " ".join(WORDS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_legible_on_a_phone(pages, fakes, state, monkeypatch, scheme):
    monkeypatch.setattr(state.responders["llm"].llm, "pieces", (" ".join(WORDS * 20),))
    page = pages(fakes, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    fits = "document.documentElement.scrollWidth <= 390"
    assert page.evaluate(fits)
    ask(page, "Pneumonoultramicroscopicsilicovolcanoconiosis" * 3)
    page.wait_for_selector(".talk-answer mark")
    screenshot(page, f"speaking-narrow-{scheme}")
    assert page.evaluate(fits)
    texts = [
        ".talk-user",
        ".talk-answer",
        "mark",
        "#talk-label",
        "#talk-status",
        "#talk-latency-total",
    ]
    contrast = page.evaluate(CONTRAST, [*texts, "#talk-about"])
    assert min(contrast.values()) >= 4.5, contrast
    page.keyboard.press("Escape")
    page.wait_for_selector(".talk-answer s")
    screenshot(page, f"interrupted-narrow-{scheme}")
    assert page.evaluate(CONTRAST, [".talk-answer s"])[".talk-answer s"] >= 4.5
    assert page.evaluate(fits)
    dark = "document.body.classList.contains('dark')"
    assert page.evaluate(dark) == (scheme == "dark")


def test_page_is_usable_by_keyboard(pages, fakes, tones):
    page = pages(fakes, tones)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "talk-button":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    wait_for_state(page, "listening")
    assert (
        page.get_by_role("button", name="Stop", exact=True).get_attribute("aria-pressed") == "true"
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "talk-text"
    page.keyboard.type("Hello?")
    page.keyboard.press("Enter")
    wait_for_state(page, "speaking")
    page.keyboard.press("Escape")
    page.wait_for_selector(".talk-answer s")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    wait_for_state(page, "idle")
