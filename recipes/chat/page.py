"""Talk to the page of `vocalmtp chat` in Chromium, as a person would, and judge what was heard.

    python recipes/chat/page.py --output results/page
    python recipes/chat/page.py --output results/roles --role captain --role actress
    python recipes/chat/page.py --output results/own --model chat-mini --chat --native ASKED.wav ..

The microphone plays recorded questions. With roles, the page's picker is set to the next one before
every question. page.md has a row for every answer: what was asked, heard and said, how long it took
from the last of the voice to the first of the loudspeaker, and what the judges make of the sound.
conversation.wav is the page's own recording.
"""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import typer

import vocalmtp
from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.bench.chat import QUESTIONS
from vocalmtp.bench.chat_server import serving
from vocalmtp.chat.config import ChatConfig
from vocalmtp.evaluation import similarity
from vocalmtp.evaluation.intelligibility import hear, word_errors
from vocalmtp.optional import require
from vocalmtp.roles import load_role

FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream")
RATE = 16_000  # of the microphone
BEFORE = 3.0  # seconds of silence until the first question
SENTENCES = ("The boat came in before the rain.", "She counted seven birds on the old wall.")

# Notes when the user's voice was last there, and when the loudspeaker first answered it.
TAPS = """() => {
  const { microphone, loudspeaker } = window.vocalmtp;
  const tap = (context, source) => {
    const analyser = new AnalyserNode(context, { fftSize: 256 });
    const samples = new Float32Array(256);
    source.connect(analyser);
    return () => {
      analyser.getFloatTimeDomainData(samples);
      return samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    };
  };
  const user = tap(
    microphone.context,
    microphone.context.createMediaStreamSource(microphone.stream),
  );
  const answer = tap(loudspeaker.context, loudspeaker.node);
  let voice = 0;
  window.waited = [];
  setInterval(() => {
    const now = performance.now();
    if (user() > 0.01) voice = now;
    if (voice && answer() > 0) {
      window.waited.push(now - voice);
      voice = 0;
    }
  }, 2);
}"""


@dataclass(frozen=True)
class Answer:
    """One turn as the page had it; `sound` [N] is of the page's recording."""

    role: str
    heard: str
    said: str
    waited: float  # ms from the last of the voice to the first of the loudspeaker
    sound: np.ndarray
    rate: int


def questions_of(files: Sequence[Path]) -> list[np.ndarray]:
    """Samples [N] of every question; without files, what the mini model asks."""
    if files:
        return [read_audio(file, RATE) for file in files]
    tts = vocalmtp.load("mini")
    made = [tts(text, greedy=True) for text in QUESTIONS]
    return [vocalmtp.audio.io.resample(audio.samples, audio.sample_rate, RATE) for audio in made]


def microphone(questions: Sequence[np.ndarray], apart: float, path: Path) -> Path:
    """The questions, one every `apart` seconds, as a file for the microphone."""
    parts = [np.zeros(round(BEFORE * RATE), np.float32)]
    for question in questions:
        room = np.zeros(max(round(apart * RATE) - len(question), RATE), np.float32)
        parts += [question, room]
    return Audio(np.concatenate([*parts, np.zeros(60 * RATE, np.float32)]), RATE).save(path)


def talk(page: Any, count: int, roles: Sequence[str], output: Path) -> list[Answer]:
    """Press the button, and hear `count` answers out."""
    answers: list[Answer] = []
    before = 0
    page.click("#talk-button")
    page.wait_for_selector("#talk[data-state=listening]")
    page.evaluate(TAPS)
    for turn in range(count):
        role = roles[turn % len(roles)] if roles else ""
        if role:
            page.get_by_label("As").click()
            page.get_by_role("option", name=role, exact=True).click()
        page.wait_for_function(
            "(count) => document.querySelectorAll('.talk-answer').length > count", arg=turn
        )
        page.screenshot(path=output / f"page-{turn + 1}.png")
        page.wait_for_function(
            """(count) => document.querySelectorAll(".talk-answer").length === count
               && document.querySelector("#talk").dataset.state === "listening" """,
            arg=turn + 1,
        )
        with page.expect_download() as download:
            page.click("#talk-download")
        download.value.save_as(output / "conversation.wav")
        sound, rate = soundfile.read(output / "conversation.wav", dtype="float32")
        said = page.locator(".talk-answer").last.inner_text()
        heard = page.locator(".talk-user").last.inner_text()
        waited = page.evaluate("window.waited")[-1] - 1000 * ChatConfig().silence
        answers.append(Answer(role, heard, said, waited, sound[before:, 1], rate))
        before = len(sound)
    return answers


def role_targets(roles: Sequence[str], model: str, folder: Path) -> dict[str, np.ndarray]:
    """The speaker embedding [256] of every role's voice, as the model speaks beside the page."""
    tts, targets = vocalmtp.load(model), {}
    for role in roles:
        made = [tts(text, voice=load_role(role).voice, greedy=True) for text in SENTENCES]
        files = [audio.save(folder / f"{role}-{n}.wav") for n, audio in enumerate(made)]
        targets[role] = similarity.centroid([similarity.embed(file) for file in files])
    return targets


def table(answers: Sequence[Answer], targets: dict[str, np.ndarray], folder: Path) -> str:
    """The answers with what the judges say, as Markdown."""
    voices = [f"like {role}" for role in targets]
    rows = [["as", "heard", "said", "waited, ms", "word errors by ear", *voices]]
    for turn, answer in enumerate(answers, start=1):
        errors = word_errors(answer.said, hear(answer.sound, answer.rate)).rate
        row = [answer.role, answer.heard, answer.said, f"{answer.waited:.0f}", f"{errors:.0%}"]
        file = Audio(answer.sound, answer.rate).save(folder / f"answer-{turn}.wav")
        own = similarity.embed(file) if targets else None
        rows.append(row + [f"{own @ target:.2f}" for target in targets.values()])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what was measured.")],
    questions: Annotated[
        list[Path] | None, typer.Argument(help="Recordings.", show_default="what mini asks")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(help="Who answers, in turn; give it several times.")
    ] = None,
    apart: Annotated[float, typer.Option(min=1, help="Seconds from question to question.")] = 10.0,
    model: Annotated[str, typer.Option(help="Which model speaks.")] = "mini",
    chat: Annotated[str, typer.Option(help="More options of `vocalmtp chat`, in quotes.")] = "",
) -> None:
    """Talk to the page in Chromium, and judge what was heard."""
    output.mkdir(parents=True, exist_ok=True)
    playwright = require("playwright.sync_api")
    asked, roles = questions_of(questions or []), role or []
    sound = microphone(asked, apart, output / "microphone.wav")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={sound.resolve()}%noloop"]
    with (
        serving("--model", model, *shlex.split(chat)) as server,
        playwright.sync_playwright() as tool,
    ):
        browser = tool.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_context(permissions=["microphone"]).new_page()
        page.set_default_timeout(60_000)
        page.goto(server.page)
        page.wait_for_function("window.vocalmtp")
        answers = talk(page, len(asked), roles, output)
        gaps = page.get_attribute("#talk", "data-gaps")
        browser.close()
    targets = role_targets(list(dict.fromkeys(roles)), model, output) if roles else {}
    waited = sorted(answer.waited for answer in answers)
    longest = max(len(answer.sound) / answer.rate for answer in answers)
    text = table(answers, targets, output)
    text += (
        f"\n\nGaps: {gaps}. Waited {np.median(waited):.0f} ms [{waited[0]:.0f}, {waited[-1]:.0f}]"
    )
    text += f" beyond the silence that ends a turn. The longest turn took {longest:.1f} s.\n"
    (output / "page.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    typer.run(main)
