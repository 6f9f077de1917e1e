"""Our loop and Transformers' on one set of random weights: the same model, and rates of both."""

import dataclasses

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.bench import upstream
from vocalmtp.cli.bench import BenchOptions
from vocalmtp.published.base import FAMILIES, Family

SMALL = {
    "vocab_size": 29_000,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


@pytest.fixture
def family() -> Family:
    family = FAMILIES["orpheus"]
    card = dataclasses.replace(family.card, size=family.card.size | SMALL)
    return dataclasses.replace(family, card=card)


def test_both_have_the_same_weights(family: Family):
    published, ours = upstream.build_pair(family, 2, torch.float32, {"engine": "eager"})
    assert len(published.model.layers) == 2
    for one, other in zip(
        published.model.parameters(), ours.backbone.model.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        hidden = published.model(input_ids=ids).last_hidden_state
        logits = published.lm_head(hidden)[..., 29_000 - 28_672 :]
        found = ours.head.logits(hidden)[0][..., :28_672]
    torch.testing.assert_close(found, logits)


def test_rates_of_both_loops(family: Family, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upstream, "FAMILIES", {"orpheus": family})
    monkeypatch.setattr(upstream, "STEPS", 7)
    metrics = upstream.run_upstream("orpheus", 1, {"engine": "cpu"}, quick=True)
    assert [metric.system for metric in metrics] == ["Transformers", "here", "here"] * 4
    assert len({metric.name for metric in metrics}) == 8
    assert all(metric.estimate.value > 0 for metric in metrics)
    metrics = upstream.run_upstream("orpheus", 1, {"engine": "cpu"}, quick=True, batch=3)
    assert {metric.name.partition(", batch ")[2][:1] for metric in metrics} == {"3"}


def test_options_of_the_bench():
    with raises_input_error("conflict", "layers"):
        BenchOptions(layers=2).check()
    with raises_input_error("conflict", "batch"):
        BenchOptions(batch=2).check()
    with raises_input_error("conflict", "upstream"):
        BenchOptions(upstream=True, peers=True).check()
