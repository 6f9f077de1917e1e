"""Replicas on a Ray cluster: load starts one more, and one that is killed under load is replaced."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from helpers.chat_server import serving_process
from helpers.errors import raises_input_error

from vocalmtp.cli.serve import ServeOptions

SPEECH = {"input": "Oh.", "response_format": "pcm"}
DEADLINE = 240.0  # seconds, on a loaded machine


def parent(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def replicas(pid: int) -> set[int]:
    """The processes that serve, in the cluster that a process has started."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_text()
            ours = parent(Path(f"/proc/{parent(folder)}")) == pid
        except OSError:
            continue
        if ours and name.startswith("ray::ServeReplica"):
            found.add(int(folder.name))
    return found


@pytest.fixture
def server(folder) -> Iterator[tuple[int, str]]:
    """The process and the address of `vocalmtp serve` with two replicas at most."""
    pytest.importorskip("ray.serve")
    options = ("--model", folder, "--ray", "2", "--rows", "1", "--llm", "echo")
    own = {"RAY_DISABLE_DASHBOARD": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with serving_process(*options, environment=own) as (process, port):
        yield process.pid, f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="there is no /proc")
def test_load_starts_a_replica_and_a_killed_one_is_replaced(server):
    pid, url = server
    assert len(first := replicas(pid)) == 1
    expected = httpx.post(f"{url}/v1/audio/speech", json=SPEECH, timeout=DEADLINE).content
    statuses: Counter[int] = Counter()
    running = True

    def request() -> None:
        while running:
            response = httpx.post(f"{url}/v1/audio/speech", json=SPEECH, timeout=DEADLINE)
            statuses[response.status_code] += 1
            if response.status_code == 200:
                assert response.content == expected

    def wait_for_two(killed: set[int]) -> set[int]:
        end = time.monotonic() + DEADLINE
        while len(found := replicas(pid) - killed) < 2:
            assert time.monotonic() < end
            time.sleep(1)
        return found

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(request) for _ in range(6)]
        try:
            victim = (wait_for_two(set()) - first).pop()
            before = statuses.copy()
            os.kill(victim, signal.SIGKILL)
            assert first < wait_for_two({victim})
        finally:
            running = False
        for client in clients:
            client.exception()  # of requests that were on the killed replica
    lost = sum(client.exception() is not None for client in clients)
    failed = sum((statuses - before)[status] for status in statuses if status >= 500)
    assert lost + failed < 6  # those of the other replica went on
    assert statuses[200] > before[200]
    assert httpx.post(f"{url}/v1/audio/speech", json=SPEECH, timeout=DEADLINE).content == expected


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"ray": 2, "workers": 2}, "workers"),
        ({"ray": 2, "wyoming": 10_200}, "wyoming"),
        ({"ray": 2, "page": True}, "page"),
        ({"workers": 2, "wyoming": 10_200}, "wyoming"),
    ],
)
def test_options_of_one_process_conflict_with_several(options, key):
    with raises_input_error("conflict", key):
        ServeOptions(**options).check_processes()
