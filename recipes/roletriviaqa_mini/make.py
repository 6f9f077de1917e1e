"""Write the questions of RoleTriviaQA-mini to `questions.jsonl`, without audio. Run with --help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))  # its modules are imported by name

import texts  # noqa: E402
from facts import all_facts  # noqa: E402
from questions import Sizes, make_questions, write_questions  # noqa: E402

SIZES = Sizes(least=160)  # as many questions about the few months as of other kinds

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def main(
    output: Annotated[Path, typer.Option(help="Folder of the questions.")] = Path(
        "roletriviaqa_mini"
    ),
    seed: Annotated[int, typer.Option(help="Seed of roles, wordings and test questions.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Folder `usr/share` with WordNet, such as `texts/usr/share` of a corpus. By default, "
            "it is downloaded to `OUTPUT/texts` by `apt-get download`; nothing is installed."
        ),
    ] = None,
) -> None:
    """Write questions for ten roles, in several wordings, about facts from free packages.

    The same seed and package versions give the same file. `speak.py` synthesizes the answers.

    Needs `pip install num2words pyyaml tzdata typer numpy soxr`.

    Example: `python recipes/roletriviaqa_mini/make.py --source corpus/texts/usr/share`
    """
    share = source or texts.fetch(output / "texts")
    write_questions(output, list(make_questions(all_facts(share / "wordnet"), seed, sizes=SIZES)))


if __name__ == "__main__":
    app()
