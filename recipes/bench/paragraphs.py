"""Speak ten paragraphs whole and hear every sentence of them: is anything skipped, repeated or cut?

    python recipes/bench/paragraphs.py --output results/paragraphs

Beside ours stands flite's own reading of the same sentences (needs `apt install flite`). Loudness
and fundamental frequency of the last sentences are compared with those of the first.
"""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "corpus"))

from teachers import flite  # noqa: E402 (recipes/corpus)

import vocalmtp  # noqa: E402
from vocalmtp.audio.io import Audio, join  # noqa: E402
from vocalmtp.audio.pitch import track_pitch  # noqa: E402
from vocalmtp.evaluation.intelligibility import WordErrors, corpus_rate, hear, word_errors  # noqa: E402
from vocalmtp.text import normalize, split_sentences  # noqa: E402

RAW = 32768.0


def natural(sentence: str, voice: str) -> Audio:
    """flite's reading of `sentence`."""
    speech = flite.synthesize(sentence, voice)
    return Audio(np.asarray(speech.samples, np.float32) / RAW, flite.FLITE_RATE)


def level(audio: Audio) -> float:
    """Loudness of speech in dB: the root mean square of the samples that are not silence."""
    loud = audio.samples[np.abs(audio.samples) > 1e-3]
    return 20 * float(np.log10(np.sqrt(np.mean(loud.astype(np.float64) ** 2)) + 1e-9))


def pitch(audio: Audio) -> float:
    """Median F0 in Hz of the voiced frames."""
    f0 = track_pitch(torch.from_numpy(audio.samples)[None], sample_rate=audio.sample_rate)
    return float(f0[f0 > 0].median())


def clicks(audio: Audio) -> int:
    """Jumps between neighbouring samples of over half of full scale."""
    return int((np.abs(np.diff(audio.samples)) > 0.5).sum())


def is_lost(score: WordErrors) -> bool:
    """Whether nothing of a sentence was understood."""
    return score.errors >= score.words


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the audio.")],
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "mini",
    voice: Annotated[str, typer.Option(help="A voice that flite has too.")] = "slt",
    texts: Annotated[Path, typer.Option(help="A paragraph a line.")] = HERE / "paragraphs.txt",
) -> None:
    torch.set_num_threads(1)
    tts = vocalmtp.load(model)
    output.mkdir(parents=True, exist_ok=True)
    scores: dict[str, list[WordErrors]] = {"ours": [], "natural": []}
    drift: list[tuple[float, float]] = []
    said = heard_words = jumps = 0
    for number, text in enumerate(texts.read_text().splitlines(), start=1):
        sentences = split_sentences(normalize(text))
        parts = list(tts.sentences(text, voice=voice))
        join(parts).save(output / f"{number:02d}.wav")
        for sentence, part in zip(sentences, parts, strict=True):
            heard = hear(part.samples, part.sample_rate)
            scores["ours"].append(word_errors(sentence, heard))
            if is_lost(scores["ours"][-1]):
                typer.echo(f"lost in {number:02d}.wav: {sentence!r}, heard as {heard!r}")
            recorded = natural(sentence, voice)
            scores["natural"].append(
                word_errors(sentence, hear(recorded.samples, recorded.sample_rate))
            )
        said += sum(score.words for score in scores["ours"][-len(parts) :])
        heard_words += sum(len(part.words) for part in parts)
        jumps += clicks(join(parts))
        drift.append((level(parts[-1]) - level(parts[0]), pitch(parts[-1]) / pitch(parts[0])))
        typer.echo(f"{number:2d}: {len(parts)} sentences", err=True)
    for system, found in scores.items():
        lost = sum(map(is_lost, found))
        typer.echo(f"{system}: WER {corpus_rate(found).show('%', 1)}, sentences lost: {lost}")
    loudness, height = (np.array(column) for column in zip(*drift, strict=True))
    typer.echo(f"words of the texts {said}, words with times {heard_words}, jumps {jumps}")
    typer.echo(
        f"last sentence against first: {loudness.mean():+.1f} dB "
        f"(largest {np.abs(loudness).max():.1f}), "
        f"pitch x {height.mean():.2f} ({height.min():.2f} to {height.max():.2f})"
    )


if __name__ == "__main__":
    typer.run(main)
