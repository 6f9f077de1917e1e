"""Write the questions of RoleTriviaQA-mini: `questions.jsonl`, without audio. Run with --help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))  # its files are imported by name

import texts  # noqa: E402
from facts import all_facts  # noqa: E402
from questions import Sizes, make_questions, write_questions  # noqa: E402

SIZES = Sizes(least=160)  # the twelve months are asked as often as what there is more of

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def main(
    output: Annotated[Path, typer.Option(help="The folder; made when missing.")] = Path(
        "roletriviaqa_mini"
    ),
    seed: Annotated[int, typer.Option(help="Another seed: other roles, wordings and tests.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option(
            help="A `usr/share` that has WordNet, such as a corpus's `texts/usr/share`. Without it "
            "`apt-get download` fetches it into `OUTPUT/texts`; nothing is installed."
        ),
    ] = None,
) -> None:
    """Ask what free packages know: thousands of questions of ten roles, in several wordings.

    The same seed and packages give the same file. `speak.py` then has the answers spoken.

    Needs `pip install num2words pyyaml tzdata typer numpy soxr`.

    Example: `python recipes/roletriviaqa_mini/make.py --source corpus/texts/usr/share`
    """
    share = source or texts.fetch(output / "texts")
    write_questions(output, list(make_questions(all_facts(share / "wordnet"), seed, sizes=SIZES)))


if __name__ == "__main__":
    app()
