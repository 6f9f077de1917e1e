"""The runner of any causal LM over a cache of fixed shape, beside the cache of Transformers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.engines.cache import BLOCK, TreeMask
from vocalmtp.models.aligned import AlignedRunner
from vocalmtp.models.backbone import TransformersRunner

Make = Callable[..., Any]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=["llama", "qwen2", "gpt2"])
def runners(request: pytest.FixtureRequest, make_model: Make) -> tuple[Any, Any]:
    backbone = make_model(backbone=request.param).backbone
    return TransformersRunner(backbone), AlignedRunner(backbone)


@torch.inference_mode()
def test_runner_equals_transformers(runners: tuple[Any, Any]) -> None:
    """Over left-padded prompts, steps beyond a block, a row that leaves and one that joins."""
    inputs = torch.randn(3, 5, 32)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    (one, theirs), (other, ours) = (runner.prefill(inputs, mask) for runner in runners)
    own = mask.bool()
    torch.testing.assert_close(one[own], other[own], **CLOSE)
    late = torch.randn(1, 2, 32), torch.ones(1, 2, dtype=torch.long)
    for step in range(BLOCK + 3):
        if step == 4:
            for runner, cache in zip(runners, (theirs, ours), strict=True):
                cache.crop(2)
                cache.select(torch.tensor([2, 0]))
                cache.join(runner.prefill(*late)[1])
        if step % 20 == 7:  # several positions at once, of which rows keep as many as they like
            x = torch.randn(3, 4, 32)
            hidden = [r.steps(x, c) for r, c in zip(runners, (theirs, ours), strict=True)]
            torch.testing.assert_close(*hidden, **CLOSE)
            for cache in (theirs, ours):
                cache.crop(torch.tensor([1, 4, 0]))
        x = torch.randn(3, 32)
        hidden = [r.step(x, c) for r, c in zip(runners, (theirs, ours), strict=True)]
        torch.testing.assert_close(*hidden, **CLOSE)
        assert theirs.lengths.tolist() == ours.lengths.tolist()


@torch.inference_mode()
def test_tree_equals_transformers(runners: tuple[Any, Any]) -> None:
    """Both hidden states, and the path that is kept."""
    inputs, mask = torch.randn(2, 4, 32), torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    caches = [runner.prefill(inputs, mask)[1] for runner in runners]
    visible = torch.eye(5, dtype=torch.bool)
    visible[:, 0] = True  # the root, two chains of two drafts
    visible[2, 1] = visible[4, 3] = True
    for _ in range(3):
        x = torch.randn(2, 5, 32)
        tree = TreeMask.of(visible)
        hidden = [r.steps(x, c, tree) for r, c in zip(runners, caches, strict=True)]
        torch.testing.assert_close(*hidden, **CLOSE)
        path, counts = torch.tensor([[2, 3], [0, 1]]), torch.tensor([2, 1])
        for cache in caches:
            cache.keep_path(torch.tensor([4, 4]), path, counts)
        x = torch.randn(2, 32)
        hidden = [r.step(x, c) for r, c in zip(runners, caches, strict=True)]
        torch.testing.assert_close(*hidden, **CLOSE)


def test_unsupported_backbone(make_model: Make) -> None:
    backbone = make_model(backbone="qwen2").backbone
    backbone.config.layer_types = ["full_attention", "sliding_attention"]
    with raises_input_error("unsupported", key="engine", names="qwen2"):
        AlignedRunner(backbone)
