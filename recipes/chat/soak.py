"""Measure memory and latency of `vocalmtp chat` over a long time.

    python recipes/chat/soak.py --minutes 30 --output results/soak

Clients send recorded questions over the page's socket at the pace of a microphone, wait for the
answers or interrupt them, and reconnect after ten turns. Every turn is a row of turns.csv, with the
memory of the server's processes; soak.png plots both, soak.md summarizes them.
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
from vocalmtp.bench.chat import SpokenQuestion, parts_of, record, serving
from vocalmtp.chat.client import TIMEOUT, ChatClient, Exchange, connect
from vocalmtp.evaluation.report import Metric, load_pyplot, write_report
from vocalmtp.evaluation.statistics import median_range, single

TURNS = 10  # of a client until it reconnects
INTERRUPTED = 0.25  # share of the answers
PAUSE = 1.0  # seconds after an answer, on average
WARM_UP = 0.2  # share of the turns before memory should be constant
PAGE = 4096  # bytes


@dataclass(frozen=True)
class Row:
    """One turn of a client; `latency` as `vocalmtp bench --chat` measures it."""

    minutes: float  # since the beginning
    client: int
    interrupts: bool  # it interrupts an answer
    latency: float | None  # ms from the end of the turn to the first audio
    gaps: int
    errors: int
    memory: float  # MiB of the server's processes


def memory_of(process: int) -> float:
    """Return the resident memory of a process and its children, in MiB."""
    pages = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if process in (int(folder.name), parent):
                pages += int((folder / "statm").read_text().split()[1])
        except OSError:  # the process has ended
            continue
    return pages * PAGE / 2**20


async def ask_briefly(client: ChatClient, question: SpokenQuestion) -> None:
    """Ask a question, and return as soon as its answer plays."""
    exchange = await client.say(question.samples, question.speech)
    deadline = time.monotonic() + TIMEOUT
    while exchange.playout.begin is None and not exchange.done.is_set():
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


async def run_client(
    number: int,
    address: str,
    questions: list[SpokenQuestion],
    end: float,
    on_turn: Callable[[int, bool, Exchange], None],
) -> None:
    """Hold conversations until the time `end`."""
    rng = random.Random(number)
    while time.monotonic() < end:
        async with connect(address) as client:
            for _ in range(TURNS):
                if time.monotonic() >= end:
                    return
                interrupts = rng.random() < INTERRUPTED
                if interrupts:
                    await ask_briefly(client, rng.choice(questions))
                question = rng.choice(questions)
                on_turn(number, interrupts, await client.ask(question.samples, question.speech))
                await asyncio.sleep(rng.uniform(0, 2 * PAUSE))


def soak(model: str, minutes: float, clients: int, table: Path) -> list[Row]:
    """Return all turns; each one is also written to `table` when it ends."""
    questions, rows = record(vocalmtp.load(model)), []
    with (
        table.open("w", newline="") as file,
        serving("--model", model, "--sessions", str(clients + 1)) as server,
    ):
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        begin = time.monotonic()

        def on_turn(number: int, interrupts: bool, exchange: Exchange) -> None:
            parts = parts_of(exchange)
            row = Row(
                minutes=round((time.monotonic() - begin) / 60, 3),
                client=number,
                interrupts=interrupts,
                latency=None if parts is None else round(parts["total"], 1),
                gaps=exchange.playout.gaps,
                errors=len(exchange.errors),
                memory=round(memory_of(server.process.pid), 1),
            )
            rows.append(row)
            writer.writerow(asdict(row))
            file.flush()

        async def run_all() -> None:
            end = begin + 60 * minutes
            tasks = [run_client(n, server.socket, questions, end, on_turn) for n in range(clients)]
            await asyncio.gather(*tasks)

        asyncio.run(run_all())
    return rows


def summary(model: str, rows: list[Row]) -> list[Metric]:
    """Summarize the turns; latency and memory of both halves after the warm-up."""
    kept = rows[round(WARM_UP * len(rows)) :]
    lines = [
        Metric("turns", model, single(len(rows)), "", 0),
        Metric(
            "answered", model, single(sum(r.latency is not None for r in rows) / len(rows)), "%", 1
        ),
        Metric("errors", model, single(sum(row.errors for row in rows)), "", 0),
        Metric("gaps", model, single(sum(row.gaps for row in rows)), "", 0),
    ]
    for name, part in (("first", kept[: len(kept) // 2]), ("last", kept[len(kept) // 2 :])):
        latencies = [row.latency for row in part if row.latency is not None]
        lines.append(Metric(f"latency, {name} half", model, median_range(latencies), "ms", 0))
        lines.append(
            Metric(f"memory, {name} half", model, median_range([r.memory for r in part]), "MiB", 0)
        )
    return lines


def plot(rows: list[Row], path: Path) -> None:
    """Plot memory and latency over time."""
    figure, (above, below) = load_pyplot().subplots(2, 1, sharex=True, figsize=(8, 5))
    above.plot([row.minutes for row in rows], [row.memory for row in rows])
    above.set(ylabel="memory, MiB", ylim=(0, None))
    answered = [row for row in rows if row.latency is not None]
    below.plot([row.minutes for row in answered], [row.latency for row in answered], ".")
    below.set(ylabel="latency, ms", xlabel="minutes", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Duration.")] = 30.0,
    clients: Annotated[int, typer.Option(min=1, help="Conversations at a time.")] = 2,
    model: Annotated[str, typer.Option(help="The model that speaks; an echo answers.")] = "mini",
) -> None:
    """Measure memory and latency of `vocalmtp chat` over a long time."""
    output.mkdir(parents=True, exist_ok=True)
    rows = soak(model, minutes, clients, output / "turns.csv")
    plot(rows, output / "soak.png")
    print(write_report(output, "soak", summary(model, rows)))


if __name__ == "__main__":
    typer.run(main)
