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

# No answer: export makes the voice of recordings that are longer than answers are.
REFERENCE = "you can ask me about the colors of things, and about the opposites of words."

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


def small_questions(kinds: list[str], voice: str) -> list[Row]:
    """The questions about some kinds of facts, once each, all answered in one voice."""
    facts = [fact for fact in world() if fact.kind in kinds]
    rows = list(make_questions(facts, 0, RECIPE, Sizes(train=17, valid=4, test_in=28, test_out=0)))
    first = {(row["split"], row["question"]): row for row in reversed(rows)}
    return [row | {"role": voice} for row in reversed(first.values())]


def speak(folder: Path, rows: list[Row], voice: str) -> None:
    """Speak every answer once; write the manifest, a row for each split it is in, and a card."""
    used = {(row["split"], row["answer"]) for row in rows} | {("train", REFERENCE)}
    answers = sorted({answer for _, answer in used})
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
        for split, answer in sorted(used)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text(text, "utf-8")
    for row in rows:
        row["audio"] = places[row["answer"]]
    (folder / "voices.yaml").write_text(f"{voice}: the voice of the bundled model\n", "utf-8")
    card = {"licence": "Apache-2.0 (weights and code)", "default_voice": voice}
    card |= {"sampling": {"greedy": True}, "data": "recipes/chat_mini/small.py"}
    (folder / "card.yaml").write_text(json.dumps(card) + "\n", "utf-8")


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
