"""The distribution that the sampler draws from, and its dependence on one row's noise alone."""

import math

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.models.noise import uniform


def draw(sampler: Sampler, logits: torch.Tensor, count: int = 20_000) -> torch.Tensor:
    noise = torch.rand(count, generator=torch.Generator().manual_seed(1))
    tokens, _ = sampler.sample(logits.expand(count, -1), noise)
    return torch.bincount(tokens, minlength=logits.shape[-1]) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_match_the_softmax(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5])
    want = (logits / temperature).softmax(-1)
    assert (draw(Sampler(temperature=temperature), logits) - want).abs().max() < 0.015


def test_top_k_and_top_p_keep_the_best() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert (draw(Sampler(top_k=2), logits) > 0).tolist() == [True, True, False, False]
    assert (draw(Sampler(top_p=0.65), logits) > 0).tolist() == [True, True, False, False]
    assert (draw(Sampler(top_p=0.75), logits) > 0).tolist() == [True, True, True, False]
    assert (draw(Sampler(top_p=0.01), logits) > 0).tolist() == [True, False, False, False]


def test_greedy_takes_the_best() -> None:
    logits, noise = torch.randn(50, 7), torch.rand(50)
    for sampler in (Sampler(greedy=True), Sampler(temperature=0.0), Sampler(top_k=1)):
        tokens, log_probs = sampler.sample(logits, noise)
        assert torch.equal(tokens, logits.argmax(-1))
        assert (log_probs <= 0).all()


def test_rows_are_independent() -> None:
    logits, noise = torch.randn(9, 30), torch.rand(9)
    sampler = Sampler(temperature=0.8, top_k=10, top_p=0.9)
    together, _ = sampler.sample(logits, noise)
    alone = [sampler.sample(logits[b : b + 1], noise[b : b + 1])[0] for b in range(9)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24])
def test_excluded_ids_are_never_sampled(noise: float) -> None:
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]])
    tokens, log_probs = Sampler().sample(logits, torch.tensor([noise]))
    assert tokens.item() == (1 if noise == 0 else 2)
    assert log_probs.item() == pytest.approx(math.log(0.5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": math.nan},
    ],
)
def test_values_out_of_range(wrong: dict) -> None:
    with raises_input_error("out_of_range", key=next(iter(wrong))):
        Sampler(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "hot"},
        {"temperature": None},
        {"temperature": True},
        {"top_k": 1.5},
        {"top_k": "5"},
        {"top_p": "0.9"},
        {"greedy": 1},
        {"greedy": "no"},
    ],
)
def test_values_of_the_wrong_type(wrong: dict) -> None:
    with raises_input_error("invalid_value", key=next(iter(wrong))):
        Sampler(**wrong)


def test_noise_does_not_depend_on_torch_defaults() -> None:
    want = uniform(torch.Generator().manual_seed(3), 2, 5)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        found = uniform(torch.Generator("cpu").manual_seed(3), 2, 5)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found.dtype == torch.float32 and torch.equal(found, want)
