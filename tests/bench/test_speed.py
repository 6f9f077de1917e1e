"""Measurements of speed, on the toy model."""

from collections import Counter

import numpy as np
import pytest
from helpers.errors import raises_input_error
from helpers.toy_model import save_toy_model

from vocalmtp.bench import profile, speed
from vocalmtp.bench.run import next_token_model
from vocalmtp.bench.speed import (
    cold_start,
    first_audio,
    hardware,
    real_time_factors,
    steps_per_second,
)
from vocalmtp.decoding.static import StaticBatch
from vocalmtp.loading import load


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory):
    return save_toy_model(tmp_path_factory.mktemp("model") / "toy")


def test_speed_estimates_are_positive_and_ordered(toy_folder, monkeypatch):
    monkeypatch.setattr(speed, "SENTENCES", ("Hi.", "No."))
    tts = load(toy_folder)
    factors = real_time_factors(tts, (1, 2), repeats=2, temperature=1.0)
    rates = steps_per_second({"a": tts}, frames=8, repeats=2)["a"]
    wait = first_audio(tts, repeats=2, temperature=1.0)
    for estimate in (*factors.values(), *rates.values(), wait):
        assert 0 < estimate.low <= estimate.value <= estimate.high and estimate.count == 2
    # 2 frames per step at 25 frames per second
    assert rates["audio"].value == pytest.approx(rates["steps"].value * 2 / 25)
    assert "cores" in hardware() and "cores" in hardware("auto")


def test_loops_are_timed_as_they_run_in_synthesis(toy_folder, monkeypatch):
    monkeypatch.setattr(speed, "SENTENCES", ("Hi.", "No."))
    monkeypatch.setattr(profile, "FRAMES", 8)
    tts = load(toy_folder, engine="static")
    twin = next_token_model(tts)
    assert twin.model.programs is not None
    launched = Counter()
    launch = StaticBatch.launch

    def counted(batch):
        launched[batch.model.layout.tokens_per_step] += 1
        return launch(batch)

    monkeypatch.setattr(StaticBatch, "launch", counted)
    speed.loop_seconds({"a": tts, "b": twin}, 2, {"a": 3, "b": 5}, repeats=2)
    assert launched == {tts.model.layout.tokens_per_step: 9, 1: 15}
    assert set(profile.time_shares(tts, repeats=1)) > {"backbone", "head", "tokenizer"}
    # without its own operations, as a CUDA graph executes it
    tts.full_model.programs.capture = lambda run: run
    shares = profile.time_shares(tts, repeats=1)
    assert set(shares) == {"passes", "loop", "tokenizer"} and min(shares.values()) >= 0


def test_cold_start_measures_the_memory_of_the_process_alone(toy_folder, monkeypatch):
    monkeypatch.setattr(speed, "SENTENCES", ("Hi.",))
    ballast = np.ones(150_000_000)  # 1.1 GiB of this process, which must not count
    seconds, memory = cold_start(toy_folder, repeats=1)
    assert seconds.value > 0 and 0.05 < memory.value < ballast.nbytes / 2**30


def test_cold_start_of_a_model_that_is_missing_is_refused(tmp_path):
    with raises_input_error("unusable", "model"):
        cold_start(tmp_path / "nothing", repeats=1)
