"""The distribution that the sampler draws from, and its dependence on one row's noise alone."""

import math

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.decoding.generate import Prompt, generate
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import RowSamplers, Sampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.tree import DraftTree
from vocalmtp.models.noise import uniform
from vocalmtp.models.prompts import tts_prompt


def draw(sampler: Sampler, logits: torch.Tensor, count: int = 20_000) -> torch.Tensor:
    noise = torch.rand(count, generator=torch.Generator().manual_seed(1))
    tokens = sampler.sample(logits.expand(count, -1), noise)
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
        assert torch.equal(sampler.sample(logits, noise), logits.argmax(-1))


def test_greedy_advance_is_the_expected_one() -> None:
    logits = torch.tensor([0.4, 0.3, 0.3, 0.0, 0.0]).log()[None]  # three advances, end and padding
    values = torch.tensor([[0.0], [1.0], [2.0]])
    kept = Sampler(greedy=True).keep_expected(logits, values)
    assert kept.isfinite().tolist() == [[False, True, False, False, False]]  # 0.9, not 0
    assert torch.equal(Sampler(temperature=0.5).keep_expected(logits, values), logits)
    assert torch.equal(Sampler(top_k=1).keep_expected(logits, values), kept)
    array = Sampler(greedy=True).keep_expected(logits.numpy(), values.numpy())
    assert array.tolist() == kept.tolist()


def test_expected_advance_does_not_depend_on_the_batch() -> None:
    logits = torch.randn(7, 218, generator=torch.Generator().manual_seed(0))
    values = torch.cartesian_prod(*[torch.arange(6.0)] * 3).cumsum(1)  # [216, 3]
    whole = Sampler(greedy=True).keep_expected(logits, values)
    for row, own in zip(logits, whole, strict=True):
        assert torch.equal(Sampler(greedy=True).keep_expected(row[None], values)[0], own)


def test_end_is_kept_where_it_is_the_most_probable() -> None:
    logits = torch.tensor([[0.2, 0.2, 0.2, 0.4], [0.3, 0.2, 0.3, 0.2]]).log()
    kept = Sampler(greedy=True).keep_expected(logits, torch.tensor([[0.0], [1.0], [2.0]]))
    assert torch.equal(kept[0], logits[0])
    assert kept[1].argmax() == 1


def test_rows_are_independent() -> None:
    logits, noise = torch.randn(9, 30), torch.rand(9)
    sampler = Sampler(temperature=0.8, top_k=10, top_p=0.9)
    together = sampler.sample(logits, noise)
    alone = [sampler.sample(logits[b : b + 1], noise[b : b + 1]) for b in range(9)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24])
def test_excluded_ids_are_never_sampled(noise: float) -> None:
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]])
    tokens = Sampler().sample(logits, torch.tensor([noise]))
    assert tokens.item() == (1 if noise == 0 else 2)


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


def test_min_p_keeps_ids_near_the_most_probable():
    probs = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    kept = Sampler(min_p=0.31).probabilities(probs.log())
    torch.testing.assert_close(kept, torch.tensor([[10 / 19, 6 / 19, 0.0, 0.0]]).mul(19 / 16))


def test_min_p_is_that_of_transformers():
    from transformers import MinPLogitsWarper

    logits = torch.randn(5, 50, generator=torch.manual_seed(0)) * 3
    expected = MinPLogitsWarper(0.2)(None, logits.clone()).softmax(-1)
    torch.testing.assert_close(Sampler(min_p=0.2).probabilities(logits), expected)


@pytest.mark.parametrize("penalty", [0.7, 1.0, 1.3])
def test_repetition_penalty_is_that_of_transformers(penalty: float):
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.randn(4, 1, 30, generator=torch.manual_seed(0))
    history = torch.randint(30, (4, 12), generator=torch.manual_seed(1))
    seen = torch.zeros(4, 30, dtype=torch.bool).scatter(1, history, True)
    samplers = RowSamplers(history, [Sampler(repetition_penalty=penalty)] * 3 + [Sampler()])
    found = samplers.penalize(logits, seen[:, None])[:, 0]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(history, logits[:, 0].clone())
    assert torch.equal(found[:3], expected[:3]) and torch.equal(found[3], logits[3, 0])


def test_repetition_penalty_is_of_each_stream(make_model):
    """A step's slots are penalized by what their own stream has had, in a batch as alone."""
    model = make_model(text="prompt", frames_per_step=1)
    segments = tts_prompt("prompt", text_ids=[1, 2, 3])
    plain, strict = Sampler(greedy=True), Sampler(greedy=True, repetition_penalty=1e6)
    prompts = [Prompt(segments, sampler, max_steps=5) for sampler in (plain, strict, strict)]
    rows: dict[int, list[torch.Tensor]] = {}
    for event in generate(model, prompts, batch_size=2):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            rows.setdefault(row, []).append(tokens)
    alone = torch.stack([event.tokens[0] for event in generate(model, [prompts[1]])])
    assert torch.equal(torch.stack(rows[1]), alone) and torch.equal(torch.stack(rows[2]), alone)
    assert not torch.equal(torch.stack(rows[0]), alone)
    for slot in (0, 1):
        penalized, free = (len({int(step[slot]) for step in made}) for made in (alone, rows[0]))
        assert penalized > free


def test_repetition_penalty_does_not_go_with_draft_trees(make_model):
    model = make_model(text="prompt", flat=True, draft={"name": "sequential"})
    prompt = Prompt(tts_prompt("prompt", text_ids=[1]), Sampler(repetition_penalty=1.2))
    decoding = Decoding(tree=DraftTree(((0,),)), accept="seed")
    with raises_input_error("unsupported", "repetition_penalty"):
        list(generate(model, [prompt], strategy=decoding.strategy(DecodeStatistics())))
