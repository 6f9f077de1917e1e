"""Use the page of `vocalmtp chat` in Chromium as a person would, and judge the answers.

    python recipes/chat/page.py --output results/page
    python recipes/chat/page.py --output results/roles --role captain --role actress
    python recipes/chat/page.py --output results/own --model chat-mini --chat --native QUESTION.wav ..

The browser's microphone plays recorded questions. With roles, the page's picker is set to the next
one before every question. page.md has a row for every answer: transcript and text, the time from the
end of the user's voice to the first output of the loudspeaker, and the judges' scores of its audio.
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
from vocalmtp.audio.io import Audio, read_audio, resample
from vocalmtp.bench.chat import QUESTIONS, serving
from vocalmtp.chat.config import ChatConfig
from vocalmtp.evaluation.judges import Judges, SpeakerJudge
from vocalmtp.evaluation.metrics import centroid
from vocalmtp.evaluation.report import markdown_table
from vocalmtp.evaluation.scoring import word_errors
from vocalmtp.optional import require
from vocalmtp.recognizers.base import SAMPLE_RATE
from vocalmtp.roles import load_role

FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream")
BEFORE = 3.0  # seconds of silence until the first question
SENTENCES = ("The boat came in before the rain.", "She counted seven birds on the old wall.")

# Measures from the user's last voice in the microphone to the answer's first loudspeaker output.
TAPS = """() => {
  const { microphone, loudspeaker } = window.vocalmtp;
  const peakOf = (context, source) => {
    const analyser = new AnalyserNode(context, { fftSize: 256 });
    const samples = new Float32Array(256);
    source.connect(analyser);
    return () => {
      analyser.getFloatTimeDomainData(samples);
      return samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    };
  };
  const user = peakOf(
    microphone.context,
    microphone.context.createMediaStreamSource(microphone.stream),
  );
  const answer = peakOf(loudspeaker.context, loudspeaker.node);
  let voice = 0;
  window.latencies = [];
  setInterval(() => {
    const now = performance.now();
    if (user() > 0.01) voice = now;
    if (voice && answer() > 0) {
      window.latencies.push(now - voice);
      voice = 0;
    }
  }, 2);
}"""


@dataclass(frozen=True)
class Answer:
    """One turn on the page.

    Attributes:
        latency: ms from the user's last voice to the first output of the loudspeaker, without the
            silence that ends a turn.
        samples: [N], of the page's recording.
    """

    role: str
    transcript: str
    text: str
    latency: float
    samples: np.ndarray
    rate: int


def load_questions(files: Sequence[Path]) -> list[np.ndarray]:
    """Return the samples [N] of every question; without files, those of the mini model."""
    if files:
        return [read_audio(file, SAMPLE_RATE) for file in files]
    tts = vocalmtp.load("mini")
    spoken = [tts(text, greedy=True) for text in QUESTIONS]
    return [resample(audio.samples, audio.sample_rate, SAMPLE_RATE) for audio in spoken]


def write_microphone(questions: Sequence[np.ndarray], interval: float, path: Path) -> Path:
    """Write the file of the microphone: a question every `interval` seconds."""
    parts = [np.zeros(round(BEFORE * SAMPLE_RATE), np.float32)]
    for question in questions:
        pause = max(round(interval * SAMPLE_RATE) - len(question), SAMPLE_RATE)
        parts += [question, np.zeros(pause, np.float32)]
    end = np.zeros(60 * SAMPLE_RATE, np.float32)
    return Audio(np.concatenate([*parts, end]), SAMPLE_RATE).save(path)


def converse(page: Any, count: int, roles: Sequence[str], output: Path) -> list[Answer]:
    """Press the button, and wait for `count` answers to be played."""
    answers: list[Answer] = []
    before = 0
    page.click("#talk-button")
    page.wait_for_selector("#talk[data-state=listening]")
    page.evaluate(TAPS)
    for turn in range(count):
        role = roles[turn % len(roles)] if roles else ""
        if role:
            page.get_by_label("Persona").click()
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
        samples, rate = soundfile.read(output / "conversation.wav", dtype="float32")
        text = page.locator(".talk-answer").last.inner_text()
        transcript = page.locator(".talk-user").last.inner_text()
        latency = page.evaluate("window.latencies")[-1] - 1000 * ChatConfig().end_silence
        answers.append(Answer(role, transcript, text, latency, samples[before:, 1], rate))
        before = len(samples)
    return answers


def role_targets(
    roles: Sequence[str], model: str, folder: Path, judge: SpeakerJudge
) -> dict[str, np.ndarray]:
    """Return the speaker embedding [D] of every role's voice, of speech outside of the page."""
    tts, targets = vocalmtp.load(model), {}
    for role in roles:
        spoken = [tts(text, voice=load_role(role).voice, greedy=True) for text in SENTENCES]
        for number, audio in enumerate(spoken):
            audio.save(folder / f"{role}-{number}.wav")
        targets[role] = centroid(
            [judge.embed(resample(a.samples, a.sample_rate, SAMPLE_RATE)) for a in spoken]
        )
    return targets


def table(
    answers: Sequence[Answer], targets: dict[str, np.ndarray], folder: Path, judges: Judges
) -> str:
    """Return the answers and their scores as a Markdown table."""
    voices = [f"similarity to {role}" for role in targets]
    head = ["persona", "transcript", "answer", "latency, ms", "WER of the audio", *voices]
    rows = []
    for turn, answer in enumerate(answers, start=1):
        samples = resample(answer.samples, answer.rate, SAMPLE_RATE)
        errors = word_errors(answer.text, judges.recognizer.transcribe(samples)).rate
        latency = f"{answer.latency:.0f}"
        row = [answer.role, answer.transcript, answer.text, latency, f"{errors:.0%}"]
        Audio(answer.samples, answer.rate).save(folder / f"answer-{turn}.wav")
        embedding = judges.speaker.embed(samples) if targets else np.zeros(1)
        rows.append(row + [f"{embedding @ target:.2f}" for target in targets.values()])
    return markdown_table(head, rows)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    questions: Annotated[
        list[Path] | None, typer.Argument(help="Recordings.", show_default="spoken by mini")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(help="Personas, in turn; give it several times.")
    ] = None,
    interval: Annotated[
        float, typer.Option(min=1, help="Seconds from one question to the next.")
    ] = 10.0,
    model: Annotated[str, typer.Option(help="The model that speaks.")] = "mini",
    chat: Annotated[str, typer.Option(help="Other options of `vocalmtp chat`, in quotes.")] = "",
) -> None:
    """Use the page in Chromium, and judge the answers."""
    output.mkdir(parents=True, exist_ok=True)
    playwright = require("playwright.sync_api")
    samples, roles = load_questions(questions or []), role or []
    microphone = write_microphone(samples, interval, output / "microphone.wav")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone.resolve()}%noloop"]
    with (
        serving("--model", model, *shlex.split(chat)) as server,
        playwright.sync_playwright() as tool,
    ):
        browser = tool.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_context(permissions=["microphone"]).new_page()
        page.set_default_timeout(max(60, 3 * interval) * 1000)
        page.goto(server.page)
        page.wait_for_function("window.vocalmtp")
        answers = converse(page, len(samples), roles, output)
        gaps = page.get_attribute("#talk", "data-gaps")
        browser.close()
    judges, targets = Judges(), {}
    if roles:
        targets = role_targets(list(dict.fromkeys(roles)), model, output, judges.speaker)
    latencies = sorted(answer.latency for answer in answers)
    longest = max(len(answer.samples) / answer.rate for answer in answers)
    text = (
        f"{table(answers, targets, output, judges)}\n\n"
        f"Gaps: {gaps}. Latency {np.median(latencies):.0f} ms [{latencies[0]:.0f}, "
        f"{latencies[-1]:.0f}] beyond the silence that ends a turn. The longest turn took "
        f"{longest:.1f} s.\n"
    )
    (output / "page.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    typer.run(main)
