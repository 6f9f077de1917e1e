"""Piecewise processing: long or growing input in pieces, with the output of the whole.

The receptive field ("reach") of a function is how many inputs before an output (and after it,
unless the function is causal) change it. Outputs computed with less context than that are dropped,
and computed again with the next piece.
"""

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


class CausalStage:
    """A causal function over [B, C, t] that carries the last `reach` inputs from call to call.

    Args:
        function: maps `down` inputs to `up` outputs along the last axis.
        reach: number of earlier inputs that an output depends on, at most.
        up: outputs for every `down` inputs.
        down: every piece must be a multiple of this long.

    """

    def __init__(self, function: Function, reach: int, *, up: int = 1, down: int = 1):
        self.function, self.up, self.down = function, up, down
        self.reach = math.ceil(reach / down) * down
        self.past: Tensor | None = None

    def __call__(self, piece: Tensor) -> Tensor:
        """Return the outputs that `piece` adds."""
        whole = piece if self.past is None else torch.cat([self.past, piece], dim=-1)
        known = (whole.shape[-1] - piece.shape[-1]) * self.up // self.down
        self.past = whole[..., max(0, whole.shape[-1] - self.reach) :]
        return self.function(whole)[..., known:]


class CausalStream:
    """A `CodecStream` of causal stages.

    Args:
        chain: maps codes [B, Q, t] to samples [B, n] and carries its own state.
        check: raises InputError for invalid codes.
        least: frames to collect before the first call of `chain`.

    """

    def __init__(self, chain: Function, check: Callable[[Tensor], None], least: int = 1):
        self.chain, self.check, self.least = chain, check, least
        self.waiting: Tensor | None = None  # [B, Q, t]
        self.started = False

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """Append `codes` [B, Q, t]; return the samples [B, n] that became final."""
        self.check(codes)
        if self.waiting is not None:
            codes = torch.cat([self.waiting, codes], dim=-1)
        self.waiting = codes[..., :0]
        if not self.started and codes.shape[-1] < self.least:
            self.waiting = codes
            return _no_samples(codes)
        self.started = True
        return self.chain(codes) if codes.shape[-1] else _no_samples(codes)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream; return the samples [B, n] of codes that were still collected."""
        if self.waiting is None:
            return torch.zeros(1, 0, dtype=torch.float32, device="cpu")
        codes, self.waiting = self.waiting, None
        return self.chain(codes) if codes.shape[-1] else _no_samples(codes)


class WindowStream:
    """A `CodecStream` of a function that depends on `reach` frames before and after each frame.

    Args:
        decode: maps codes [B, Q, n], and the index of their first frame in the stream, to samples.
        check: raises InputError for invalid codes.
        reach: frames of context on either side.
        hop: samples per frame.

    """

    def __init__(
        self,
        decode: Callable[[Tensor, int], Tensor],
        check: Callable[[Tensor], None],
        reach: int,
        hop: int,
    ):
        self.decode, self.check, self.reach, self.hop = decode, check, reach, hop
        self.codes: Tensor | None = None  # [B, Q, n], the newest
        self.first = 0  # index in the stream of the first of these
        self.done = 0  # how many of these have been decoded

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """Append `codes` [B, Q, t]; return the samples [B, n] that no later frame can change."""
        self.check(codes)
        codes = codes if self.codes is None else torch.cat([self.codes, codes], dim=-1)
        return self._emit(codes, codes.shape[-1] - self.reach)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream; return the samples [B, n] that waited for later frames."""
        if self.codes is None:
            return torch.zeros(1, 0, dtype=torch.float32, device="cpu")
        return self._emit(self.codes, self.codes.shape[-1])

    def _emit(self, codes: Tensor, end: int) -> Tensor:
        """Keep `codes`, and return the samples of their frames from `done` to `end`."""
        self.codes = codes
        if end <= self.done:
            return _no_samples(codes)
        wav = self.decode(codes, self.first)[:, self.done * self.hop : end * self.hop]
        drop = max(0, end - self.reach)
        self.codes, self.done, self.first = codes[..., drop:], end - drop, self.first + drop
        return wav


def _no_samples(codes: Tensor) -> Tensor:
    return torch.zeros(len(codes), 0, dtype=torch.float32, device=codes.device)


def in_windows(function: Function, wav: Tensor, *, hop: int, reach: int, block: int) -> Tensor:
    """Apply a function with context on both sides to `block` frames at a time.

    Args:
        function: maps samples [B, n * hop] to [B, Q, n].
        wav: [B, N], N a multiple of `hop`.
        hop: samples per frame.
        reach: frames of context on either side.
        block: frames per call, without their context.

    Returns:
        `function(wav)`: [B, Q, N / hop].

    """
    frames, parts = wav.shape[-1] // hop, []
    for start in range(0, frames, block):
        end = min(frames, start + block)
        first, last = max(0, start - reach), min(frames, end + reach)
        outputs = function(wav[..., first * hop : last * hop])  # [B, Q, last - first]
        parts.append(outputs[..., start - first : end - first])
    return torch.cat(parts, dim=-1)


def in_blocks(chain: Function, whole: Tensor, block: int) -> Tensor:
    """Apply a chain of causal stages to `whole` [..., t], `block` inputs at a time."""
    return torch.cat([chain(piece) for piece in whole.split(block, dim=-1)], dim=-1)


def frame_noise(first: int, count: int, size: int) -> Tensor:
    """Return Gaussian noise [count, size] of frames `first` on, each seeded by its index.

    It is drawn on the CPU, so that it is the same on every device.
    """
    noise = torch.empty(count, size, dtype=torch.float32, device="cpu")
    generator = torch.Generator()
    for index, row in enumerate(noise):
        row.normal_(generator=generator.manual_seed(first + index))
    return noise


def dac_reach(strides: Iterable[int], *, ends: int = 3, units: int = 39) -> int:
    """Return the reach to either side, in frames, of a DAC encoder or decoder.

    Args:
        strides: of the upsampling, from the frame rate to the sample rate.
        ends: half the kernel of the outer convolutions.
        units: summed half kernels of the residual units between two strides, which have kernel 7
            and dilations 1, 3 and 9 (arXiv 2306.06546, section 3.1).

    """
    reach, rate = float(ends), 1
    for stride in strides:
        reach += 1 / rate
        rate *= stride
        reach += units / rate
    return math.ceil(reach + ends / rate)


class SeanetSizes(Protocol):
    """What the reach of a SEANet depends on: part of the configurations of EnCodec and Mimi."""

    upsampling_ratios: list[int]
    kernel_size: int
    last_kernel_size: int
    residual_kernel_size: int
    num_residual_layers: int
    dilation_growth_rate: int


def seanet_decoder_reach(config: SeanetSizes) -> int:
    """Return the reach, in frames, of a causal SEANet decoder behind its first convolution."""
    reach, rate = 0.0, 1
    for stride in config.upsampling_ratios:
        reach += 1 / rate
        rate *= stride
        reach += _residual_reach(config) / rate
    return math.ceil(reach + (config.last_kernel_size - 1) / rate)


def seanet_encoder_reach(config: SeanetSizes) -> int:
    """Return the reach, in samples, of a causal SEANet encoder before its last convolution."""
    reach, rate = config.kernel_size - 1, 1
    for stride in reversed(config.upsampling_ratios):
        reach += (_residual_reach(config) + 2 * stride - 1) * rate
        rate *= stride
    return reach


def _residual_reach(config: SeanetSizes) -> int:
    layers = range(config.num_residual_layers)
    width = config.residual_kernel_size - 1
    return sum(width * config.dilation_growth_rate**layer for layer in layers)
