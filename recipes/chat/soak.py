"""Talk to `vocalmtp chat` for long: does its memory stay, and is it as quick at the end?

    python recipes/chat/soak.py --minutes 30 --output results/soak

Callers ask recorded questions over the page's socket at the pace of a microphone, hear the answers
out or interrupt them, and hang up and call again. Every turn is a row of turns.csv, with the memory
of the server's processes; soak.png shows both, soak.md sums up.
"""

import asyncio
import csv
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

import vocalmtp
from vocalmtp.bench.chat import SpokenQuestion, parts_of, record
from vocalmtp.bench.chat_server import serving
from vocalmtp.chat.client import PATIENCE, Caller, Exchange, call
from vocalmtp.evaluation.report import Line, load_pyplot, write_report
from vocalmtp.evaluation.statistics import once, spread

TURNS = 10  # until a caller hangs up
INTERRUPTED = 0.25  # the share of the answers that are
PAUSE = 1.0  # seconds after an answer, on average
WARM = 0.2  # the share of the time after which memory is expected to stay
PAGE = 4096  # bytes


@dataclass(frozen=True)
class Row:
    """One turn of a caller."""

    minutes: float  # since the beginning
    caller: int
    interrupts: bool  # the answer before it
    latency: (
        float | None
    )  # ms from the end of the turn to the first sound, as `bench --chat` has it
    gaps: int
    errors: int
    memory: float  # MiB of the server's processes


def memory_of(process: int) -> float:
    """MiB that a process and its children have in memory."""
    pages = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if process in (int(folder.name), parent):
                pages += int((folder / "statm").read_text().split()[1])
        except OSError:  # it has just ended
            continue
    return pages * PAGE / 2**20


async def interrupt(caller: Caller, question: SpokenQuestion) -> None:
    """Ask, and go on as soon as the answer sounds."""
    exchange = await caller.say(question.samples, question.speech)
    deadline = time.monotonic() + PATIENCE
    while exchange.playout.begin is None and not exchange.done.is_set():
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


async def talk(
    number: int,
    address: str,
    questions: list[SpokenQuestion],
    end: float,
    note: Callable[[int, bool, Exchange], None],
) -> None:
    """One caller, until the clock says `end`."""
    dice = random.Random(number)
    while time.monotonic() < end:
        async with call(address) as caller:
            for _ in range(TURNS):
                if time.monotonic() >= end:
                    return
                interrupts = dice.random() < INTERRUPTED
                if interrupts:
                    await interrupt(caller, dice.choice(questions))
                question = dice.choice(questions)
                note(number, interrupts, await caller.ask(question.samples, question.speech))
                await asyncio.sleep(dice.uniform(0, 2 * PAUSE))


def soak(model: str, minutes: float, callers: int, table: Path) -> list[Row]:
    """All turns; each is written to `table` as it ends."""
    questions, rows = record(vocalmtp.load(model)), []
    with (
        table.open("w", newline="") as file,
        serving("--model", model, "--sessions", str(callers + 1)) as server,
    ):
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        begin = time.monotonic()

        def note(number: int, interrupts: bool, exchange: Exchange) -> None:
            parts = parts_of(exchange)
            row = Row(
                minutes=round((time.monotonic() - begin) / 60, 3),
                caller=number,
                interrupts=interrupts,
                latency=None if parts is None else round(parts["whole"], 1),
                gaps=exchange.playout.gaps,
                errors=len(exchange.errors),
                memory=round(memory_of(server.process.pid), 1),
            )
            rows.append(row)
            writer.writerow(asdict(row))
            file.flush()

        async def everybody() -> None:
            end = begin + 60 * minutes
            lines = [talk(n, server.socket, questions, end, note) for n in range(callers)]
            await asyncio.gather(*lines)

        asyncio.run(everybody())
    return rows


def summary(model: str, rows: list[Row]) -> list[Line]:
    """What of the turns one wants to know: the first and the last half of them after warming up."""
    kept = rows[round(WARM * len(rows)) :]
    lines = [
        Line("turns", model, once(len(rows)), "", 0),
        Line("answered", model, once(sum(r.latency is not None for r in rows) / len(rows)), "%", 1),
        Line("errors", model, once(sum(row.errors for row in rows)), "", 0),
        Line("gaps", model, once(sum(row.gaps for row in rows)), "", 0),
    ]
    for name, part in (("first", kept[: len(kept) // 2]), ("last", kept[len(kept) // 2 :])):
        late = [row.latency for row in part if row.latency is not None]
        lines.append(Line(f"latency, {name} half", model, spread(late), "ms", 0))
        lines.append(
            Line(f"memory, {name} half", model, spread([r.memory for r in part]), "MiB", 0)
        )
    return lines


def plot(rows: list[Row], path: Path) -> None:
    """Memory and latency over time."""
    figure, (above, below) = load_pyplot().subplots(2, 1, sharex=True, figsize=(8, 5))
    above.plot([row.minutes for row in rows], [row.memory for row in rows])
    above.set(ylabel="memory, MiB", ylim=(0, None))
    heard = [row for row in rows if row.latency is not None]
    below.plot([row.minutes for row in heard], [row.latency for row in heard], ".")
    below.set(ylabel="latency, ms", xlabel="minutes", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what was measured.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to talk.")] = 30.0,
    callers: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 2,
    model: Annotated[str, typer.Option(help="Which model speaks; an echo answers.")] = "mini",
) -> None:
    """Talk to `vocalmtp chat` for long, and note its memory and latency."""
    output.mkdir(parents=True, exist_ok=True)
    rows = soak(model, minutes, callers, output / "turns.csv")
    plot(rows, output / "soak.png")
    print(write_report(output, "soak", summary(model, rows)))


if __name__ == "__main__":
    typer.run(main)
