"""Errors of the aligner and of pocketsphinx against exact times, as Markdown tables.

Needs `pip install "vocalmtp[eval]"` and a corpus of recipes/corpus.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vocalmtp.audio.io import read_audio
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.prepare import RecordingLimits
from vocalmtp.io.progress import track
from vocalmtp.models.aligner import Aligner, load_aligner, word_ends
from vocalmtp.optional import require

RATE = 16_000  # samples per second of both aligners
Words = list[tuple[str, float, float]]  # word, start and end in seconds


def pocketsphinx_words(samples: np.ndarray, words: list[str]) -> Words | None:
    """Forced alignment of int16 `samples` by pocketsphinx; None if it fails or lacks a word."""
    decoder = require("pocketsphinx").Decoder(samprate=RATE, loglevel="FATAL")
    if any(decoder.lookup_word(word) is None for word in words):
        return None
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    found = [
        (part.word.split("(")[0], part.start_frame / 100, (part.end_frame + 1) / 100)
        for part in decoder.seg() or ()  # None: no alignment
        if part.word[0] not in "<["
    ]
    return found if [word for word, _, _ in found] == words else None


def word_errors(true: Words, found: Words) -> list[float]:
    """Errors in ms of all starts and ends."""
    return [
        abs(a - b) * 1000
        for one, other in zip(true, found, strict=True)
        for a, b in zip(one[1:], other[1:], strict=True)
    ]


def letter_errors(row: Utterance, ends: np.ndarray) -> list[float]:
    """Errors in ms of the ends of all letters."""
    errors = np.abs(np.array(row.chars) - ends) * 1000
    return [e for e, character in zip(errors, row.text, strict=True) if character.isalpha()]


def measure(rows: list[Utterance], aligner: Aligner) -> Iterator[str]:
    """Table rows, and the alignments of right and wrong transcripts that would be refused."""
    limits = RecordingLimits()
    errors: dict[str, list[float]] = {
        "ours: letters": [],
        "ours: words": [],
        "ours: words, where pocketsphinx aligns": [],
        "pocketsphinx: words": [],
    }
    right, wrong, failures = [], [], 0
    pairs = list(zip(rows, rows[1:] + rows[:1], strict=True))
    for row, other in track(pairs, len(rows), "rows"):
        audio = read_audio(row.audio, RATE)
        samples = (audio * 32767).astype(np.int16)
        found = aligner.align(audio, row.text)
        right.append((found.nll, found.coverage))
        if other.text != row.text:
            mismatched = aligner.align(audio, other.text)
            wrong.append((mismatched.nll, mismatched.coverage))
        reference, ours = word_ends(row.text, row.chars), word_ends(row.text, found.ends)
        errors["ours: letters"] += letter_errors(row, found.ends)
        errors["ours: words"] += word_errors(reference, ours)
        sphinx = pocketsphinx_words(samples, [word for word, _, _ in reference])
        if sphinx is None:
            failures += 1
            continue
        errors["ours: words, where pocketsphinx aligns"] += word_errors(reference, ours)
        errors["pocketsphinx: words"] += word_errors(reference, sphinx)
    for name, values in errors.items():
        median, most = np.percentile(values, [50, 95]) if values else (np.nan, np.nan)
        yield f"| {name} | {len(values)} | {median:.0f} | {most:.0f} |"
    yield ""
    yield f"pocketsphinx could not align {failures} of {len(rows)} utterances."
    for name, values in (("right", right), ("next utterance's", wrong)):
        nll, coverage = np.array(values).T
        refused = ((nll > limits.nll) | (coverage < limits.coverage)).mean()
        yield (
            f"`vocalmtp prepare` would refuse {refused:.1%} of the {name} texts (NLL: median "
            f"{np.median(nll):.2f}, 1st and 99th percentile {np.percentile(nll, 1):.2f} and "
            f"{np.percentile(nll, 99):.2f}; lowest coverage {coverage.min():.0%})."
        )


def main(
    corpus: Annotated[Path, typer.Argument(help="A corpus of recipes/corpus.")],
    aligner: Annotated[Path | None, typer.Option(help="Default: the bundled one.")] = None,
    limit: Annotated[int | None, typer.Option(help="Utterances of each kind.")] = None,
) -> None:
    """Measure an aligner on the held-out splits of a corpus."""
    model = load_aligner() if aligner is None else Aligner.from_pretrained(aligner)
    kinds = {
        "held-out sentences, trained voices (test)": read_manifest(corpus, "test"),
        "held-out sentences and voices (heldout)": read_manifest(corpus, "heldout"),
        "rare and unseen words (rare)": read_manifest(corpus, "rare"),
    }
    for title, rows in kinds.items():
        step = max(1, len(rows) // limit) if limit else 1
        rows = rows[::step]  # evenly spaced: all voices
        print(f"\n### {title}: {len(rows)} utterances\n")
        print("| | boundaries | median error, ms | 95th percentile, ms |\n|---|---|---|---|")
        for line in measure(rows, model):
            print(line)


if __name__ == "__main__":
    typer.run(main)
