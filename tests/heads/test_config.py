"""Wrong head settings are named."""

import pytest
import torch

from vocalmtp.errors import InputError
from vocalmtp.heads import build_draft, build_head
from vocalmtp.models.layout import Stream, TokenLayout

LAYOUT = TokenLayout(streams=(Stream(name="a", size=4),), frames_per_step=2)


@pytest.mark.parametrize(
    ("config", "weights", "named"),
    [
        ({"name": "paralel"}, {}, "did you mean 'parallel'"),
        ({"name": "parallel", "knid": "mlp"}, {}, "did you mean 'kind'"),
        ({"name": "depth", "width": 30, "heads": 4}, {}, "multiple"),
        ({"name": "parallel"}, {"advnace": 1.0}, "advnace"),
    ],
)
def test_wrong_settings_are_named(config: dict, weights: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        build_head(config, LAYOUT, 8, weights)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "choose one of: leap, recursive, sequential"),
        ({"name": "recursiv"}, "did you mean 'recursive'"),
        ({"name": "leap", "strde": 2}, "did you mean 'stride'"),
        ({"name": "leap", "stride": 0}, "'stride' is 0"),
        ({"name": "sequential", "steps": 0}, "'steps' is 0"),
        ({"name": "sequential", "heads": 3}, "choose one of: 1, 2, 4"),
        ({"name": "recursive", "heads": 5}, "heads 5 do not divide"),
        ({"name": "recursive", "step_weights": [0.5, 0.3, 0.1]}, "sum to 0.9"),
        ({"name": "recursive", "step_weights": [0.5, 0.5]}, "give one for each"),
        ({"name": "recursive", "step_weights": [1.5, -0.5, 0.0]}, "0 or more"),
    ],
)
def test_wrong_draft_heads_are_named(config: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        build_draft(config, 8, lambda: build_head({"name": "parallel"}, LAYOUT, 8, {}))


def test_depth_needs_targets_for_all_slots_at_once() -> None:
    head = build_head({"name": "depth", "width": 8, "heads": 2}, LAYOUT, 8, {})
    with pytest.raises(ValueError, match="targets"):
        head.logits(torch.randn(1, 1, 8))
