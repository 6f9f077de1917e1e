"""A server of the page within the test's own process, over fakes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from vocalmtp.server.app import make_app, settings
from vocalmtp.server.state import ServerState


@contextmanager
def serving_room(room: ServerState, **options) -> Iterator[int]:
    """The port at which `room` is served; `options` go to make_app."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(make_app(room, **options), **settings(room))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
