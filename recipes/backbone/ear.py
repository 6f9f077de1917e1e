"""Ask a model over a text LM the 100 questions, by text and by ear, and listen to its answers.

    python recipes/backbone/ear.py --model backbone/models/from_mini --output backbone/ear

The questions are spoken by flite, which no training of the model has heard. The same command resumes.
"""

import argparse
import json
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from forgetting import ANSWER, matches, questions
from vocalmtp.audio.io import read_audio, resample
from vocalmtp.chat.history import Message
from vocalmtp.chat.pipeline import ChatPipeline, build_pipeline
from vocalmtp.evaluation.judges import SAMPLE_RATE
from vocalmtp.io.run_folder import JsonlStore
from vocalmtp.text import sayable

VOICE = "kal16"  # of flite


class NoSink:
    """Takes what an answer has besides its text."""

    think_seconds = None

    def thought(self, delta: str) -> None:
        """Drop a thought."""

    def on_cancel(self, action: Any) -> Any:
        """Cancel nothing."""
        return nullcontext()


def main() -> None:
    """Ask all questions that were not asked, and write ear.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a model over a text LM")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = JsonlStore(arguments.output / "rows.jsonl")
    pipeline = build_pipeline(arguments.model, responder="speech-lm")
    asked = list(questions())
    for number, (kind, question, aliases) in enumerate(asked):
        if rows.get(str(number)) is None:
            row = ask(pipeline, question, aliases, arguments.output / f"{number:03d}.wav")
            rows.append({"id": str(number), "kind": kind, **row})
    found = [rows.get(str(number)) or {} for number in range(len(asked))]
    keys = ("right_typed", "right_heard", "right_spoken", "same_question")
    counts = {key: sum(bool(row.get(key)) for row in found) for key in keys}
    text = json.dumps(counts | {"questions": len(asked)}, indent=1) + "\n"
    (arguments.output / "ear.json").write_text(text, encoding="utf-8")
    print(text)


def ask(pipeline: ChatPipeline, question: str, aliases: list[str], file: Path) -> dict[str, Any]:
    """Ask a question by text and by ear, and recognize the spoken answer to the second.

    Args:
        pipeline: the model and its recognizer.
        question: the text.
        aliases: right answers.
        file: for the spoken question.

    """
    recognizer, tts = pipeline.recognizer, pipeline.tts
    subprocess.run(["flite", "-voice", VOICE, "-t", question, "-o", str(file)], check=True)
    heard = recognizer.transcribe(read_audio(file, SAMPLE_RATE))
    typed, answer = (write(pipeline, text) for text in (question, heard))
    audio = tts(sayable(answer))
    spoken = recognizer.transcribe(resample(audio.samples, audio.sample_rate, SAMPLE_RATE))
    row = {"question": question, "heard": heard, "typed": typed, "answer": answer, "spoken": spoken}
    row["same_question"] = letters(question) == letters(heard)
    for key, text in (("typed", typed), ("heard", answer), ("spoken", spoken)):
        row[f"right_{key}"] = matches(text, aliases)
    return row


def write(pipeline: ChatPipeline, question: str) -> str:
    """Return the first ANSWER tokens of the text of an answer."""
    llm, text = pipeline.responder.llm, ""
    for piece in llm.write([Message("user", question)], NoSink()):
        text += piece
        if llm.count_tokens(text) >= ANSWER:
            break
    return text


def letters(text: str) -> str:
    """The letters and digits of a text, in lower case."""
    return "".join(filter(str.isalnum, text.lower()))


if __name__ == "__main__":
    main()
