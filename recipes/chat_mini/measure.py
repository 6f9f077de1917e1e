"""Ask a model test questions as `vocalmtp chat --native` does, and recognize what it says.

    python recipes/chat_mini/measure.py chat-small --data chat_small --output results/small

Writes the audio, a row per question and report.json: right answers as text and as recognized, the word
error rate of the speech against the text, and the first audio, in passes and in milliseconds of
processor time, which other programs hardly change.
"""

import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import vocalmtp
from vocalmtp.audio.io import Audio, resample
from vocalmtp.chat.history import Message
from vocalmtp.chat.responders import AnswerRequest, SpeechLMResponder
from vocalmtp.evaluation.scoring import (
    WordErrors,
    agreement,
    corpus_rate,
    speech_scores,
    text_scores,
)
from vocalmtp.recognizers.base import SAMPLE_RATE, build_recognizer


class Sink:
    """Collects an answer, and when its first audio came."""

    max_chars, live, think_seconds, tools = 200, False, None, ()

    def __init__(self, passes: list[int]):
        self.passes, self.begin = passes, time.process_time()
        self.full_text, self.chunks, self.errors = "", [], []
        self.first: tuple[int, float] | None = None

    def text(self, delta: str) -> None:
        """Keep a piece of text."""
        self.full_text += delta

    def audio(self, samples: np.ndarray, sample_rate: int, words: list[Any]) -> None:
        """Keep samples."""
        if len(samples) and self.first is None:
            self.first = self.passes[0], 1000 * (time.process_time() - self.begin)
        self.chunks.append(samples)

    def error(self, code: str, message: str) -> None:
        """Keep a failure."""
        self.errors.append(code)

    def mark(self, part: str) -> None:
        """Drop a latency."""

    def on_cancel(self, action: Any) -> Any:
        """Cancel nothing."""
        return nullcontext()


def count_passes(tts: vocalmtp.TTS) -> list[int]:
    """Return a list whose only number counts the passes of one position each."""
    runner, passes = tts.model.decoder, [0]
    step = runner.step

    def counted(*arguments: Any) -> Any:
        passes[0] += 1
        return step(*arguments)

    runner.step = counted
    tts.model.runner = runner
    return passes


def ask(responder: SpeechLMResponder, row: dict[str, Any], passes: list[int]) -> Sink:
    """Ask a question."""
    passes[0] = 0
    sink = Sink(passes)
    messages = [Message("user", row["question"])]
    responder.answer(AnswerRequest(messages=messages, voice=row["role"], seed=0), sink)
    return sink


def main() -> None:
    """Ask all test questions, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="exported model folder")
    parser.add_argument("--data", type=Path, default=Path("chat_small"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000, help="questions, from all over the list")
    parser.add_argument("--recognizer", default="whisper-tiny.en")
    arguments = parser.parse_args()
    tts = vocalmtp.load(arguments.model)
    responder, recognizer = SpeechLMResponder(tts), build_recognizer(arguments.recognizer)
    passes = count_passes(tts)
    lines = (arguments.data / "questions.jsonl").read_text("utf-8").splitlines()
    asked = [row for row in map(json.loads, lines) if row["split"] == "test"]
    asked = asked[:: max(1, len(asked) // arguments.limit)][: arguments.limit]
    arguments.output.mkdir(parents=True, exist_ok=True)
    ask(responder, asked[0], passes)  # warms up
    rows, errors = [], []
    for number, row in enumerate(asked):
        sink = ask(responder, row, passes)
        audio = Audio(np.concatenate([*sink.chunks, np.zeros(0, np.float32)]), tts.sample_rate)
        audio.save(arguments.output / f"{number:03d}.wav")
        heard = recognizer.transcribe(resample(audio.samples, audio.sample_rate, SAMPLE_RATE))
        errors.append(agreement(sink.full_text, heard))
        found = {"question": row["question"], "wanted": row["answer"], "text": sink.full_text}
        found |= {"heard": heard, "seconds": audio.duration, "first": sink.first}
        right = text_scores(sink.full_text, row["aliases"]), speech_scores(heard, row["aliases"])
        rows.append(found | {"right_text": right[0][0], "right_speech": right[1][0]})
    report = summary(rows, errors)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (arguments.output / "rows.jsonl").write_text(text, "utf-8")
    (arguments.output / "report.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


def summary(rows: list[dict[str, Any]], errors: list[WordErrors]) -> dict[str, Any]:
    """Return the figures of all questions."""
    first = [row["first"] for row in rows if row["first"]]
    rate = corpus_rate(errors)
    return {
        "questions": len(rows),
        "right_text": sum(row["right_text"] for row in rows),
        "right_speech": sum(row["right_speech"] for row in rows),
        "wer": [round(x, 4) for x in (rate.value, rate.low, rate.high)],
        "first_audio_passes": median(passes for passes, _ in first),
        "first_audio_ms": round(median(ms for _, ms in first), 1),
    }


if __name__ == "__main__":
    main()
