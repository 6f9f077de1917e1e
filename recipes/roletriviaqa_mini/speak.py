"""Synthesize the answers of RoleTriviaQA-mini, with the times of letters. Run with --help."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import sys
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))  # its modules are imported by name

import align  # noqa: E402
import plan  # noqa: E402
import texts  # noqa: E402
from questions import RECIPE, Row, load_roles  # noqa: E402
from render import Item, Shard, read_rows, render, rows_path  # noqa: E402
from teachers import Teacher, load_teacher, random_for  # noqa: E402
from teachers.flite import draw, load_voices  # noqa: E402
from vocalmtp.text.letter_phones import Table, from_json  # noqa: E402

SHARD_ITEMS = 500
SPLITS = ("test", "valid", "train")
PREFIX = "references-"  # of the names of reference shards
QUESTION = "asked-"  # in the names of question shards
QUESTION_AUDIO = "question_audio"  # field of a row
REFERENCES = 8  # recordings per role, of sentences that are no answers
RECYCLE = 8  # shards per process: flite leaks memory

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
# One per process, set by _start.
_teacher: Teacher | None = None
_aligner: align.Aligner | None = None


Places = dict[tuple[int, str], str]  # index of a row and field -> path of the audio


def plan_shards(rows: list[Row], recipe: Path, questions: bool) -> tuple[list[Shard], Places]:
    """The shards of all answers, of `questions` if they are spoken too, and of references.

    An answer has the voice of its role; a question any voice, and in tests a held-out one.
    """
    voices, roles = load_voices(), {role.name: role for role in load_roles(recipe)}
    held_out = [voice for voice in voices.values() if not voice.share]
    shards: list[Shard] = []
    places: Places = {}
    for split, asked in product(SPLITS, (False, True)[: 1 + questions]):
        own = [index for index, row in enumerate(rows) if row["split"] == split]
        for start in range(0, len(own), SHARD_ITEMS):
            part = own[start : start + SHARD_ITEMS]
            name = f"{split}-{QUESTION if asked else ''}{start // SHARD_ITEMS:03d}"
            items = []
            for number, index in enumerate(part):
                row = rows[index]
                voice, text = voices[roles[row["role"]].voice], row["answer"]
                if asked:
                    voice, text = draw(voices, random_for(0, f"asked/{row['id']}")), row["question"]
                    if split == "test":
                        voice = random.Random(row["id"]).choice(held_out)
                items.append(Item(text, voice, split))
                field = QUESTION_AUDIO if asked else "audio"
                places[index, field] = f"shards/{name}/{number:04d}.flac"
            shards.append(Shard(name, items))
    sentences = texts.read_lines("test.txt")[:REFERENCES]
    for role in roles.values():
        items = [Item(text, voices[role.voice], "reference") for text in sentences]
        shards.append(Shard(f"{PREFIX}{role.name}", items))
    return shards, places


def _start(table: Table) -> None:
    """Initialize a worker process."""
    global _teacher, _aligner
    _teacher = load_teacher("flite")
    _aligner = align.Aligner(table)


def _work(job: tuple[Path, Shard]) -> tuple[str, float]:
    """Render a shard in a worker process; returns its name and seconds of audio."""
    assert _teacher is not None and _aligner is not None
    return job[1].name, render(*job, _teacher, _aligner)


def finish(folder: Path, rows: list[Row], shards: list[Shard], places: Places) -> int:
    """Write manifest.jsonl, references/ROLE, and the audio paths in questions.jsonl.

    References are not in the manifest: they are for speaker judges and for making voices.

    Returns:
        The number of audio files of answers and questions.
    """
    manifest: list[Row] = []
    for shard in shards:
        made = read_rows(rows_path(folder, shard.name))
        if not shard.name.startswith(PREFIX):
            manifest += made
            continue
        target = folder / "references" / shard.name.removeprefix(PREFIX)
        target.mkdir(parents=True, exist_ok=True)
        for row in made:
            shutil.copyfile(folder / row["audio"], target / Path(row["audio"]).name)
    spoken = {row["audio"]: row["voice"] for row in manifest}
    for (index, field), place in places.items():
        rows[index].pop(field, None)
        if place in spoken:
            rows[index][field] = place
            rows[index] |= {"question_voice": spoken[place]} if field == QUESTION_AUDIO else {}
    _write(folder / "manifest.jsonl", manifest)
    _write(folder / "questions.jsonl", rows)
    return len(spoken)


def _write(path: Path, rows: list[Row]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    os.replace(partial, path)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(help="Output folder of `make.py`.")] = Path(
        "roletriviaqa_mini"
    ),
    letters: Annotated[
        Path | None,
        typer.Option(help="`letters-cmulex.json` of a corpus; trained again if not given."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Folder `usr/share` with the corpus's texts, for `--letters`."),
    ] = None,
    splits: Annotated[
        str, typer.Option(help="Splits whose audio is made; references are always made.")
    ] = ",".join(SPLITS),
    recipe: Annotated[Path, typer.Option(help="Folder with roles.yaml.")] = RECIPE,
    questions: Annotated[
        bool, typer.Option("--questions", help="Synthesize the questions too.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes, one per core.")] = 2,
) -> None:
    """Synthesize every answer in the voice of its role, and reference sentences per role.

    The command is resumable: complete shards are kept. Answers whose letters cannot be aligned with
    the synthesized phones have no audio.

    Needs `apt install flite`, beside what `make.py` needs, and `pip install soundfile`.

    Example: `python recipes/roletriviaqa_mini/speak.py --letters corpus/letters-cmulex.json`
    """
    rows = read_rows(folder / "questions.jsonl")
    shards, places = plan_shards(rows, recipe, questions)
    chosen = (*splits.split(","), PREFIX.rstrip("-"))
    shards = [shard for shard in shards if shard.name.partition("-")[0] in chosen]
    (folder / "shards").mkdir(exist_ok=True)
    if letters is None:
        pool = texts.pool(source or texts.fetch(folder / "texts"), 0)
        table = plan.learn_letters(load_teacher("flite"), pool)
    else:
        table = from_json(json.loads(letters.read_text("utf-8")))
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _start, (table,), maxtasksperchild=RECYCLE) as pool:
        jobs = [(folder, shard) for shard in shards]
        for name, seconds in pool.imap(_work, jobs, chunksize=1):
            print(f"shard {name}: {seconds / 60:.1f} min", flush=True)
    spoken = finish(folder, rows, shards, places)
    what = "answers and questions" if questions else "answers"
    print(f"{folder / 'questions.jsonl'}: {spoken} of {len(places)} {what} have audio")


if __name__ == "__main__":
    app()
