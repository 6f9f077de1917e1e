"""The command line, run in this process."""

import io
import sys

import pytest

from vocalmtp.cli import main


def run(*arguments: object) -> int:
    """The exit status of ``vocalmtp`` with these arguments."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def pipe_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make `content` the standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
