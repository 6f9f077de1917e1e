"""Judge the words of a corpus by Whisper tiny.en, and drop what it does not recognise.

python recipes/corpus/judge.py --output corpus
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import soxr
import typer
from rapidfuzz.distance import Levenshtein

from render import read_rows, repair_rows
from teachers import TeacherMissing, weights_folder

INSTALL = "pip install faster-whisper"
WHISPER_RATE = 16_000
# An item is dropped if both rates are above their limits: a rare word that the recogniser spells
# otherwise has few wrong letters, and one wrong word of three is no failure of the teacher.
WORD_LIMIT, LETTER_LIMIT = 0.30, 0.15
LIST_LETTER_LIMIT = 0.30  # rare words without a context, where most errors are the recogniser's
LISTS = ("list", "carrier", "named")
JUDGED_SPLITS = ("train", "valid")  # test and held-out items stay, however they are recognised
REPORT_EVERY = 60.0  # seconds between lines of progress

Transcribe = Callable[[np.ndarray, int], str]


def load_whisper(compute_type: str = "int8") -> Transcribe:
    """Load Whisper tiny.en on one thread. Raises ``TeacherMissing``."""
    folder = weights_folder("whisper-tiny.en")
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise TeacherMissing(f"faster-whisper is not installed; run: {INSTALL}") from error
    model = WhisperModel(
        str(folder), device="cpu", compute_type=compute_type, cpu_threads=1, num_workers=1
    )

    def transcribe(samples: np.ndarray, rate: int) -> str:
        audio = soxr.resample(samples.astype(np.float32), rate, WHISPER_RATE)
        segments, _ = model.transcribe(
            audio, beam_size=1, language="en", without_timestamps=True, temperature=0.0
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


@cache
def normalizer() -> Callable[[str], str]:
    """Whisper's English text normaliser, without its table of British spellings."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})


def errors(text: str, recognised: str) -> tuple[int, int, float]:
    """Wrong words, words of the text, and the rate of wrong letters, normalised.

    Two spellings that differ in spaces alone are equal.
    """
    said, found = normalizer()(text), normalizer()(recognised)
    letters, theirs = said.replace(" ", ""), found.replace(" ", "")
    words = said.split()
    if letters == theirs:
        return 0, len(words), 0.0
    wrong = Levenshtein.distance(words, found.split())
    return wrong, len(words), Levenshtein.distance(letters, theirs) / max(len(letters), 1)


def judged_path(output: Path, shard: str) -> Path:
    """The judgements of a shard, appended as they are made."""
    return output / "judged" / f"{shard}.jsonl"


def judge_shard(output: Path, shard: str, transcribe: Transcribe) -> Iterator[dict]:
    """Judge the rows of a shard that are not judged yet, and append the judgements."""
    path = judged_path(output, shard)
    path.parent.mkdir(exist_ok=True)
    done = {row["id"] for row in repair_rows(path)}
    with path.open("ab", buffering=0) as file:
        for row in repair_rows(output / "shards" / f"{shard}.jsonl"):
            if row["id"] in done:
                continue
            samples, rate = soundfile.read(output / row["audio"], dtype="float32")
            recognised = transcribe(samples, rate)
            wrong, words, letters = errors(row["text"], recognised)
            judged = {
                "id": row["id"],
                "wrong": wrong,
                "words": words,
                "letters": round(letters, 3),
                "recognised": recognised,
            }
            file.write(f"{json.dumps(judged, ensure_ascii=False)}\n".encode())
            yield judged


def is_dropped(row: dict, judged: dict | None) -> bool:
    """Whether an item is left out of the manifest."""
    if judged is None or row["split"] not in JUDGED_SPLITS:
        return False
    rate = judged["wrong"] / max(judged["words"], 1)
    limit = LIST_LETTER_LIMIT if row["source"] in LISTS else LETTER_LIMIT
    return rate > WORD_LIMIT and judged["letters"] > limit


def write_manifest(output: Path) -> tuple[int, float]:
    """Join the rows of all shards but the dropped ones, and write ``report.json``.

    Returns:
        The number of items in the manifest and their hours.
    """
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    items, seconds = 0, 0.0
    partial = output / "manifest.partial"
    with partial.open("w", encoding="utf-8") as manifest:
        for path in sorted((output / "shards").glob("*.jsonl")):
            judged_rows = judged_path(output, path.stem)
            judgements = (
                {r["id"]: r for r in read_rows(judged_rows)} if judged_rows.exists() else {}
            )
            for row in repair_rows(path):
                judged = judgements.get(row["id"])
                total = totals[f"{row['teacher']} {row['voice']}"]
                _count(total, row, judged)
                if is_dropped(row, judged):
                    continue
                if judged:
                    row["wer"] = round(judged["wrong"] / max(judged["words"], 1), 3)
                manifest.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n")
                items, seconds = items + 1, seconds + row["seconds"]
    os.replace(partial, output / "manifest.jsonl")
    report = {name: _summary(total) for name, total in sorted(totals.items())}
    (output / "report.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return items, seconds / 3600


def _count(total: dict[str, float], row: dict, judged: dict | None) -> None:
    total["items"] += 1
    total["seconds"] += row["seconds"]
    if judged:
        total["judged"] += 1
        total["wrong"] += judged["wrong"]
        total["words"] += judged["words"]
        total["dropped"] += is_dropped(row, judged)


def _summary(total: dict[str, float]) -> dict[str, float]:
    """One voice's line of the report."""
    return {
        "items": int(total["items"]),
        "hours": round(total["seconds"] / 3600, 3),
        "judged": int(total["judged"]),
        "dropped": int(total["dropped"]),
        "wer": round(total["wrong"] / max(total["words"], 1), 4),
    }


def main(
    output: Annotated[Path, typer.Option(help="The corpus's folder.")],
    compute_type: Annotated[str, typer.Option(help="Of CTranslate2: int8 or float32.")] = "int8",
    manifest_only: Annotated[
        bool, typer.Option("--manifest-only", help="Only join the rows and count.")
    ] = False,
) -> None:
    """Recognise every item, then write the manifest without those that were not understood.

    Run it again after an interruption, or after more speech was made: only new items are judged.

    Example: `python recipes/corpus/judge.py --output corpus`
    """
    if not manifest_only:
        transcribe = load_whisper(compute_type)
        shown, count = time.monotonic(), 0
        for path in sorted((output / "shards").glob("*.jsonl")):
            for _ in judge_shard(output, path.stem, transcribe):
                count += 1
                if time.monotonic() - shown > REPORT_EVERY:
                    shown = time.monotonic()
                    print(f"{time.strftime('%F %X')} {path.stem}: {count} judged", flush=True)
    items, hours = write_manifest(output)
    print(f"{output / 'manifest.jsonl'}: {items:,} items, {hours:.2f} hours")


if __name__ == "__main__":
    typer.run(main)
