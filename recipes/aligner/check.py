"""Errors of the aligner against exact times, beside pocketsphinx's; prints Markdown tables.

Needs `pip install "vocalmtp[eval]"` and a corpus of recipes/corpus.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.prepare import RecordingLimits
from vocalmtp.io.progress import track
from vocalmtp.models.aligner import Aligner, load_aligner, word_ends
from vocalmtp.optional import require

Words = list[tuple[str, float, float]]  # word, start and end in seconds


def pocketsphinx_words(samples: np.ndarray, words: list[str]) -> Words | None:
    """Its forced alignment of int16 `samples`; None if it lacks a word, or finds no alignment."""
    decoder = require("pocketsphinx").Decoder(samprate=16_000, loglevel="FATAL")
    if any(decoder.lookup_word(word) is None for word in words):
        return None
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    found = [
        (part.word.split("(")[0], part.start_frame / 100, (part.end_frame + 1) / 100)
        for part in decoder.seg() or ()  # None: it found no way through
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


def letters_of(row: Utterance, ends: np.ndarray) -> list[float]:
    """Errors in ms of the ends of all letters."""
    wrong = np.abs(np.array(row.chars) - ends) * 1000
    return [e for e, character in zip(wrong, row.text, strict=True) if character.isalpha()]


def measure(rows: list[Utterance], aligner: Aligner) -> Iterator[str]:
    """Table rows, and how well the misfit tells right transcripts from wrong ones."""
    limits = RecordingLimits()
    errors: dict[str, list[float]] = {
        "ours: letters": [],
        "ours: words": [],
        "ours: words, where pocketsphinx can": [],
        "pocketsphinx: words": [],
    }
    right, wrong, unable = [], [], 0
    for row, other in track(list(zip(rows, rows[1:] + rows[:1], strict=True)), len(rows), "rows"):
        samples, _ = soundfile.read(row.audio, dtype="int16")
        heard = samples.astype(np.float32) / 32768
        found = aligner.align(heard, row.text)
        right.append((found.misfit, found.heard))
        if other.text != row.text:
            swapped = aligner.align(heard, other.text)
            wrong.append((swapped.misfit, swapped.heard))
        true, ours = word_ends(row.text, row.chars), word_ends(row.text, found.ends)
        errors["ours: letters"] += letters_of(row, found.ends)
        errors["ours: words"] += word_errors(true, ours)
        theirs = pocketsphinx_words(samples, [word for word, _, _ in true])
        if theirs is None:
            unable += 1
            continue
        errors["ours: words, where pocketsphinx can"] += word_errors(true, ours)
        errors["pocketsphinx: words"] += word_errors(true, theirs)
    for name, values in errors.items():
        median, most = np.percentile(values, [50, 95]) if values else (np.nan, np.nan)
        yield f"| {name} | {len(values)} | {median:.0f} | {most:.0f} |"
    yield ""
    yield f"pocketsphinx could not align {unable} of {len(rows)} utterances."
    for name, values in (("right", right), ("next utterance's", wrong)):
        misfit, share = np.array(values).T
        refused = ((misfit > limits.misfit) | (share < limits.heard)).mean()
        yield (
            f"Of the {name} texts `vocalmtp prepare` would refuse {refused:.1%} (misfit: median "
            f"{np.median(misfit):.2f}, 1st and 99th percentile {np.percentile(misfit, 1):.2f} and "
            f"{np.percentile(misfit, 99):.2f}; least share of letters heard {share.min():.0%})."
        )


def main(
    corpus: Annotated[Path, typer.Argument(help="A corpus of recipes/corpus.")],
    aligner: Annotated[Path | None, typer.Option(help="Another than the package's.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many utterances of each kind.")] = None,
) -> None:
    model = load_aligner() if aligner is None else Aligner.from_pretrained(aligner)
    kinds = {
        "held-out sentences, trained voices (test)": read_manifest(corpus, "test"),
        "held-out sentences and voices (heldout)": read_manifest(corpus, "heldout"),
        "rare and unseen words (rare)": read_manifest(corpus, "rare"),
    }
    for title, rows in kinds.items():
        step = max(1, len(rows) // limit) if limit else 1
        rows = rows[::step]  # all voices, and sentences that stand apart
        print(f"\n### {title}: {len(rows)} utterances\n")
        print("| | boundaries | median error, ms | 95th percentile, ms |\n|---|---|---|---|")
        for line in measure(rows, model):
            print(line)


if __name__ == "__main__":
    typer.run(main)
