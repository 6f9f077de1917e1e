"""A chat server over fakes in the process of a test."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
