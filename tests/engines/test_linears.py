"""Layers for inference: near the float layers, and the same for a row in any batch."""

import pytest
import torch
from torch import nn

from vocalmtp.engines.linears import (
    Bf16Linear,
    Fp16Linear,
    Int8Linear,
    TransposedLinear,
    WindowedLinear,
    has_bf16,
    has_fp16,
    join_linears,
    replace_linears,
)

KINDS = [
    Int8Linear,
    pytest.param(
        Bf16Linear, marks=pytest.mark.skipif(not has_bf16(), reason="this CPU has no bfloat16")
    ),
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("size", [(384, 1152), (100, 70), (64, 36)])
@pytest.mark.parametrize("bias", [True, False])
def test_converted_layer_is_close_and_same_in_any_batch(make, size, bias) -> None:
    linear = nn.Linear(*size, bias=bias)
    fast = make(linear)
    x = torch.randn(33, 2, size[0])
    with torch.inference_mode():
        want, got = linear(x), fast(x)
        assert got.dtype == torch.float32 and got.shape == want.shape
        assert (got - want).norm() < 0.02 * want.norm()
        for count in (1, 2, 7, 16):
            assert torch.equal(fast(x[:count]), got[:count])


@pytest.mark.parametrize(
    "make",
    [
        TransposedLinear,
        pytest.param(
            Fp16Linear, marks=pytest.mark.skipif(not has_fp16(), reason="no FBGEMM on this CPU")
        ),
    ],
)
@pytest.mark.parametrize("size", [(384, 1152), (100, 70)])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_float_layer_loses_nothing_of_float16_weights(make, size, bias) -> None:
    linear = nn.Linear(*size, bias=bias)
    linear.weight.data = linear.weight.half().float()
    x = torch.randn(5, 2, size[0])
    fast = make(linear)
    torch.testing.assert_close(fast(x), linear(x), atol=1e-5, rtol=1e-5)
    assert torch.equal(fast.product(x.flatten(0, 1)), fast(x).flatten(0, 1))


@pytest.mark.parametrize("width", [1, 4, 5])
@torch.inference_mode()
def test_windowed_linear_equals_convolution(width: int) -> None:
    convolution = nn.Conv1d(8, 6, width, padding="same")
    x = torch.randn(2, 8, 11)
    product = WindowedLinear(convolution, lambda linear: linear)
    torch.testing.assert_close(product(x), convolution(x))


@torch.inference_mode()
def test_joined_layers_concatenate_outputs() -> None:
    parts = [nn.Linear(8, 3), nn.Linear(8, 5)]
    x = torch.randn(4, 8)
    torch.testing.assert_close(join_linears(parts)(x), torch.cat([part(x) for part in parts], 1))


def test_small_layers_are_not_replaced() -> None:
    module = nn.Sequential(nn.Linear(64, 64), nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    replace_linears(module, Int8Linear)
    assert isinstance(module[0], Int8Linear) and isinstance(module[1][0], nn.Linear)
