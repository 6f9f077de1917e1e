"""Engines by name, what they refuse, and the threads that they compute with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command_line import run
from helpers.errors import raises_input_error
from helpers.toy_model import save_toy_model

import vocalmtp
from vocalmtp.engines.base import ENGINES, find_engine
from vocalmtp.engines.threads import iterate_with_threads, torch_threads


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize(
    ("settings", "code", "key"),
    [
        ({"engine": "cpus"}, "unknown_name", "engine"),
        ({"engine": None}, "unknown_name", "engine"),
        ({"engine": "cpu", "device": "meta"}, "unusable", "device"),
        ({"engine": "cpu", "device": "abacus"}, "unknown_name", "device"),
        ({"engine": "eager", "int8": True}, "conflict", "int8"),
        ({"threads": 0}, "out_of_range", "threads"),
        ({"threads": -1}, "out_of_range", "threads"),
        ({"threads": True}, "invalid_value", "threads"),
        ({"threads": 1.5}, "invalid_value", "threads"),
    ],
)
def test_invalid_settings(folder: Path, settings: dict[str, Any], code: Any, key: str) -> None:
    with raises_input_error(code, key=key):
        vocalmtp.load(folder, **settings)


@pytest.mark.parametrize(
    "option", [("--engine", "cpus"), ("--threads", "0"), ("--engine", "eager", "--device", "x")]
)
def test_invalid_options_are_one_line(option: tuple[str, ...], capsys, tmp_path) -> None:
    assert run("tts", "Yes.", "-o", tmp_path / "a.wav", *option) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_auto_is_an_engine_of_the_device(folder: Path) -> None:
    assert type(find_engine()) is type(find_engine("cpu"))
    for name in set(ENGINES) - {"cuda"}:  # this machine may have none
        if "cpu" in find_engine(name, "auto").devices:
            assert find_engine(name, "cpu")


def test_engines_give_equal_tokens(folder: Path) -> None:
    """The fused modules of a float model round in another order, and choose the same tokens."""
    fused, static, eager = (
        vocalmtp.load(folder, engine=name, int8=int8)
        for name, int8 in (("cpu", False), ("static", None), ("eager", None))
    )
    for sampling in ({"greedy": True}, {"seed": 4, "temperature": 0.7}):
        reference = eager("Not two.", **sampling)
        for engine in (fused, static):
            ours = engine("Not two.", **sampling)
            assert ours.words == reference.words
            assert np.abs(ours.samples - reference.samples).max() <= 1e-3


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none(folder: Path) -> None:
    for device in ("auto", "cuda"):
        with raises_input_error("unusable", key="device", names="cuda"):
            vocalmtp.load(folder, engine="cuda", device=device)
    with raises_input_error("conflict", key="engine", names="cuda"):
        vocalmtp.load(folder, engine="cuda", device="cpu")
    with raises_input_error("conflict", key="int8"):
        vocalmtp.load(folder, engine="static", int8=True)


def test_threads_are_set_while_an_item_is_made() -> None:
    seen: list[int] = []

    def items() -> Iterator[int]:
        for number in range(2):
            seen.append(torch.get_num_threads())
            yield number

    with torch_threads(2):
        found = [(item, torch.get_num_threads()) for item in iterate_with_threads(items(), 3)]
    assert seen == [3, 3]
    assert found == [(0, 2), (1, 2)]


def test_threads_of_the_program_are_kept(folder: Path) -> None:
    with torch_threads(2):
        tts = vocalmtp.load(folder, threads=1)
        stream = tts.stream("Not two.")
        next(stream)
        assert torch.get_num_threads() == 2
        stream.close()
        with raises_input_error("invalid_value", key="seed"):
            tts("Not two.", seed="a")
        tts("Not two.")
        assert torch.get_num_threads() == 2
