"""Long or growing input, piece by piece, with the output of the whole.

A convolution sees `reach` inputs back (and ahead, unless it is causal). What was computed with less
than that is thrown away, and computed again with the next piece.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


class CausalStage:
    """A causal function of [B, C, t] whose outputs depend on at most `reach` earlier inputs.

    It gives `up` outputs for every `down` inputs; every piece is a multiple of `down` long.
    """

    def __init__(self, function: Function, reach: int, *, up: int = 1, down: int = 1):
        self.function, self.up, self.down = function, up, down
        self.reach = math.ceil(reach / down) * down
        self.past: Tensor | None = None

    def __call__(self, piece: Tensor) -> Tensor:
        """The outputs that come with `piece`; `past` goes into the next call."""
        whole = piece if self.past is None else torch.cat([self.past, piece], dim=-1)
        known = (whole.shape[-1] - piece.shape[-1]) * self.up // self.down
        self.past = whole[..., max(0, whole.shape[-1] - self.reach) :]
        return self.function(whole)[..., known:]


class CausalStream:
    """Decoding by a chain of causal stages. The first call waits for `least` frames.

    Implements `CodecStream`.
    """

    def __init__(self, chain: Function, check: Callable[[Tensor], None], least: int = 1):
        self.chain, self.check, self.least = chain, check, least
        self.waiting: Tensor | None = None  # [B, Q, t]
        self.begun = False

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, t] -> the samples [B, n] that are final with them."""
        self.check(codes)
        if self.waiting is not None:
            codes = torch.cat([self.waiting, codes], dim=-1)
        self.waiting = codes[..., :0]
        if not self.begun and codes.shape[-1] < self.least:
            self.waiting = codes
            return _nothing(codes)
        self.begun = True
        return self.chain(codes) if codes.shape[-1] else _nothing(codes)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """The samples [B, n] of a stream that was over before it had begun."""
        if self.waiting is None:
            return torch.zeros(1, 0)
        codes, self.waiting = self.waiting, None
        return self.chain(codes) if codes.shape[-1] else _nothing(codes)


class WindowStream:
    """Decoding by a function that sees `reach` frames back and ahead. Implements `CodecStream`.

    `decode` gets codes [B, Q, n] and which frame of the stream their first one is.
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
        self.first = 0  # which frame the first of these is
        self.done = 0  # of these, the frames whose samples are out

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, t] -> the samples [B, n] that no later frame changes."""
        self.check(codes)
        self.codes = codes if self.codes is None else torch.cat([self.codes, codes], dim=-1)
        return self._emit(self.codes.shape[-1] - self.reach)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """The samples [B, n] that waited for later frames."""
        return torch.zeros(1, 0) if self.codes is None else self._emit(self.codes.shape[-1])

    def _emit(self, end: int) -> Tensor:
        """The samples of the frames from `done` to `end` of those that are kept."""
        if end <= self.done:
            return _nothing(self.codes)
        wav = self.decode(self.codes, self.first)[:, self.done * self.hop : end * self.hop]
        drop = max(0, end - self.reach)
        self.codes, self.done, self.first = self.codes[..., drop:], end - drop, self.first + drop
        return wav


def _nothing(codes: Tensor) -> Tensor:
    """No samples for every row: [B, 0]."""
    return torch.zeros(len(codes), 0, device=codes.device)


def in_windows(function: Function, wav: Tensor, *, hop: int, reach: int, block: int) -> Tensor:
    """`function` of `wav` [B, N], which sees `reach` frames of `hop` samples to both sides.

    Called on `block` frames at a time; the outputs [B, Q, T] are joined.
    """
    frames, parts = wav.shape[-1] // hop, []
    for start in range(0, frames, block):
        end = min(frames, start + block)
        first, last = max(0, start - reach), min(frames, end + reach)
        made = function(wav[..., first * hop : last * hop])  # [B, Q, last - first]
        parts.append(made[..., start - first : end - first])
    return torch.cat(parts, dim=-1)


def in_blocks(chain: Function, whole: Tensor, block: int) -> Tensor:
    """A chain of causal stages over `whole` [.., t], `block` inputs at a time."""
    return torch.cat([chain(piece) for piece in whole.split(block, dim=-1)], dim=-1)


def sides_reach(strides: Iterable[int], *, ends: int = 3, units: int = 39) -> int:
    """Frames to either side that a DAC encoder or decoder of these upsampling `strides` sees.

    `ends`: half the kernel of the outer convolutions; `units`: of the residual units in a row, of
    kernel 7 and dilations 1, 3 and 9 (2306.06546, section 3.1).
    """
    reach, rate = float(ends), 1
    for stride in strides:
        reach += 1 / rate
        rate *= stride
        reach += units / rate
    return math.ceil(reach + ends / rate)


def seanet_decoder_reach(config: object) -> int:
    """Frames back that a causal SEANet decoder sees behind its first convolution (2210.13438)."""
    reach, rate = 0.0, 1
    for stride in config.upsampling_ratios:
        reach += 1 / rate
        rate *= stride
        reach += _residual_reach(config) / rate
    return math.ceil(reach + (config.last_kernel_size - 1) / rate)


def seanet_encoder_reach(config: object) -> int:
    """Samples back that a causal SEANet encoder sees before its last convolution."""
    reach, rate = config.kernel_size - 1, 1
    for stride in reversed(config.upsampling_ratios):
        reach += (_residual_reach(config) + 2 * stride - 1) * rate
        rate *= stride
    return reach


def _residual_reach(config: object) -> int:
    layers = range(config.num_residual_layers)
    width = config.residual_kernel_size - 1
    return sum(width * config.dilation_growth_rate**layer for layer in layers)
