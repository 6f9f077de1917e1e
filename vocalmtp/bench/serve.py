"""`vocalmtp bench --serve URL`: latency and throughput of a running server, by concurrent clients.

Every client is a listener: it requests a text, plays the audio from the first piece on, and requests
the next text when that has been played. The clients begin one after the other.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.statistics import single
from vocalmtp.optional import require

CLIENTS = (1, 4, 16, 64)
SECONDS = 120.0  # of every number of clients
RATE = 24_000  # Hz
PAUSE = 0.1  # seconds after a request that failed
BEGIN = 5.0  # seconds within which all clients have begun: about the duration of a text
LATE = 0.001  # seconds by which audio may come too late
TEXTS = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well. These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls. The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck. Four hours of steady work faced us.",
)


@dataclass
class Load:
    """What the clients of one number have seen.

    Attributes:
        first: seconds until the first audio of every request.
        factors: seconds per second of audio of every request.
        underruns: seconds by which chunks came too late for playback, of every request.
        audio: seconds of audio of all requests.
        wall: seconds from the first request to the end of the last.
        refused: requests that the server was too busy for.
        failed: requests that ended otherwise.

    """

    first: list[float] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    underruns: list[float] = field(default_factory=list)
    audio: float = 0.0
    wall: float = 0.0
    refused: int = 0
    failed: int = 0

    @property
    def interrupted(self) -> int:
        """Number of streams with an underrun."""
        return sum(late > LATE for late in self.underruns)


def run_serve_bench(
    url: str, clients: Sequence[int] = CLIENTS, seconds: float = SECONDS
) -> list[Metric]:
    """Measure a server.

    Args:
        url: its address, such as http://127.0.0.1:8000.
        clients: numbers of clients at a time, one after the other.
        seconds: for which each number of clients sends requests.

    Raises:
        InputError: no server answers there.

    """
    url = url.rstrip("/")
    check_server(url)
    metrics = []
    for count in clients:
        metrics += load_metrics(count, asyncio.run(apply_load(url, count, seconds)))
    return metrics


def check_server(url: str) -> None:
    """Raise InputError unless a server of speech answers at `url`."""
    httpx: Any = require("httpx")
    try:
        httpx.get(f"{url}/health", timeout=10.0).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"serve '{url:.80}': no server answers ({reason}); start one: vocalmtp serve",
            code="unusable",
        ) from error


async def apply_load(url: str, clients: int, seconds: float) -> Load:
    """Send requests by so many clients, for so many seconds."""
    httpx: Any = require("httpx")
    load, begin = Load(), time.monotonic()
    end = begin + seconds
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120.0, limits=limits) as client:
        turns = [(n, min(BEGIN, seconds) * n / clients) for n in range(clients)]
        await asyncio.gather(*(_run_client(client, n, wait, end, load) for n, wait in turns))
    load.wall = time.monotonic() - begin
    return load


async def _run_client(client: Any, number: int, wait: float, end: float, load: Load) -> None:
    httpx: Any = require("httpx")
    turn = number
    await asyncio.sleep(wait)
    while True:
        text = TEXTS[turn % len(TEXTS)]
        turn += 1
        try:
            wait = await _request(client, text, load)
        except httpx.HTTPError:
            load.failed += 1
            wait = PAUSE
        if time.monotonic() + wait >= end:
            return
        await asyncio.sleep(wait)


async def _request(client: Any, text: str, load: Load) -> float:
    """Speak a text; return the seconds until it is played, or to wait if the server is too busy."""
    body = {"input": text, "response_format": "pcm", "sample_rate": RATE}
    begin, received, started, late = time.monotonic(), 0, 0.0, 0.0
    async with client.stream("POST", "/v1/audio/speech", json=body) as response:
        if response.status_code in (429, 503):
            load.refused += 1
            return float(response.headers.get("retry-after", 1))
        response.raise_for_status()
        async for data in response.aiter_bytes():
            now = time.monotonic()
            if not received:
                started = now
            late = max(late, now - started - received / 2 / RATE)
            received += len(data)
    now, audio = time.monotonic(), received / 2 / RATE
    if not audio:
        load.failed += 1
        return PAUSE
    load.first.append(started - begin)
    load.factors.append((now - begin) / audio)
    load.underruns.append(late)
    load.audio += audio
    return started + late + audio - now


def load_metrics(clients: int, load: Load) -> list[Metric]:
    """The figures of one number of clients."""
    name = f"{clients} clients" if clients > 1 else "1 client"

    def metric(title: str, value: float, unit: str = "", digits: int = 2) -> Metric:
        return Metric(title, name, single(value), unit, digits)

    metrics = []
    if load.first:
        for share in (50, 95):
            first = 1000 * float(np.percentile(load.first, share))
            metrics.append(metric(f"first audio, {share}th percentile", first, "ms", 0))
        metrics.append(
            metric("real-time factor of a stream, median", float(np.median(load.factors)))
        )
        interrupted = load.interrupted / len(load.underruns)
        metrics.append(metric("streams with an underrun", interrupted, "%", 1))
        metrics.append(metric("longest underrun", max(load.underruns), "s"))
        metrics.append(metric("seconds of audio per second", load.audio / load.wall, "", 1))
    metrics.append(metric("requests served", len(load.first), "", 0))
    metrics.append(metric("requests refused (429, 503)", load.refused, "", 0))
    metrics.append(metric("requests failed", load.failed, "", 0))
    return metrics
