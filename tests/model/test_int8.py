import pytest
import torch
from torch import nn

from vocalmtp.model.int8 import Int8Linear, quantize_linears


@pytest.mark.parametrize("outputs", [128, 1026])
def test_int8_is_close_to_float_and_rows_are_alone(outputs):
    torch.manual_seed(0)
    linear = nn.Linear(96, outputs)
    x = torch.randn(5, 3, 96)
    want, got = linear(x), Int8Linear(linear)(x)
    assert got.shape == want.shape and got.dtype == want.dtype
    assert (got - want).norm() / want.norm() < 0.02
    assert torch.equal(Int8Linear(linear)(x[2:3]), got[2:3])


def test_only_large_linears_are_replaced():
    model = nn.ModuleDict(
        {
            "big": nn.Linear(64, 64),
            "small": nn.Linear(8, 8),
            "deep": nn.Sequential(nn.Linear(128, 64)),
        }
    )
    quantize_linears(model)
    assert isinstance(model["big"], Int8Linear) and isinstance(model["deep"][0], Int8Linear)
    assert isinstance(model["small"], nn.Linear)
