"""Synthesize questions and sentences with other synthesizers, as audio input. Run with --help."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from vocalmtp.audio.io import read_audio, trim_silence
from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.prepare import RecordingLimits
from vocalmtp.errors import InputError
from vocalmtp.models.aligner import load_aligner
from vocalmtp.text import normalize

RATE = 16_000
SHARD_SIZE = 200  # utterances
MARGIN = 0.08  # seconds of silence at each end
KED = "ked"
ACCENTS = ("en-us", "en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-029")
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
VARIANTS += ("klatt", "klatt2", "klatt3", "klatt4", "Andy", "Annie", "Alex", "Belinda", "David")
VARIANTS += ("Ed", "Gene", "Lee", "Linda", "Mike", "Rob", "Steph", "Storm", "Zac", "victor")

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@dataclass(frozen=True)
class StrangerItem:
    """One utterance of a voice of espeak-ng, or of festival's ked."""

    id: str
    text: str
    split: str
    voice: str
    pitch: int  # 0 to 99, as in espeak-ng; of ked 80 to 180 Hz
    speed: float  # multiple of the default

    @property
    def ked(self) -> bool:
        """Whether the voice is festival's ked."""
        return self.voice == KED


def plan(texts: list[tuple[str, str]], name: str, ked: float, seed: int) -> list[StrangerItem]:
    """Choose a voice for each of `texts` and their splits; a share of `ked` is ked's, at any pitch."""
    draws, items = random.Random(f"{seed}/{name}"), []
    for number, (text, split) in enumerate(texts):
        voice = f"{draws.choice(ACCENTS)}+{draws.choice(VARIANTS)}"
        pitch, speed = draws.randint(20, 80), draws.uniform(0.8, 1.2)
        voice = KED if draws.random() < ked else voice
        items.append(StrangerItem(f"{name}-{number:05d}", text, split, voice, pitch, speed))
    return items


def synthesize(
    items: list[StrangerItem], folder: Path
) -> Iterator[tuple[StrangerItem, np.ndarray]]:
    """Synthesize `items`: audio [N] at RATE of each; failures are left out."""
    by_ked = [item for item in items if item.ked]
    script = ["(voice_ked_diphone)"]
    for item in by_ked:
        mean = 80 + item.pitch  # Hz
        pitch = f"(target_f0_mean {mean}) (target_f0_std {mean // 7})"
        script.append(f"(set! int_lr_params '({pitch} (model_f0_mean 170) (model_f0_std 34)))")
        script.append(f"(Parameter.set 'Duration_Stretch {1 / item.speed:.2f})")
        text = json.dumps(item.text)
        file = json.dumps(str(folder / f"{item.id}.wav"))
        script.append(f"(utt.save.wave (utt.synth (Utterance Text {text})) {file} 'riff)")
    if by_ked:
        subprocess.run(["festival", "--pipe"], input="\n".join(script), text=True, check=True)
    for item in items:
        path = folder / f"{item.id}.wav"
        if not item.ked:
            how = ["-v", item.voice, "-p", str(item.pitch), "-s", str(round(165 * item.speed))]
            subprocess.run(["espeak-ng", *how, "-w", str(path), item.text], check=True)
        if path.is_file():
            yield item, trim_silence(read_audio(path, RATE), RATE, margin=MARGIN)


def write_shard(output: Path, name: str, items: list[StrangerItem]) -> None:
    """Synthesize `items` to shards/`name`; the rows are written last, and mark it complete."""
    folder, rows = output / "shards" / name, []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for item, wav in synthesize(items, Path(temporary)):
            if not len(wav):
                continue
            audio = f"shards/{name}/{item.id}.wav"
            soundfile.write(output / audio, wav, RATE)
            row = {"id": item.id, "audio": audio, "text": item.text, "voice": item.voice}
            row |= {"split": item.split, "seconds": round(len(wav) / RATE, 3)}
            rows.append(row | {"chars": character_ends(wav, item.text)})
    partial = output / "shards" / f"{name}.partial"
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    os.replace(partial, output / "shards" / f"{name}.jsonl")


def character_ends(wav: np.ndarray, text: str) -> list[float]:
    """End times of the characters of `text` in `wav` [N], in seconds; [] if they do not fit."""
    try:
        found = load_aligner().align(wav, text)
    except InputError:  # too short
        return []
    return (
        [round(float(end), 3) for end in found.ends] if found.nll <= RecordingLimits().nll else []
    )


def read_texts(
    questions: Path, corpus: Path, sentences: int, seed: int, times: int = 1
) -> dict[str, list]:
    """Questions of training and validation, `times` each, and sentences of the corpus."""
    rows = map(json.loads, (questions / "questions.jsonl").read_text("utf-8").splitlines())
    texts = {(normalize(row["question"]), row["split"]) for row in rows if row["split"] != "test"}
    lines = sorted({row.text for row in read_manifest(corpus, "train")})
    chosen = random.Random(seed).sample(lines, min(sentences, len(lines)))
    return {"question": sorted(texts) * times, "sentence": [(text, "train") for text in chosen]}


@app.command()
def main(
    questions: Annotated[Path, typer.Argument(help="Output of make.py.")] = Path("chat_mini"),
    corpus: Annotated[Path, typer.Option(help="A corpus of recipes/corpus.")] = Path("corpus"),
    output: Annotated[Path, typer.Option(help="The folder to write.")] = Path("strangers"),
    sentences: Annotated[int, typer.Option(help="Of the corpus, besides all questions.")] = 6000,
    times: Annotated[int, typer.Option(help="Voices per question.")] = 1,
    ked: Annotated[float, typer.Option(help="Share of festival's ked.")] = 0.4,
    seed: int = 0,
) -> None:
    """Synthesize every training question, and some sentences, in a random voice each.

    Dozens of voices of espeak-ng, and ked, a diphone voice of festival; none is in a test. Character
    times come from the bundled aligner. The same command resumes: finished shards are kept.

    Needs `apt install espeak-ng festival festvox-kdlpc16k`.
    """
    for name, texts in read_texts(questions, corpus, sentences, seed, times).items():
        items = plan(texts, name, ked, seed)
        for start in range(0, len(items), SHARD_SIZE):
            shard = f"{name}-{start // SHARD_SIZE:03d}"
            if not (output / "shards" / f"{shard}.jsonl").is_file():
                write_shard(output, shard, items[start : start + SHARD_SIZE])
            print(f"{shard}: {min(start + SHARD_SIZE, len(items))} of {len(items)}", flush=True)


if __name__ == "__main__":
    app()
