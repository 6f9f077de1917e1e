"""The functions that numpy arrays and torch tensors have under different names.

Decoding (layouts, sampling, constraints, the loop) is written once, for arrays of either library: an
engine that runs without torch hands it numpy arrays. Methods, operators and functions that both have
under one name (`where`, `stack`, `concatenate`, `clip`) are used directly, through `namespace` where
they are functions. torch is imported by its users alone, never here.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import numpy as np

Array: TypeAlias = Any  # a numpy array or a torch tensor
F = TypeVar("F", bound=Callable[..., Any])


def namespace(x: Array) -> Any:
    """Return the library of `x`: the module numpy or torch."""
    return np if isinstance(x, np.ndarray) else sys.modules["torch"]


def without_gradients(function: F) -> F:
    """Wrap a function or generator so that torch, if it is loaded, records no gradients in it.

    The wrapper is kept: give a function, not the method of an object.
    """
    return function if "torch" not in sys.modules else _in_inference_mode(function)


@lru_cache(None)
def _in_inference_mode(function: F) -> F:
    wrapped: F = sys.modules["torch"].inference_mode()(function)
    return wrapped


def on_cpu() -> AbstractContextManager[Any]:
    """Return a context in which torch, if it is loaded, makes new tensors on the CPU."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.device("cpu")


def codec_stream(tokenizer: Any) -> AbstractContextManager[Any]:
    """Return a context in which a GPU runs a speech tokenizer beside other work, in its own order.

    What is computed in it is to be used in it, or after a copy to the CPU.
    """
    device = getattr(tokenizer, "device", None)
    if getattr(device, "type", "") != "cuda":
        return nullcontext()
    context: AbstractContextManager[Any] = sys.modules["torch"].cuda.stream(_codec_stream(device))
    return context


@lru_cache(None)
def _codec_stream(device: Any) -> Any:
    return sys.modules["torch"].cuda.Stream(device)


def host(x: Array) -> np.ndarray:
    """Return `x` as a numpy array, from any device."""
    return x if isinstance(x, np.ndarray) else x.cpu().numpy()


def as_float(x: Array) -> Array:
    """Return `x` in float32."""
    return x.astype(np.float32, copy=False) if isinstance(x, np.ndarray) else x.float()


def beside(like: Array, x: Array) -> Array:
    """Move `x`, an array of the same library, to the device of `like`."""
    return x if isinstance(x, np.ndarray) else x.to(like.device)


def integers(like: Array, values: Sequence[int]) -> Array:
    """Return integers as an int64 array [n] beside `like`: of its library, on its device."""
    if isinstance(like, np.ndarray):
        return np.asarray(values, np.int64)
    torch = namespace(like)
    return torch.tensor(values, dtype=torch.int64, device=like.device)


def constant(like: Array, values: Sequence[int]) -> Array:
    """Return the same as `integers` for values of a program, such as those of a layout.

    A device gets them once, and keeps them: they are not to be changed.
    """
    if isinstance(like, np.ndarray):
        return _constant_array(tuple(values))
    return _constant_tensor(tuple(values), like.device)


@lru_cache(None)
def _constant_array(values: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, np.int64)
    array.setflags(write=False)
    return array


@lru_cache(None)
def _constant_tensor(values: tuple[int, ...], device: Any) -> Array:
    torch: Any = sys.modules["torch"]
    with torch.inference_mode(False):  # it may be used in training later
        return torch.tensor(values, dtype=torch.int64, device=device)


def range_like(like: Array, count: int) -> Array:
    """Return 0, 1, .. `count` - 1 as an int64 array beside `like`."""
    if isinstance(like, np.ndarray):
        return np.arange(count)
    return namespace(like).arange(count, device=like.device)


def full(like: Array, shape: tuple[int, ...], value: float | bool) -> Array:
    """Return an array of `shape` filled with `value` beside `like`: boolean, or of its dtype."""
    if isinstance(like, np.ndarray):
        return np.full(shape, value, bool if isinstance(value, bool) else like.dtype)
    torch = namespace(like)
    return like.new_full(shape, value, dtype=torch.bool if isinstance(value, bool) else like.dtype)


def stack(arrays: Sequence[Array]) -> Array:
    """Stack arrays of one library and shape along a new first axis."""
    return namespace(arrays[0]).stack(arrays)


def pad_end(x: Array, count: int, axis: int) -> Array:
    """Append `count` zeros along `axis`."""
    shape = list(x.shape)
    shape[axis] = count
    return namespace(x).concatenate([x, full(x, tuple(shape), 0)], axis)


def cummax(x: Array, axis: int) -> Array:
    """Return the largest element so far along `axis`."""
    if isinstance(x, np.ndarray):
        return np.maximum.accumulate(x, axis)
    return x.cummax(axis).values


def take_along(x: Array, index: Array, axis: int) -> Array:
    """Select elements along `axis` by `index`, which has as many dimensions as `x`."""
    if isinstance(x, np.ndarray):
        if x.ndim == 2 and axis == 1:  # in a tenth of the time
            return x[np.arange(len(x))[:, None], index]
        return np.take_along_axis(x, index, axis)
    return x.gather(axis, index)


def last_of(x: Array, counts: Array) -> Array:
    """Select position `counts` - 1 of every row: [B, L, ..] to [B, ..]."""
    return x[range_like(counts, len(x)), counts - 1]


def softmax(x: Array) -> Array:
    """Normalize exponentials along the last axis."""
    if isinstance(x, np.ndarray):
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    return x.softmax(-1)


def descending(x: Array, count: int) -> Array:
    """Return the `count` largest elements along the last axis, the largest first."""
    if isinstance(x, np.ndarray):
        largest = np.partition(x, x.shape[-1] - count, -1)[..., x.shape[-1] - count :]
        return np.sort(largest, -1)[..., ::-1]
    return x.topk(count, -1).values if count < x.shape[-1] else x.sort(-1, True).values
