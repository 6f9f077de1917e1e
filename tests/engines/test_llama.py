"""The runner of Llama-like backbones, beside the layers of Transformers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from vocalmtp.engines.linears import Int8Linear
from vocalmtp.engines.llama import BLOCK, LlamaRunner
from vocalmtp.models.backbone import TransformersRunner

Make = Callable[..., Any]


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def backbone(request: pytest.FixtureRequest, make_model: Make) -> torch.nn.Module:
    made: torch.nn.Module = make_model(backbone=request.param).backbone
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith("norm.weight"):
                weight.mul_(torch.linspace(0.5, 1.5, len(weight)))
    return made


def test_supported_backbones(make_model: Make) -> None:
    assert LlamaRunner.supports(make_model(backbone="llama").backbone)
    assert LlamaRunner.supports(make_model(backbone="qwen2").backbone)  # shared key-value heads
    assert LlamaRunner.supports(make_model(backbone="qwen3").backbone)  # normalized queries, keys
    assert not LlamaRunner.supports(make_model(backbone="gpt2").backbone)
    scaled = make_model(backbone="llama").backbone
    scaled.config.rope_parameters["rope_type"] = "linear"
    assert not LlamaRunner.supports(scaled)


@torch.inference_mode()
def test_runner_equals_transformers(backbone: torch.nn.Module) -> None:
    """Over left-padded prompts, steps beyond a block, a row that leaves and one that joins."""
    runners = [TransformersRunner(backbone), LlamaRunner(backbone)]
    inputs = torch.randn(3, 5, 32)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    (one, slow), (other, fast) = (runner.prefill(inputs, mask) for runner in runners)
    own = mask.bool()
    torch.testing.assert_close(one[own], other[own], atol=1e-5, rtol=1e-5)
    late = torch.randn(1, 2, 32), torch.ones(1, 2, dtype=torch.long)
    for step in range(BLOCK + 3):
        if step == 4:
            for runner, cache in zip(runners, (slow, fast), strict=True):
                cache.crop(2)
                cache.select(torch.tensor([2, 0]))
                cache.join(runner.prefill(*late)[1])
        assert slow.lengths.tolist() == fast.lengths.tolist()
        if step % 20 == 7:  # several positions at once, of which rows keep as many as they like
            x = torch.randn(3, 4, 32)
            hidden = [r.steps(x, c) for r, c in zip(runners, (slow, fast), strict=True)]
            torch.testing.assert_close(*hidden, atol=1e-5, rtol=1e-5)
            for cache in (slow, fast):
                cache.crop(torch.tensor([1, 4, 0]))
        x = torch.randn(3, 32)
        hidden = [r.step(x, c) for r, c in zip(runners, (slow, fast), strict=True)]
        torch.testing.assert_close(*hidden, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_runner_equals_transformers_up_to_the_last_position() -> None:
    """Of a model whose number of positions is no multiple of a block."""
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=8, num_attention_heads=2, max_position_embeddings=70, **sizes)
    model = LlamaForCausalLM(config).eval()
    runners = [TransformersRunner(model), LlamaRunner(model)]
    inputs, mask = torch.randn(2, 62, 32), torch.ones(2, 62, dtype=torch.long)
    mask[1, :3] = 0
    caches = [runner.prefill(inputs, mask)[1] for runner in runners]
    for _ in range(3):
        x = torch.randn(2, 32)
        hidden = [r.step(x, c) for r, c in zip(runners, caches, strict=True)]
        torch.testing.assert_close(*hidden, atol=1e-5, rtol=1e-5)
    x = torch.randn(2, 5, 32)
    hidden = [r.steps(x, c) for r, c in zip(runners, caches, strict=True)]
    torch.testing.assert_close(*hidden, atol=1e-5, rtol=1e-5)
    assert caches[1].lengths.tolist() == [70, 67]


@torch.inference_mode()
def test_several_positions_have_bits_of_single_steps() -> None:
    """Also where they end in another block, and rows differ in length."""
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=384,  # so wide that products of several queries round otherwise
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=6,
        initializer_range=0.2,
    )
    runner = LlamaRunner(LlamaForCausalLM(config).eval(), Int8Linear)
    for length in (3, 57, 60, 62, 100):
        inputs, mask = torch.randn(2, length, 384), torch.ones(2, length)
        mask[1, :2] = 0
        caches = [runner.prefill(inputs, mask)[1] for _ in range(2)]
        x = torch.randn(2, 4, 384)
        one_by_one = [runner.step(x[:, i], caches[0]) for i in range(4)]
        assert torch.equal(runner.steps(x, caches[1]), torch.stack(one_by_one, 1))


@pytest.mark.parametrize("make", [lambda linear: linear, Int8Linear], ids=["float", "int8"])
@torch.inference_mode()
def test_row_has_same_bits_in_any_batch(make_model: Make, make: Make) -> None:
    runner = LlamaRunner(make_model(backbone="llama").backbone, make)
    inputs = [torch.randn(1, length, 32) for length in (3, 70, 20)]
    caches = [runner.prefill(x, torch.ones(x.shape[:2]))[1] for x in inputs]
    together = runner.prefill(inputs[0], torch.ones(1, 3))[1]
    for x in inputs[1:]:
        together.join(runner.prefill(x, torch.ones(x.shape[:2]))[1])
    for _ in range(5):
        x = torch.randn(3, 32)
        alone = [runner.step(x[b : b + 1], cache) for b, cache in enumerate(caches)]
        both = runner.step(x, together)
        if make is Int8Linear:
            assert torch.equal(both, torch.cat(alone))
        else:  # float products of one row take another kernel
            torch.testing.assert_close(both, torch.cat(alone))
