"""Jobs that a fake speaks."""

import json
from collections.abc import Callable

import pytest
from helpers import fake_tts
from helpers.toy_model import save_toy_model

from vocalmtp.batch import Job


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """The folder of a toy model."""
    return str(save_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def make_job(tmp_path, model) -> Callable[..., Job]:
    """Writes a list (lines, or rows of JSON) and makes a job of it that the fake speaks."""

    def make(items: list, name: str | None = None, output: str = "out", **settings) -> Job:
        rows = [json.dumps(item) if isinstance(item, dict) else item for item in items]
        kind = "jsonl" if any(isinstance(item, dict) for item in items) else "txt"
        path = tmp_path / (name or f"items.{kind}")
        path.write_bytes(b"".join(r if isinstance(r, bytes) else f"{r}\n".encode() for r in rows))
        settings = {"model": model, "load": fake_tts.load, "batch_size": 4} | settings
        return Job(input=path, output=tmp_path / output, **settings)

    return make
