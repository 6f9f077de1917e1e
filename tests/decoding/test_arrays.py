"""Decoding on numpy arrays equals decoding on torch tensors, and needs no torch."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.generate import StepUnpacker, unpack
from vocalmtp.decoding.sampling import RowSamplers, Sampler
from vocalmtp.decoding.stepper import PassOutput
from vocalmtp.decoding.strategies import StepBatch
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.noise import RowNoise, noise_source, uniform
from vocalmtp.models.state import DecodeState
from vocalmtp.models.streams import ADVANCE, Stream

CODEC = (Stream(name="content", size=8, delay=1), Stream(name="prosody", size=5, delay=1))
TRACK = Stream(name=ADVANCE, size=3, joint=True)
LAYOUTS = {
    "frame": TokenLayout(streams=CODEC),
    "grouped": TokenLayout(streams=CODEC, frames_per_step=3),
    "track": TokenLayout(streams=(TRACK, *CODEC), frames_per_step=2),
    "flat": TokenLayout(streams=tuple(replace(s, delay=0) for s in CODEC), flat=True),
}
SAMPLERS = {
    "greedy": Sampler(greedy=True),
    "temperature": Sampler(temperature=0.8),
    "top_k": Sampler(top_k=3),
    "top_p": Sampler(top_p=0.7, temperature=1.3),
}
ROWS = 3


class NoCache:
    def __init__(self, lengths: object):
        self.lengths = lengths

    def select(self, rows: object) -> None: ...
    def join(self, other: object) -> None: ...


def state_of(layout: TokenLayout, steps: int, sampler: Sampler, like: object) -> DecodeState:
    """Rows before step `steps`, of which the last one has ended in the step before."""
    numpy = like is np
    array = np.asarray if numpy else torch.as_tensor
    state = DecodeState.start(None, array([steps] * ROWS))
    state.ended = array([-1] * (ROWS - 1) + [steps - 1])
    state.limits = array([steps + 1, steps + 9, steps + 9])
    state.noise = RowNoise.seeded(state.steps, range(ROWS))
    state.samplers = RowSamplers(state.steps, [sampler] * (ROWS - 1) + [SAMPLERS["temperature"]])
    if layout.streams[0].name == ADVANCE:
        text = np.zeros((ROWS, 4, 2), np.float32)
        state.start_text(text if numpy else torch.from_numpy(text), array([4] * ROWS), tracked=True)
        state.pointers = array([3, 1, 3])
    return state


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sampled_step_is_equal(layout: str, sampler: str) -> None:
    slots = LAYOUTS[layout].slots
    draws = np.random.default_rng(0)
    for steps in range(2, 6):
        logits = [draws.standard_normal((ROWS, s.vocab_size)).astype(np.float32) for s in slots]
        results = []
        for library, own in ((np, logits), (torch, [torch.from_numpy(x) for x in logits])):
            state = state_of(LAYOUTS[layout], steps, SAMPLERS[sampler], library)
            runs = LAYOUTS[layout].stack_runs(own)
            tokens = ConstrainedSampler(LAYOUTS[layout], state).all(runs)
            emitted = StepBatch(tokens[:, None], state.steps)
            state.cache = NoCache(state.steps)
            over = PassOutput.of(emitted, LAYOUTS[layout], state).finished
            assert isinstance(tokens, np.ndarray) == (library is np)
            results.append((tokens, over, state.ended))
        for ours, theirs in zip(*results, strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unpacked_steps_are_equal(layout: str) -> None:
    own = LAYOUTS[layout]
    codes = torch.stack([torch.randint(0, stream.size, (1, 7)) for stream in own.streams], 1)
    for steps in (own.pack(codes).tokens[0], own.pack(codes).tokens[0, :4]):
        ours, theirs = unpack(steps.numpy(), own), unpack(steps, own)
        assert isinstance(ours.codes, np.ndarray)
        assert np.array_equal(ours.codes, theirs.codes)
        assert ours.truncated == theirs.truncated
        unpacker = StepUnpacker(own)
        parts = [unpacker.push(step) for step in steps.numpy()]
        whole = np.concatenate([*parts, unpacker.flush()], 1)
        assert np.array_equal(whole[-len(theirs.codes) :], theirs.codes)


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 5, 2**63 - 1])
def test_a_seed_has_the_same_noise(seed: int) -> None:
    ours, theirs = (noise_source(like, seed) for like in (np.zeros(1), torch.zeros(1)))
    for shape in ((13,), (2, 20), (1,)):
        assert np.array_equal(uniform(ours, *shape), uniform(theirs, *shape))


def test_states_of_rows_are_selected_and_joined_alike() -> None:
    made = []
    for library in (np, torch):
        one, other = (
            state_of(LAYOUTS["track"], steps, SAMPLERS["greedy"], library) for steps in (2, 4)
        )
        one.cache = other.cache = NoCache(one.steps)
        one.advance_pointers(one.pointers + 1)
        made.append(one.select([2, 0]).join(other))
    for name in ("steps", "ended", "pointers", "pointer_history", "encoded_text"):
        assert np.array_equal(*(getattr(state, name) for state in made)), name


def test_the_facade_and_the_decode_loop_import_no_torch() -> None:
    code = (
        "import sys, vocalmtp.tts, vocalmtp.decoding.generate; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
