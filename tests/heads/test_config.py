"""Wrong head settings are named."""

import pytest
import torch

from vocalmtp.errors import InputError
from vocalmtp.heads import build_head
from vocalmtp.layout import Stream, TokenLayout

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


def test_depth_needs_targets_for_all_slots_at_once() -> None:
    head = build_head({"name": "depth", "width": 8, "heads": 2}, LAYOUT, 8, {})
    with pytest.raises(ValueError, match="targets"):
        head.logits(torch.randn(1, 1, 8))
