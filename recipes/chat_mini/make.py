"""Write the questions of the closed world to questions.jsonl, without audio. Run with --help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

RECIPES = Path(__file__).parent.parent
sys.path += [str(RECIPES / "roletriviaqa_mini"), str(RECIPES / "corpus")]  # imported by name

from questions import Sizes, make_questions, write_questions  # noqa: E402
from world import RECIPE, world  # noqa: E402

MIN_QUESTIONS = 120  # in training, of each kind

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def main(
    output: Annotated[Path, typer.Option(help="The folder to write.")] = Path("chat_mini"),
    seed: Annotated[int, typer.Option(help="Of voices, wordings and tests.")] = 0,
    times: Annotated[int, typer.Option(help="Training questions per fact.")] = 10,
) -> None:
    """Questions about numbers, days, months, capitals, colors, opposites, and the model itself.

    The same seed gives the same file. `recipes/roletriviaqa_mini/speak.py` synthesizes it.

    Needs `pip install num2words pyyaml typer numpy soxr tzdata`.

    Example: `python recipes/chat_mini/make.py`
    """
    sizes = Sizes(train=times, valid=10, test_in=28, test_out=0, least=MIN_QUESTIONS)
    write_questions(output, list(make_questions(world(), seed, RECIPE, sizes)))


if __name__ == "__main__":
    app()
