"""A chat server over fakes in the process of a test, and servers in processes of their own."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from helpers.waiting import wait_until
from vocalmtp.server.app import make_app, settings
from vocalmtp.server.state import ServerState


def free_port() -> int:
    """A port that no server uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(state: ServerState, **options) -> Iterator[int]:
    """Serve `state` until the block ends, and yield the port; `options` go to make_app."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(make_app(state, **options), **settings(state))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def serving_process(
    *options: str | Path,
    verb: str = "serve",
    listens: str = "speech at",
    times: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[subprocess.Popen, int]]:
    """Run `vocalmtp serve` with `options` until the block ends; yield the process and its port.

    Args:
        options: of the verb, but for the port.
        verb: serve or chat.
        listens: what the line says that tells that a process of the server listens.
        times: number of processes that say so.
        environment: variables beside those of this process.

    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "vocalmtp", verb, *options, "--port", str(port)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict(environment or {}),
    )
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while sum(listens in line for line in lines) < times:
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)  # the end of the process
        yield process, port
    finally:
        process.terminate()
        process.wait(60)
