"""Several processes behind one port: one that is killed is replaced, and no other request fails."""

import os
import signal
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from helpers.chat_fakes import fake_server
from helpers.chat_server import free_port, serving_process
from helpers.errors import raises_input_error
from helpers.spawned import exit_with_user_error

from vocalmtp.server import app
from vocalmtp.server.workers import run_workers

SPEECH = {"input": "Oh.", "response_format": "pcm"}
DEADLINE = 120.0  # seconds, on a loaded machine


def children(pid: int) -> set[int]:
    """Processes of a process that serve: those that multiprocessing has spawned."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        found = [int(child) for child in file.read().split()]
    return {child for child in found if b"spawn_main" in command(child)}


def command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


@pytest.fixture
def server(folder) -> Iterator[tuple[int, str]]:
    """The process and the address of `vocalmtp serve` with two workers."""
    with serving_process("--model", folder, "--workers", "2", times=2) as (process, port):
        yield process.pid, f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="there is no /proc")
def test_killed_worker_is_replaced_and_the_others_serve_on(server):
    pid, url = server
    before = children(pid)
    assert len(before) == 2
    first = httpx.post(f"{url}/v1/audio/speech", json=SPEECH, timeout=DEADLINE).content
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)
    (survivor,) = before
    deadline = time.monotonic() + DEADLINE
    while len(now := children(pid) - {victim}) < 2:
        again = httpx.post(f"{url}/v1/audio/speech", json=SPEECH, timeout=DEADLINE)
        assert again.status_code == 200 and again.content == first
        assert time.monotonic() < deadline
    assert survivor in now and victim not in now
    text = httpx.get(f"{url}/metrics", timeout=DEADLINE).text
    assert 'vocalmtp_requests_total{outcome="complete"}' in text  # of both, added up


def test_workers_that_cannot_start_end_the_command(capfd):
    with raises_input_error("unusable", "workers"):
        run_workers(exit_with_user_error, 2, "127.0.0.1", free_port())
    assert "[not_found]" in capfd.readouterr().err


@pytest.mark.parametrize("protocol", ["http", "wyoming"])
def test_port_that_was_taken_while_models_were_loaded(protocol):
    state = fake_server()
    made = app.make_app(state, page=False)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        raises_input_error("unusable", key="port"),
    ):
        ports = [taken.getsockname()[1], free_port()]
        port, wyoming = ports if protocol == "http" else reversed(ports)
        app.run(made, state, "127.0.0.1", port, lambda: None, wyoming)
