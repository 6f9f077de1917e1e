"""The command line on a toy model, in an empty folder."""

from collections.abc import Callable

import pytest
from helpers import command_line
from helpers.toy_model import save_toy_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., int]:
    """Runs the command line in an empty folder and returns its exit status."""
    monkeypatch.chdir(tmp_path)

    return command_line.run
