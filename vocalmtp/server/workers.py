"""The port of a server, and several processes that serve it and are replaced when they die."""

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from tempfile import TemporaryDirectory

from vocalmtp.errors import InputError

Serve = Callable[[socket.socket], None]  # serves a listening socket until the process ends

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where the processes add up their measurements
USER_ERROR = 2  # exit status
SHORTEST = 10.0  # seconds: a worker that lives less has failed to start
MOST_FAILURES = 3  # in a row


def check_port(host: str, port: int) -> None:
    """Raise InputError unless the server can listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(
            f"host '{host}': not an address ({error.strerror}); give 127.0.0.1, or 0.0.0.0",
            code="invalid_value",
        ) from error
    try:
        with socket.socket(family, kind) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
    except OSError as error:
        raise InputError(
            f"port '{port}': cannot be used on {host} ({error.strerror}); give another --port",
            code="unusable",
        ) from error


def run_workers(serve: Serve, count: int, host: str, port: int) -> None:
    """Serve a port by several processes until Ctrl-C.

    Args:
        serve: runs in every process; must be picklable.
        count: the number of processes.
        host: the address.
        port: the port; the system gives a connection to any process that is free.

    Raises:
        InputError: the processes fail to start.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        TemporaryDirectory(prefix="vocalmtp-metrics-") as folder,
        socket.create_server((host, port), family=family, backlog=1024) as listener,
    ):
        os.environ[METRICS_FOLDER] = folder  # before the library of measurements is imported
        workers = [_start(serve, listener) for _ in range(count)]
        try:
            _replace_dead(workers, lambda: _start(serve, listener))
        except KeyboardInterrupt:
            pass
        finally:
            os.environ.pop(METRICS_FOLDER)
            _stop(workers)


def _start(serve: Serve, listener: socket.socket) -> SpawnProcess:
    process = get_context("spawn").Process(target=_work, args=(serve, listener))
    process.start()
    return process


def _work(serve: Serve, listener: socket.socket) -> None:
    """Run in a worker: user errors are one line, Ctrl-C is silent."""
    try:
        with suppress(KeyboardInterrupt):
            serve(listener)
    except InputError as error:
        print(f"error: {error} [{error.code}]", file=sys.stderr, flush=True)
        sys.exit(USER_ERROR)


def _replace_dead(workers: list[SpawnProcess], start: Callable[[], SpawnProcess]) -> None:
    """Start a new worker for every one that ends; modifies `workers`."""
    begun = dict.fromkeys(workers, time.monotonic())
    failures = 0
    while True:
        wait([worker.sentinel for worker in workers])
        for place, worker in enumerate(workers):
            if worker.is_alive():
                continue
            failures = failures + 1 if time.monotonic() - begun.pop(worker) < SHORTEST else 0
            if worker.exitcode == USER_ERROR or failures >= MOST_FAILURES:
                raise InputError(
                    f"workers '{len(workers)}': a process has ended with status "
                    f"{worker.exitcode}; correct what it has reported",
                    code="unusable",
                )
            _forget_metrics(worker)
            workers[place] = start()
            begun[workers[place]] = time.monotonic()


def _forget_metrics(worker: SpawnProcess) -> None:
    """Drop the gauges of a process that has died; its counters are kept."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def _stop(workers: list[SpawnProcess]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(10)
        if worker.is_alive():
            worker.kill()
            worker.join()
