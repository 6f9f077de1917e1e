"""`vocalmtp chat` as a process of its own, to be measured."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vocalmtp.errors import InputError

PATIENCE = 180.0  # seconds until the page must be there


@dataclass(frozen=True)
class ChatServer:
    """A running server."""

    port: int
    process: subprocess.Popen

    @property
    def page(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def socket(self) -> str:
        """The address of its socket."""
        return f"ws://127.0.0.1:{self.port}/talk/socket"


@contextmanager
def serving(*options: str, headers: Sequence[tuple[str, str]] = ()) -> Iterator[ChatServer]:
    """`vocalmtp chat` with `options` on a free port, until the block ends.

    The `headers` are sent with the request that tries whether the page is there. Raises InputError
    with what the process said if it fails.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vocalmtp", "chat", "--port", str(port), *options]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, stderr=said)
        server = ChatServer(port, process)
        try:
            _wait(server, headers, said)
            yield server
        finally:
            process.terminate()
            process.wait()


def _wait(server: ChatServer, headers: Sequence[tuple[str, str]], said) -> None:
    request = urllib.request.Request(server.page, headers=dict(headers))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            urllib.request.urlopen(request, timeout=5).read()
            return
        except OSError:
            time.sleep(0.2)
    said.seek(0)
    lines = said.read().strip().splitlines()
    raise InputError(
        f"chat: the server did not start ({lines[-1] if lines else 'too slow'})",
        code="invalid_value",
    )
