"""Make a corpus of synthetic speech by several teachers. Run with --help."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import align
import plan
import texts
from judge import write_manifest
from normalise import VERSION
from render import Shard, render
from teachers import NAMES, Teacher, TeacherMissing, load_teacher
from vocalmtp.text.letter_phones import Table, from_json, to_json

SMOKE_HOURS, SMOKE_ITEMS = 0.01, 4
TEST_HOURS = 10.0  # more than the test lists take
REPORT_EVERY = 60.0  # seconds between lines of progress where there is no terminal

console = Console()
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


def parse_hours(value: str) -> dict[str, float]:
    """Parse ``hibari=6,kokoro=8``. Raises ``typer.BadParameter``."""
    hours: dict[str, float] = {}
    for part in value.split(","):
        name, equals, number = part.partition("=")
        try:
            hours[name] = float(number)
        except ValueError:
            equals = ""
        if not equals or name not in NAMES:
            raise typer.BadParameter(f"{part!r} is not TEACHER=HOURS of {', '.join(NAMES)}")
    return hours


def letters(output: Path, teacher: Teacher, pool: list[tuple[str, str]]) -> Table:
    """The letters' phones, learned once a corpus and lexicon and kept in ``letters-NAME.json``."""
    path = output / f"letters-{teacher.lexicon}.json"
    if not path.exists():
        console.print(f"{teacher.name}: learning which letters stand for which phones")
        partial = path.with_suffix(".partial")
        table = plan.learn_letters(teacher, pool)
        partial.write_text(json.dumps(to_json(table), indent=1), "utf-8")
        os.replace(partial, path)
    return from_json(json.loads(path.read_text("utf-8")))


def check_plan(output: Path, seed: int) -> None:
    """Note what the plan of the texts depends on, or check that it is what the corpus has.

    Raises:
        typer.BadParameter: the corpus was begun with other texts; what it has stays valid.

    """
    path = output / "plan.json"
    plan_now = {"texts": VERSION, "seed": seed}
    if not path.exists() and not any((output / "shards").glob("*.jsonl")):
        path.write_text(json.dumps(plan_now) + "\n", "utf-8")
    found = json.loads(path.read_text("utf-8")) if path.exists() else {"texts": 1, "seed": seed}
    if found != plan_now:
        raise typer.BadParameter(
            f"{output} has the plan {found}, not {plan_now}: it can be used as it is, but more "
            "speech needs another folder, or the version of this recipe that began it",
            param_hint="output",
        )


class Meter:
    """Progress in hours of speech: a bar on a terminal, a line a minute in a log."""

    def __init__(self, name: str, hours: float) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.2f} of {task.total:g} h"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=hours)
        self._name, self._hours = name, hours
        self._seconds, self._last = 0.0, time.monotonic()

    def add(self, seconds: float) -> None:
        """Count the speech of one item."""
        self._seconds += seconds
        self._bar.update(self._task, completed=self._seconds / 3600)
        if not console.is_terminal and time.monotonic() - self._last > REPORT_EVERY:
            self._last = time.monotonic()
            made = f"{self._seconds / 3600:.2f} of {self._hours:g} h"
            print(f"{time.strftime('%F %X')} {self._name}: {made}", flush=True)

    @contextmanager
    def shown(self) -> Iterator[Meter]:
        """Show the bar."""
        with self._bar:
            yield self


def make_shards(
    output: Path,
    shards: Iterator[Shard],
    teacher: Teacher,
    table: Table,
    hours: float,
    smoke: bool = False,
) -> float:
    """Make shards in order until they hold ``hours`` of speech, or there is none left."""
    aligner, made = align.Aligner(table), 0.0
    with Meter(teacher.name, hours).shown() as meter:
        for shard in shards:
            if smoke:
                shard = replace(shard, items=shard.items[:SMOKE_ITEMS])
            made += render(output, shard, teacher, aligner, meter.add) / 3600
            if made >= hours:
                break
    return made


@app.command()
def main(
    output: Annotated[Path, typer.Option(help="The corpus's folder; made when missing.")],
    hours: Annotated[
        str, typer.Option(help="Hours of training speech of each teacher, in their order.")
    ] = "hibari=6,kokoro=10",
    seed: Annotated[int, typer.Option(help="Another seed: other texts, voices and order.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option(
            help="A `usr/share` that has the text packages. Without it, `apt-get download` "
            "fetches them (8 MB) into `OUTPUT/texts`; nothing is installed."
        ),
    ] = None,
    words: Annotated[
        float, typer.Option(help="Hours of the dictionary's words in lists, by each teacher.")
    ] = 0.0,
    tests: Annotated[
        bool, typer.Option(help="Also read the test lists, at the end of each teacher.")
    ] = True,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Half a minute of every teacher, to try it.")
    ] = False,
) -> None:
    """Make hours of 24 kHz speech with phone and letter times, by teachers reading free texts.

    Run it again after an interruption, with the same options: what is there is kept, item by item.
    More `--hours` than before add shards.

    Example: `python recipes/corpus/make.py --output corpus --hours hibari=6,kokoro=10`
    """
    (output / "shards").mkdir(parents=True, exist_ok=True)
    wanted = parse_hours(hours)
    check_plan(output, seed)
    share = source or texts.fetch(output / "texts")
    pool = texts.pool(share, seed)
    for name, asked in wanted.items():
        try:
            teacher = load_teacher(name)
        except TeacherMissing as error:
            raise typer.BadParameter(str(error), param_hint="hours") from error
        table = letters(output, teacher, pool)
        made = make_shards(
            output,
            plan.training_shards(teacher, pool, seed),
            teacher,
            table,
            SMOKE_HOURS if smoke else asked,
            smoke,
        )
        if words:
            lists = plan.word_shards(teacher, texts.word_lists(share, seed), seed)
            made += make_shards(
                output, lists, teacher, table, SMOKE_HOURS if smoke else words, smoke
            )
        if tests:
            lists = plan.evaluation_shards(teacher)
            made += make_shards(output, lists, teacher, table, TEST_HOURS, smoke)
        console.print(f"{name}: {made:.2f} hours")
    items, total = write_manifest(output)
    console.print(f"[bold]{output / 'manifest.jsonl'}[/bold]: {items:,} items, {total:.2f} hours")


if __name__ == "__main__":
    app()
