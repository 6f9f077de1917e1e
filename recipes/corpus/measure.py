"""Measure the teachers' voices: words that Whisper tiny.en recognises, and processor time.

python recipes/corpus/measure.py --teachers hibari,kokoro
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

import texts
from judge import errors, load_whisper
from teachers import NAMES, RATE, Misread, load_teacher


def sentences(count: int) -> list[str]:
    """Sentences of ``test.txt``, evenly spaced."""
    lines = texts.read_lines("test.txt")
    return lines[5 :: len(lines) // count][:count]


def measure(name: str, count: int) -> Iterator[tuple[str, float, float]]:
    """Yield voice, word error rate and processor seconds a second of speech of a teacher."""
    teacher, transcribe = load_teacher(name), load_whisper()
    for voice in teacher.voices.values():
        wrong = words = 0
        speech = spent = 0.0
        for text in sentences(count):
            start = time.process_time()
            try:
                samples = teacher.speak(text, voice).samples
            except Misread:
                continue
            spent += time.process_time() - start
            speech += len(samples) / RATE
            found = errors(text, transcribe(samples, RATE))
            wrong, words = wrong + found[0], words + found[1]
        yield voice.name, wrong / max(words, 1), spent / max(speech, 1e-9)


def main(
    teachers: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(NAMES),
    count: Annotated[int, typer.Option(help="Sentences of each voice.")] = 12,
) -> None:
    """Print a Markdown table of every voice's word error rate and processor time."""
    print("| teacher | voice | WER % | seconds a second of speech |\n|---|---|---|---|", flush=True)
    for name in teachers.split(","):
        for voice, rate, seconds in measure(name, count):
            print(f"| {name} | {voice} | {100 * rate:.1f} | {seconds:.3f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
