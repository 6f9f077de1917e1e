"""The page as a person uses it, over fakes that say one word a quarter of a second."""

import numpy as np
import pytest
import soundfile
from helpers.chat_fakes import CLERK, RATE, fake_room
from helpers.chat_page import answered, ask, picture, state

from vocalmtp.server.state import ServerLimits

WORDS = "One two three four five six seven eight.".split()

MARKS = """() => {
  window.marks = [];
  new MutationObserver(() => {
    const word = document.querySelector(".talk-answer mark")?.textContent;
    if (word && word !== window.marks.at(-1)?.[0]) window.marks.push([word, performance.now()]);
  }).observe(document.querySelector("#talk-log"), { childList: true, subtree: true });
}"""

# The least contrast of a text with what is behind it (WCAG 2, relative luminance).
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
def _left_alone(room):
    """Every test finds the room empty, with its own limits and nothing asked."""
    room.limits = ServerLimits()
    for answerer in room.answerers.values():
        answerer._writer.asked.clear()
    room.tts.used.clear()
    yield


@pytest.fixture
def pages(browse):
    """Opens pages that are closed after the test."""
    opened = []

    def open_it(*arguments, **options):
        opened.append(browse(*arguments, **options))
        return opened[-1]

    yield open_it
    for page in opened:
        page.context.close()


def test_the_word_that_sounds_is_marked(pages, fakes):
    page = pages(fakes)
    page.evaluate(MARKS)
    ask(page, "Count.")
    assert answered(page) == " ".join(WORDS)
    marks = page.evaluate("window.marks")
    found = [word for word, _ in marks]
    assert found == [word for word in WORDS if word in found]  # in their order
    assert len(found) >= 6
    places = np.array([WORDS.index(word) * 0.25 for word in found])
    times = np.array([time / 1000 for _, time in marks])
    late = (times - times[0]) - (places - places[0])
    assert np.abs(np.median(late)) < 0.2
    assert page.locator("mark").count() == 0
    assert page.get_attribute("#talk", "data-gaps") == "0"


def test_a_voice_interrupts_and_the_conversation_can_be_kept(pages, fakes, tones):
    page = pages(fakes, tones)
    page.click("#talk-button")
    page.wait_for_selector("#talk[data-interruptions='1']")
    assert page.locator(".talk-answer s").count() == 1
    answered(page, 2)
    heard = page.locator(".talk-user").all_inner_texts()
    assert len(heard) == 2 and set(heard) <= {"5 tenths", "6 tenths"}
    with page.expect_download() as download:
        page.click("#talk-download")
    assert download.value.suggested_filename == "conversation.wav"
    sound, rate = soundfile.read(download.value.path())
    assert rate == RATE
    user, answer = ((np.abs(sound) > 0.05).sum(axis=0) / rate).tolist()
    assert 0.6 < user < 1.1  # two tones of half a second
    assert 1.7 < answer < 4.0  # the second answer, and what was heard of the first


def test_the_sample_question_needs_no_microphone(pages, fakes):
    page = pages(fakes, allowed=False)
    page.click("#talk-sample")
    page.click("#talk-sample")  # once is enough
    assert answered(page) == " ".join(WORDS)
    assert page.inner_text(".talk-user") == "15 tenths"  # six words


def pick(page, label: str, option: str) -> None:
    page.get_by_label(label).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_voice_mode_and_role_are_picked_for_the_next_answer(pages, fakes, room):
    page = pages(fakes)
    ask(page, "Who are you?")
    state(page, "speaking")
    pick(page, "As", "clerk")  # brings its voice
    page.wait_for_function("document.querySelector('[aria-label=Voice]').value === 'bob'")
    assert page.get_attribute("#talk", "data-state") == "speaking"
    answered(page)
    ask(page, "And now?")
    answered(page, 2)
    systems = [asked[0][1] for asked in room.answerers["llm"]._writer.asked]
    assert systems == [room.config.system, CLERK.persona]
    assert room.tts.used == ["ann", "bob"]
    pick(page, "Voice", "ann")
    pick(page, "Who answers", "other")
    ask(page, "And who is that?")
    assert answered(page, 3) == "Other."
    assert room.answerers["other"]._writer.asked[0][0] == ("system", CLERK.persona)
    assert room.tts.used[-1] == "ann"


def test_a_lost_connection_is_made_again_with_what_was_picked(pages, fakes, room):
    page = pages(fakes)
    pick(page, "As", "clerk")
    ask(page, "Hello?")
    state(page, "speaking")
    page.evaluate("window.vocalmtp.socket.close()")
    page.wait_for_function("document.querySelector('#talk-status').textContent.includes('again')")
    state(page, "listening")
    ask(page, "Are you still there?")
    page.wait_for_function("document.querySelectorAll('.talk-answer').length === 2")
    state(page, "speaking")
    state(page, "listening")
    assert page.locator(".talk-answer").last.inner_text() == " ".join(WORDS)
    last = room.answerers["llm"]._writer.asked[-1]
    assert last[0] == ("system", CLERK.persona)
    assert last[-1] == ("user", "Are you still there?")
    page.click("#talk-button")
    page.wait_for_timeout(200)
    assert room.talking == 0  # the lost one and this one


def test_a_new_conversation_after_stop_begins_below_the_old_one(pages, fakes, room):
    page = pages(fakes)
    ask(page, "Hello?")
    state(page, "speaking")
    page.click("#talk-interrupt")
    page.wait_for_selector("#talk[data-interruptions='1']")
    page.click("#talk-button")
    state(page, "idle")
    ask(page, "Are you still there?")
    state(page, "speaking")
    assert answered(page, 2) == " ".join(WORDS)
    assert page.locator(".talk-answer s").count() == 1  # of the first, as it was
    assert page.locator(".talk-user").all_inner_texts() == ["Hello?", "Are you still there?"]
    assert "new conversation" in page.inner_text(".talk-note")
    assert "Hello?" not in str(room.answerers["llm"]._writer.asked[-1])
    with page.expect_download() as download:
        page.click("#talk-download")
    sound, rate = soundfile.read(download.value.path())
    assert (np.abs(sound[:, 1]) > 0.05).sum() / rate > 1.7  # the second, and some of the first


def test_an_answer_without_a_sound_ends_as_well(pages, fakes, room, monkeypatch):
    page = pages(fakes)
    for pieces in ((RuntimeError("no such luck"),), ("\u65e5\u672c\u8a9e",)):
        monkeypatch.setattr(room.answerers["llm"]._writer, "pieces", pieces)
        ask(page, "Hello?")
        state(page, "listening")
    assert "no such luck" in page.inner_text(".talk-note")
    assert page.inner_text(".talk-answer") == "\u65e5\u672c\u8a9e"


def test_who_comes_too_late_is_told_that_it_is_busy(pages, fakes, room):
    room.limits = ServerLimits(sessions=1)
    first, second = pages(fakes), pages(fakes)
    ask(first, "Hello?")
    state(first, "speaking")
    ask(second, "Hello?")
    state(second, "error")
    assert "busy" in second.inner_text("#talk-status")
    first.context.close()  # a closed tab frees its place
    second.wait_for_timeout(500)
    ask(second, "Hello again?")
    assert answered(second) == " ".join(WORDS)


def test_a_conversation_that_takes_too_long_is_ended_in_words(pages, fakes, room):
    room.limits = ServerLimits(minutes=0.01)
    page = pages(fakes)
    ask(page, "Hello?")
    state(page, "error")
    assert "time limit" in page.inner_text("#talk-status")


def test_a_password_opens_the_page_and_its_socket(pages):
    from helpers.chat_line import serving_room

    with serving_room(fake_room("Welcome."), auth="ann:se:cret") as port:
        address = f"http://127.0.0.1:{port}/"
        options = {"http_credentials": {"username": "ann", "password": "se:cret"}}
        page = pages(address, **options)
        ask(page, "Hello?")
        assert answered(page) == "Welcome."
        stranger = page.context.browser.new_context()
        assert stranger.request.get(address).status == 401
        stranger.close()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("", "not allowed"),
        ('() => Promise.reject(new DOMException("", "NotFoundError"))', "No microphone was found"),
        ('() => Promise.reject(new DOMException("", "NotReadableError"))', "another program"),
        ("undefined", "https"),
    ],
)
def test_a_microphone_that_cannot_be_used_is_explained(pages, fakes, broken, said):
    page = pages(fakes, allowed=False)
    if broken == "undefined":
        page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    elif broken:
        page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {broken}; }}")
    page.click("#talk-button")
    state(page, "error")
    assert said in page.inner_text("#talk-status")
    assert page.get_by_role("button", name="Talk", exact=True).is_visible()
    picture(page, "error")
    ask(page, "Then I type.")  # all else works
    assert answered(page) == " ".join(WORDS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_legibly(pages, fakes, scheme):
    page = pages(fakes, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    fits = "document.documentElement.scrollWidth <= 390"
    assert page.evaluate(fits)
    ask(page, "Pneumonoultramicroscopicsilicovolcanoconiosis" * 3)
    page.wait_for_selector(".talk-answer mark")
    picture(page, f"speaking-narrow-{scheme}")
    assert page.evaluate(fits)
    texts = [".talk-user", ".talk-answer", "mark", "#talk-label", "#talk-status", "#talk-wait"]
    contrast = page.evaluate(CONTRAST, [*texts, "#talk-ear"])
    assert min(contrast.values()) >= 4.5, contrast
    page.keyboard.press("Escape")
    page.wait_for_selector(".talk-answer s")
    picture(page, f"interrupted-narrow-{scheme}")
    assert page.evaluate(CONTRAST, [".talk-answer s"])[".talk-answer s"] >= 4.5
    assert page.evaluate(fits)
    dark = "document.body.classList.contains('dark')"
    assert page.evaluate(dark) == (scheme == "dark")


def test_all_of_it_works_by_keyboard(pages, fakes, tones):
    page = pages(fakes, tones)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "talk-button":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    state(page, "listening")
    assert (
        page.get_by_role("button", name="Stop", exact=True).get_attribute("aria-pressed") == "true"
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "talk-text"
    page.keyboard.type("Hello?")
    page.keyboard.press("Enter")
    state(page, "speaking")
    page.keyboard.press("Escape")
    page.wait_for_selector(".talk-answer s")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    state(page, "idle")
