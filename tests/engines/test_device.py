"""Devices by name, and modules that are built in float32 on the CPU whatever the defaults are."""

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.engines.device import float32_on_cpu, resolve_device


def test_auto_is_cuda_where_it_is_available() -> None:
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device().type == resolve_device("auto").type == wanted
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cpu:x", "", None, 3])
def test_unknown_device_name(name: str) -> None:
    with raises_input_error("unknown_name", key="device"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["meta", "xpu", "hpu", "cuda:99"])
def test_device_that_this_machine_lacks(name: str) -> None:
    with raises_input_error("unusable", key="device", names=name):
        resolve_device(name)


def test_modules_are_built_in_float32_on_the_cpu() -> None:
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("meta")
    try:
        with float32_on_cpu():
            layer = torch.nn.Linear(2, 2)
        assert torch.get_default_dtype() == torch.bfloat16
        assert torch.empty(1).is_meta
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert (layer.weight.dtype, layer.weight.device.type) == (torch.float32, "cpu")
