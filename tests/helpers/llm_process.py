"""The server of helpers/llm_server.py in a process of its own."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).parent / "llm_server.py"


@contextmanager
def llm_server(*arguments: object) -> Iterator[str]:
    """Run the server until the block ends, and yield its address; `arguments` are its own."""
    command = [sys.executable, str(SERVER), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


def server_log(url: str) -> dict:
    """The requests of the server so far, and the clients that disconnected."""
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)
