"""Measure `vocalmtp serve` under load, beside hibari-tts behind a plain FastAPI.

python recipes/bench/server.py --output recipes/bench/results

Clients are listeners, see vocalmtp/bench/serve.py. Each system is a fresh process that has the machine,
but for the clients, to itself. Writes server.md and server.json. `--memory` measures the memory of the
server over many short requests instead.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vocalmtp.bench.serve import Load, apply_load
from vocalmtp.bench.speed import hardware

CLIENTS = (1, 4, 8, 16, 64, 128)  # the last two: as in the default limits, and beyond all of them
SECONDS = 25.0
SERVE = ("vocalmtp", "serve", "--per-client", "200", "--queue", "40", "--llm", "echo")
COLUMNS = (
    "system",
    "clients",
    "first audio p50 / p95, ms",
    "RTF of a stream p50 / p95",
    "streams with an underrun",
    "longest underrun, s",
    "audio s / s",
    "cores used",
    "memory before / after, MiB",
    "served / refused / lost",
)


def hibari_app():
    """The other system: one route, which synthesizes in FastAPI's pool of threads."""
    from fastapi import FastAPI, Response
    from hibari import SAMPLE_RATE, Hibari
    from pydantic import BaseModel

    from vocalmtp.audio.formats import to_pcm
    from vocalmtp.audio.io import resample
    from vocalmtp.bench.serve import RATE

    app, model = FastAPI(), Hibari(threads=1)

    class Body(BaseModel):
        input: str

    @app.post("/v1/audio/speech")
    def speech(body: Body) -> Response:
        samples = np.asarray(model(body.input), np.float32)
        return Response(to_pcm(resample(samples, SAMPLE_RATE, RATE)), media_type="audio/pcm")

    @app.get("/ready")
    def ready() -> str:
        model("Yes.")
        return "ready"

    return app


def serve_hibari(port: int) -> None:
    """Serve the other system until the process is terminated."""
    import uvicorn

    uvicorn.run(hibari_app(), port=port, log_level="warning")


@contextmanager
def system(name: str) -> Iterator[tuple[int, str]]:
    """Run a system; yields its process and address when it is ready."""
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    commands = {
        "vocalmtp": [sys.executable, "-m", *SERVE, "--port", str(port)],
        "hibari": [sys.executable, __file__, "--serve-hibari", str(port)],
    }
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(commands[name], stderr=subprocess.DEVNULL)
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"{name}: ended with status {process.returncode}")
            try:
                if httpx.get(f"{url}/ready", timeout=60).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        asyncio.run(apply_load(url, 1, 3.0))
        yield process.pid, url
    finally:
        process.terminate()
        process.wait(30)


def memory(pid: int) -> float:
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_seconds(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, clients: int, pid: int, url: str, seconds: float) -> dict:
    """Apply a number of clients to a system."""
    before, used = memory(pid), cpu_seconds(pid)
    load = asyncio.run(apply_load(url, clients, seconds))
    measured = {"system": name, "clients": clients, **asdict(load)}
    measured |= {"interrupted": load.interrupted, "memory": [before, memory(pid)]}
    measured["cores"] = (cpu_seconds(pid) - used) / load.wall
    print(row(measured, load), flush=True)
    return measured


def row(measured: dict, load: Load) -> str:
    """A line of the table."""

    def percentiles(values: list[float], digits: int, factor: float = 1.0) -> str:
        if not values:
            return ""
        found = np.percentile(values, (50, 95)) * factor
        return " / ".join(f"{value:.{digits}f}" for value in found)

    before, after = measured["memory"]
    cells = (
        measured["system"],
        measured["clients"],
        percentiles(load.first, 0, 1000.0),
        percentiles(load.factors, 2),
        f"{load.interrupted} of {len(load.underruns)}",
        f"{max(load.underruns, default=0.0):.2f}",
        f"{load.audio / load.wall:.1f}",
        f"{measured['cores']:.2f}",
        f"{before:.0f} / {after:.0f}",
        f"{len(load.first)} / {load.refused} / {load.failed}",
    )
    return table_line(cells)


def table_line(cells: tuple) -> str:
    """A line of Markdown."""
    return "| " + " | ".join(map(str, cells)) + " |"


def sustained(measured: list[dict], name: str) -> int:
    """Most listeners of whom no one, nor any of fewer, had an underrun or lost a request."""
    most = 0
    for found in measured:
        if found["system"] == name:
            if found["interrupted"] or found["refused"] or found["failed"] or not found["first"]:
                break
            most = found["clients"]
    return most


def run_load(systems: list[str], clients: list[int], seconds: float, output: Path) -> None:
    """Measure systems, and write the table."""
    head = [table_line(COLUMNS), "|" + "---|" * len(COLUMNS)]
    print("\n".join(head))
    measured, load = [], os.getloadavg()[0]
    for name in systems:
        with system(name) as (pid, url):
            measured += [measure(name, count, pid, url, seconds) for count in clients]
    lines = [row(found, Load(**{k: found[k] for k in asdict(Load())})) for found in measured]
    notes = [f"{n}: {sustained(measured, n)} listeners without an underrun." for n in systems]
    notes.append(f"Machine: {hardware('cpu')}; load before it: {load:.1f}; {seconds:.0f} s each.")
    notes.append("Command: " + " ".join(SERVE) + ".")
    print("\n".join(["", *notes]))
    output.mkdir(parents=True, exist_ok=True)
    (output / "server.md").write_text("\n".join([*head, *lines, "", *notes]) + "\n")
    (output / "server.json").write_text(json.dumps({"notes": notes, "runs": measured}) + "\n")


def run_memory(requests: int) -> None:
    """Print the memory of the server over so many short requests, sixteen at a time."""
    import httpx

    async def send(url: str, count: int) -> None:
        turns = asyncio.Semaphore(16)
        async with httpx.AsyncClient(base_url=url, timeout=600.0) as client:

            async def one(number: int) -> None:
                async with turns:
                    body = {"input": f"Number {number}.", "response_format": "mp3"}
                    (await client.post("/v1/audio/speech", json=body)).raise_for_status()

            await asyncio.gather(*map(one, range(count)))

    with system("vocalmtp") as (pid, url):
        for done in range(0, requests, requests // 10):
            print(f"{done} requests: {memory(pid):.1f} MiB", flush=True)
            asyncio.run(send(url, requests // 10))
        print(f"{requests} requests: {memory(pid):.1f} MiB")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("recipes/bench/results"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--systems", nargs="+", default=["vocalmtp", "hibari"])
    parser.add_argument("--memory", type=int, metavar="REQUESTS", help="see above")
    parser.add_argument("--serve-hibari", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_hibari:
        serve_hibari(arguments.serve_hibari)
    elif arguments.memory:
        run_memory(arguments.memory)
    else:
        run_load(arguments.systems, arguments.clients, arguments.seconds, arguments.output)


if __name__ == "__main__":
    main()
