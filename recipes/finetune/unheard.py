"""Recordings of a voice that is in no training data, as a folder in the LJSpeech layout.

A held-out voice of recipes/corpus reads texts of the corpus, those of the validation split first; none
is a test sentence. Needs `apt install flite`.
"""

import sys
from pathlib import Path
from typing import Annotated

import soundfile
import typer

from vocalmtp.data.manifest import read_manifest

sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))
from teachers import RATE, load_teacher  # noqa: E402


def main(
    corpus: Annotated[Path, typer.Argument(help="A corpus of recipes/corpus, for its texts.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    voice: Annotated[str, typer.Option(help="kal or iris.")] = "kal",
    items: Annotated[int, typer.Option(help="Number of sentences.")] = 300,
) -> None:
    """Synthesize texts of CORPUS in a held-out voice."""
    teacher = load_teacher("flite")
    rows = read_manifest(corpus, "valid") + read_manifest(corpus, "train")
    (output / "wavs").mkdir(parents=True, exist_ok=True)
    lines = []
    for index, row in enumerate(rows[:items]):
        name = f"{voice}-{index:04d}"
        samples = teacher.speak(row.text, teacher.voices[voice]).samples
        soundfile.write(output / "wavs" / f"{name}.wav", samples, RATE)
        lines.append(f"{name}|{row.text}|{row.text}\n")
    (output / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    print(f"{output}: {len(lines)} recordings of {voice}")


if __name__ == "__main__":
    typer.run(main)
