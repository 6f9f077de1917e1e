"""Write a small part of the closed world, with answers that a model speaks. Run with --help."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

RECIPES = Path(__file__).parent.parent
sys.path += [str(RECIPES / "roletriviaqa_mini"), str(RECIPES / "corpus")]  # imported by name

import vocalmtp  # noqa: E402
from questions import Row, Sizes, make_questions, write_questions  # noqa: E402
from world import RECIPE, world  # noqa: E402

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


def small_questions(kinds: list[str], voice: str) -> list[Row]:
    """The questions about some kinds of facts, once each, all answered in one voice."""
    facts = [fact for fact in world() if fact.kind in kinds]
    rows = list(make_questions(facts, 0, RECIPE, Sizes(train=17, valid=4, test_in=28, test_out=0)))
    first = {(row["split"], row["question"]): row for row in reversed(rows)}
    return [row | {"role": voice} for row in reversed(first.values())]


def speak(folder: Path, rows: list[Row], voice: str) -> None:
    """Speak every answer once, and write the manifest: a row for each split that it is in."""
    answers = sorted({row["answer"] for row in rows})
    places = {answer: f"audio/{number:03d}.wav" for number, answer in enumerate(answers)}
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    seconds = {}
    for answer, audio in zip(answers, vocalmtp.load().batch(answers, voice), strict=True):
        audio.save(folder / places[answer])
        seconds[answer] = audio.duration
    lines = [
        {
            "id": f"{split}-{places[answer]}",
            "audio": places[answer],
            "text": answer,
            "voice": voice,
            "split": split,
            "seconds": seconds[answer],
        }
        for split, answer in sorted({(row["split"], row["answer"]) for row in rows})
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text(text, "utf-8")
    for row in rows:
        row["audio"] = places[row["answer"]]


@app.command()
def main(
    output: Annotated[Path, typer.Option(help="The folder to write.")] = Path("chat_small"),
    kinds: Annotated[str, typer.Option(help="Kinds of facts of world.yaml.")] = "colour,opposite",
    voice: Annotated[str, typer.Option(help="Voice of the bundled model.")] = "heart",
) -> None:
    """Written questions of two kinds in seventeen wordings each, with spoken answers.

    Needs what `make.py` needs.

    Example: `python recipes/chat_mini/small.py`
    """
    rows = small_questions(kinds.split(","), voice)
    output.mkdir(parents=True, exist_ok=True)
    speak(output, rows, voice)
    write_questions(output, rows)


if __name__ == "__main__":
    app()
