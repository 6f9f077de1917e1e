"""Check synthesized paragraphs for skipped, repeated and truncated words.

    python recipes/bench/paragraphs.py --output results/paragraphs
    python recipes/bench/paragraphs.py --output results/paragraphs --chapter 20

The reference is the same sentences by the synthesizer that the voice is learned from, see
recipes/corpus. Loudness and fundamental frequency of the last sentences are compared with those of
the first. A chapter is the paragraphs read again and again, as one text, of which minutes are compared.
"""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "corpus"))

from teachers import RATE, load_teacher  # noqa: E402 (recipes/corpus)

import vocalmtp  # noqa: E402
from vocalmtp.audio.io import Audio, join, resample  # noqa: E402
from vocalmtp.audio.pitch import track_pitch  # noqa: E402
from vocalmtp.evaluation.scoring import WordErrors, corpus_rate, word_errors  # noqa: E402
from vocalmtp.recognizers.base import SAMPLE_RATE, Recognizer, build_recognizer  # noqa: E402
from vocalmtp.text import normalize, split_sentences  # noqa: E402


def level(audio: Audio) -> float:
    """Root mean square of the samples that are not silent, in dB."""
    loud = audio.samples[np.abs(audio.samples) > 1e-3]
    return 20 * float(np.log10(np.sqrt(np.mean(loud.astype(np.float64) ** 2)) + 1e-9))


def pitch(audio: Audio) -> float:
    """Median F0 of the voiced frames, in Hz."""
    f0 = track_pitch(torch.from_numpy(audio.samples)[None], sample_rate=audio.sample_rate)
    return float(f0[f0 > 0].median())


def transcribe(recognizer: Recognizer, audio: Audio) -> str:
    """Transcribe `audio` at the recognizer's sample rate."""
    return recognizer.transcribe(resample(audio.samples, audio.sample_rate, SAMPLE_RATE))


def clicks(audio: Audio) -> int:
    """Count jumps between neighboring samples of over half of full scale."""
    return int((np.abs(np.diff(audio.samples)) > 0.5).sum())


def is_lost(score: WordErrors) -> bool:
    """Whether no word of a sentence was recognized."""
    return score.errors >= score.words


def read_chapter(tts: vocalmtp.TTS, voice: str, text: str, minutes: int, path: Path) -> None:
    """Synthesize a text again and again, as one, and print the level and pitch of its minutes."""
    parts, seconds = [], 0.0
    for part in tts.sentences("\n\n".join([text] * minutes), voice=voice):
        parts.append(part)
        seconds += part.duration
        if seconds >= 60 * minutes:
            break
    audio = join(parts)
    audio.save(path)
    length = 60 * audio.sample_rate
    pieces = [
        Audio(audio.samples[start : start + length], audio.sample_rate)
        for start in range(0, length * minutes, length)
    ]
    levels, heights = [level(piece) for piece in pieces], [pitch(piece) for piece in pieces]
    typer.echo(
        f"{seconds / 60:.1f} minutes, {len(parts)} sentences: level of a minute {min(levels):.1f} to "
        f"{max(levels):.1f} dB, the last {levels[-1] - levels[0]:+.1f} dB from the first; pitch "
        f"{min(heights):.0f} to {max(heights):.0f} Hz, the last x {heights[-1] / heights[0]:.2f}; "
        f"jumps {clicks(audio)}"
    )


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the audio.")],
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "mini",
    voice: Annotated[str, typer.Option(help="A voice that the teacher has too.")] = "heart",
    teacher: Annotated[str, typer.Option(help="Synthesizer of recipes/corpus.")] = "hibari",
    judge: Annotated[str, typer.Option(help="Recognizer.")] = "whisper-tiny.en",
    texts: Annotated[Path, typer.Option(help="One paragraph per line.")] = HERE / "paragraphs.txt",
    chapter: Annotated[int, typer.Option(help="Minutes of a chapter, instead.", min=0)] = 0,
) -> None:
    """Synthesize the paragraphs, and report word errors, jumps and drift."""
    torch.set_num_threads(1)
    tts = vocalmtp.load(model)
    output.mkdir(parents=True, exist_ok=True)
    if chapter:
        read_chapter(
            tts,
            voice,
            "\n\n".join(texts.read_text().splitlines()),
            chapter,
            output / "chapter.flac",
        )
        return
    recognizer, reference = build_recognizer(judge), load_teacher(teacher)
    scores: dict[str, list[WordErrors]] = {"vocalmtp": [], teacher: []}
    drift: list[tuple[float, float]] = []
    words = timed_words = jumps = 0
    for number, text in enumerate(texts.read_text().splitlines(), start=1):
        sentences = split_sentences(normalize(text))
        parts = list(tts.sentences(text, voice=voice))
        join(parts).save(output / f"{number:02d}.wav")
        for sentence, part in zip(sentences, parts, strict=True):
            transcript = transcribe(recognizer, part)
            scores["vocalmtp"].append(word_errors(sentence, transcript))
            if is_lost(scores["vocalmtp"][-1]):
                typer.echo(f"lost in {number:02d}.wav: {sentence!r}, recognized as {transcript!r}")
            speech = reference.speak(sentence, reference.voices[voice])
            natural = transcribe(recognizer, Audio(speech.samples, RATE))
            scores[teacher].append(word_errors(sentence, natural))
        words += sum(len(sentence.split()) for sentence in sentences)
        timed_words += sum(len(part.words) for part in parts)
        jumps += clicks(join(parts))
        drift.append((level(parts[-1]) - level(parts[0]), pitch(parts[-1]) / pitch(parts[0])))
        typer.echo(f"{number:2d}: {len(parts)} sentences", err=True)
    for system, found in scores.items():
        lost = sum(map(is_lost, found))
        typer.echo(f"{system}: WER {corpus_rate(found).format('%', 1)}, sentences lost: {lost}")
    loudness, height = (np.array(column) for column in zip(*drift, strict=True))
    typer.echo(f"words of the texts {words}, words with times {timed_words}, jumps {jumps}")
    typer.echo(
        f"last sentence relative to first: {loudness.mean():+.1f} dB "
        f"(largest {np.abs(loudness).max():.1f}), "
        f"pitch x {height.mean():.2f} ({height.min():.2f} to {height.max():.2f})"
    )


if __name__ == "__main__":
    typer.run(main)
