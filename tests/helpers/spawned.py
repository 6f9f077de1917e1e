"""What spawned processes run: they import it by name, which test modules do not have."""

import socket
from pathlib import Path

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.loading import load


def speak(folder: Path, text: str) -> np.ndarray:
    """The samples of a text spoken by the model in `folder`."""
    return load(folder)(text, seed=3).samples


def exit_with_user_error(listener: socket.socket) -> None:
    """A server that cannot start."""
    raise InputError("model 'x': no such model", code="not_found")
