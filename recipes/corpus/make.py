"""Make a corpus of synthetic speech with exact timings. Run with --help."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import align
import plan
import texts
from render import Shard, read_rows, render
from voices import load

RECYCLE = 8  # shards of a process: flite loses a little memory with every utterance
LONGEST_SHARD = 1.0  # hours, more than any shard has
WORD_HOURS = 25.0  # more than the dictionary takes

console = Console()
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
_aligner: align.Aligner | None = None  # one a process, set by _start


def _start(table: align.Table) -> None:
    """Set a worker process up."""
    global _aligner
    _aligner = align.Aligner(table)


def _work(job: tuple[Path, Shard]) -> tuple[str, float]:
    """Make one shard in a worker process."""
    output, shard = job
    assert _aligner is not None
    return shard.name, render(output, shard, _aligner)


def _letters(output: Path, pool: list[tuple[str, str]]) -> align.Table:
    """The letters' phones, learned once a corpus and kept in ``letters.json``."""
    path = output / "letters.json"
    if not path.exists():
        console.print("Learning which letters stand for which phones...")
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(align.to_json(plan.learn_letters(pool)), indent=1), "utf-8")
        os.replace(partial, path)
    return align.from_json(json.loads(path.read_text("utf-8")))


def _write_manifest(output: Path) -> tuple[int, float]:
    """Join the rows of every complete shard; return their number and their hours."""
    done = sorted((output / "shards").glob("*.jsonl"))
    partial = output / "manifest.partial"
    with partial.open("w", encoding="utf-8") as manifest:
        for path in done:
            manifest.write(path.read_text("utf-8"))
    os.replace(partial, output / "manifest.jsonl")
    rows = read_rows(output / "manifest.jsonl")
    return len(rows), sum(row["seconds"] for row in rows) / 3600


def _make_shards(
    output: Path, shards: Iterator[Shard], table: align.Table, hours: float, workers: int
) -> None:
    """Make shards in order until they hold ``hours`` of speech, or there is none left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.2f} of {task.total:g} h"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    context = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, console=console) as progress,
        context.Pool(workers, _start, (table,), maxtasksperchild=RECYCLE) as pool,
    ):
        task = progress.add_task("speech", total=hours)
        made = 0.0
        jobs = ((output, shard) for shard in shards)
        while made < hours:
            # The plan has no end, so shards are handed out in batches, the last ones small: which
            # shards there are in the end must not depend on the number of workers.
            size = int((hours - made) / LONGEST_SHARD)
            batch = list(islice(jobs, min(max(size, 1), workers * RECYCLE)))
            if not batch:
                return
            for name, seconds in pool.imap(_work, batch, chunksize=1):
                made += seconds / 3600
                progress.update(task, completed=made, description=f"shard {name}")
                if not console.is_terminal:
                    console.print(f"{time.strftime('%X')} shard {name}: {made:.2f} h")


@app.command()
def main(
    output: Annotated[Path, typer.Option(help="The corpus's folder; made when missing.")],
    hours: Annotated[float, typer.Option(help="Hours of speech to have in the end.")] = 40.0,
    workers: Annotated[int, typer.Option(help="Processes; each keeps one core busy.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed: other texts, voices and order.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option(
            help="A `usr/share` that has the text packages. Without it, `apt-get download` "
            "fetches them (8 MB) into `OUTPUT/texts`; nothing is installed."
        ),
    ] = None,
    words: Annotated[
        bool, typer.Option(help="Also read the dictionary's words, in lists (14 hours more).")
    ] = True,
    manifest_only: Annotated[
        bool, typer.Option("--manifest-only", help="Only join the finished shards' rows.")
    ] = False,
) -> None:
    """Make hours of 16 kHz speech with phone and letter times, from free voices and texts.

    Run it again after an interruption: finished shards are kept. **Use the same seed**; more
    `--hours` than before add shards. Training may start on the first shards while the rest is
    made: `shards/NAME.jsonl` exists when, and only when, the shard is complete.

    Needs `apt install flite` and `pip install num2words numpy pyyaml rich soundfile soxr typer`.

    Example: `python recipes/corpus/make.py --output corpus --hours 3`
    """
    (output / "shards").mkdir(parents=True, exist_ok=True)
    if not manifest_only:
        share = source or texts.fetch(output / "texts")
        pool = texts.pool(share, seed)
        voices = load()
        table = _letters(output, pool)
        shards = chain(plan.evaluation_shards(voices), plan.training_shards(voices, pool, seed))
        _make_shards(output, shards, table, hours, workers)
        if words:
            lists = plan.word_shards(voices, texts.word_lists(share, seed), seed)
            _make_shards(output, lists, table, WORD_HOURS, workers)
    items, total = _write_manifest(output)
    console.print(f"[bold]{output / 'manifest.jsonl'}[/bold]: {items:,} items, {total:.2f} hours")


if __name__ == "__main__":
    app()
