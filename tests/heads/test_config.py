"""Settings of heads and draft heads."""

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.errors import ErrorCode
from vocalmtp.heads import build_draft, build_head
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.streams import Stream

LAYOUT = TokenLayout(streams=(Stream(name="a", size=4),), frames_per_step=2)


@pytest.mark.parametrize(
    ("config", "weights", "code", "key", "names"),
    [
        ({"name": "paralel"}, {}, "unknown_name", "head", "parallel"),
        ({"name": "parallel", "knid": "mlp"}, {}, "unknown_name", "head", "kind"),
        ({"name": "depth", "width": 30, "heads": 4}, {}, "invalid_value", "head", "30"),
        ({"name": "parallel"}, {"advnace": 1.0}, "unknown_name", "loss_weights", "advnace"),
    ],
)
def test_invalid_head_settings_are_refused(
    config: dict, weights: dict, code: ErrorCode, key: str, names: str
) -> None:
    with raises_input_error(code, key, names):
        build_head(config, LAYOUT, 8, weights)


@pytest.mark.parametrize(
    ("config", "code", "names"),
    [
        ({}, "unknown_name", "leap, recursive, sequential"),
        ({"name": "recursiv"}, "unknown_name", "recursive"),
        ({"name": "leap", "strde": 2}, "unknown_name", "stride"),
        ({"name": "leap", "stride": 0}, "invalid_value", "stride"),
        ({"name": "sequential", "steps": 0}, "invalid_value", "steps"),
        ({"name": "sequential", "heads": 3}, "invalid_value", "1, 2, 4"),
        ({"name": "recursive", "heads": 5}, "invalid_value", "5"),
        ({"name": "recursive", "step_weights": [0.5, 0.3, 0.1]}, "invalid_value", "0.9"),
        ({"name": "recursive", "step_weights": [0.5, 0.5]}, "invalid_value", "step_weights"),
        ({"name": "recursive", "step_weights": [1.5, -0.5, 0.0]}, "invalid_value", "step_weights"),
    ],
)
def test_invalid_draft_settings_are_refused(config: dict, code: ErrorCode, names: str) -> None:
    with raises_input_error(code, "draft head", names):
        build_draft(config, 8, lambda: build_head({"name": "parallel"}, LAYOUT, 8, {}))


def test_depth_needs_targets_for_all_slots_at_once() -> None:
    head = build_head({"name": "depth", "width": 8, "heads": 2}, LAYOUT, 8, {})
    with pytest.raises(ValueError):
        head.logits(torch.randn(1, 1, 8))
