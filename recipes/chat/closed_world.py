"""Ask spoken questions of common knowledge, and check by ear whether the spoken answers are right.

    vocalmtp get smollm2-135m whisper-tiny.en
    python recipes/chat/closed_world.py recipes/chat/closed.txt --output results/closed

Every line of the list is a question, a tab, and right answers separated by "|". The voices of the
questions are those of questions.py, and every question begins a conversation. An answer is right if a
judge hears one of the right answers in it; beside it, whether its text has one, and whether the
language model's has one when the question is typed. Each recognizer's word error rate over the
questions is compared.
"""

import re
import sys
from itertools import cycle
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vocalmtp.audio.io import resample
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.pipeline import build_pipeline
from vocalmtp.chat.recorded import SETTINGS
from vocalmtp.chat.session import ChatSession
from vocalmtp.config import parse
from vocalmtp.evaluation.report import markdown_table
from vocalmtp.evaluation.scoring import corpus_rate, spoken_form, word_errors
from vocalmtp.io.progress import track
from vocalmtp.recognizers.base import SAMPLE_RATE, build_recognizer

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "finetune")]
import unheard  # noqa: E402
from conversation import answer  # noqa: E402
from questions import VOICES  # noqa: E402

OTHER = "pocketsphinx"  # recognizer to compare with


def holds(text: str, answers: list[str]) -> bool:
    """Whether `text` has one of the answers as whole words."""
    wanted = "|".join(re.escape(spoken_form(each)) for each in answers)
    # Digits of a number are separate words: "2" is not in "1 2".
    return re.search(rf"(?<!\d )(?<!\w)(?:{wanted})(?!\w)(?! \d)", spoken_form(text)) is not None


def typed(session: ChatSession, question: str) -> str:
    """The text of the answer to a typed question."""
    session.ask(question)
    for event in session.events():
        if event.kind == "finished":
            return str(event.text)
    return ""


def main(
    questions: Annotated[Path, typer.Argument(help="Questions with right answers.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Without its suffix.")],
    llm: Annotated[str, typer.Option(help="See vocalmtp chat.")] = "smollm2-135m",
    recognizer: Annotated[str, typer.Option(help="See vocalmtp chat.")] = "whisper-tiny.en",
    judge: Annotated[
        str, typer.Option(help="Recognizer that hears the answers.")
    ] = "whisper-tiny.en",
) -> None:
    """Ask the questions of a list."""
    lines = [line.split("\t") for line in questions.read_text("utf-8").splitlines() if line]
    pipeline = build_pipeline(llm=llm, recognizer=recognizer)
    config = parse(ChatConfig, SETTINGS, "chat")
    ears = {recognizer: pipeline.recognizer, OTHER: build_recognizer(OTHER)}
    listener = build_recognizer(judge)
    rows, right, errors = [], np.zeros(3, int), {name: [] for name in ears}
    for (question, answers), voice in zip(
        track(lines, len(lines), "questions"), cycle(VOICES), strict=False
    ):
        known = answers.split("|")
        samples = resample(unheard.speak(question, voice), unheard.RATE, SAMPLE_RATE)
        for name, ear in ears.items():
            errors[name].append(word_errors(question, ear.transcribe(samples)))
        with pipeline.session(config=config) as session:
            heard, text, audio = answer(session, samples)
        with pipeline.session(config=config) as session:
            by_text = typed(session, question)
        spoken = listener.transcribe(np.concatenate(audio)) if audio else ""
        checks = [holds(each, known) for each in (spoken, text, by_text)]
        right += checks
        marks = ["yes" if check else "no" for check in checks]
        rows.append([voice, question, heard, text, spoken, *marks])
    columns = ["voice", "question", "recognized", "answer", "heard by the judge"]
    columns += ["right by ear", "right in text", "right if typed"]
    rows.append(["all", f"{len(lines)}", "", "", "", *[str(count) for count in right]])
    rates = [[name, corpus_rate(each).format("%", 1)] for name, each in errors.items()]
    tables = [
        markdown_table(columns, rows),
        markdown_table(["recognizer", "WER of the questions"], rates),
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    print(output.with_suffix(".md").read_text("utf-8"))


if __name__ == "__main__":
    typer.run(main)
