"""Speech tokenizers: the contract that every one implements, and the spec that describes one.

Shapes: B batch, N samples, T codec frames, Q streams of codes, D_s size of the speaker vector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Self

from vocalmtp.config import Registry
from vocalmtp.errors import InputError
from vocalmtp.io.read import dtype_and_shape
from vocalmtp.tokenizers.spec import TokenizerSpec

if TYPE_CHECKING:
    from vocalmtp.tokenizers.cards import TokenizerCard


@dataclass
class SpeechCodes:
    """Codes of a batch of utterances, on the tokenizer's device."""

    codes: Tensor  # [B, Q, T] int64; zeros beyond an utterance's length
    lengths: Tensor  # [B] int64, frames
    speaker: Tensor | None = None  # [B, D_s]


class CodecStream(Protocol):
    """Incremental decoder of one batch of utterances, which owns all of its state."""

    def push(self, codes: Tensor) -> Tensor:
        """Append `codes` [B, Q, t]; return the samples [B, n] that became final (n may be 0)."""
        ...

    def flush(self) -> Tensor:
        """End the stream; return the samples [B, n] that waited for the look-ahead."""
        ...


class SpeechTokenizer(nn.Module):
    """Base of all speech tokenizers: waveform to codes and back.

    A subclass is registered in `TOKENIZERS` under the `type` of its cards, sets `spec`, and
    implements `encode`, `decode`, `save_pretrained` and `from_pretrained`; `embed_speaker` and
    `stream` where it can. Inputs may be on any device; outputs are on the tokenizer's.
    """

    spec: TokenizerSpec
    unit_speaker: ClassVar[bool] = True  # whether speaker vectors are scaled to length 1

    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        """Encode audio.

        Args:
            wav: [B, N] mono float samples in [-1, 1] at `spec.input_rate` Hz.
            lengths: [B] samples of each row that are not padding; None = all of them.

        Returns:
            Codes of ceil(samples / `spec.input_hop`) frames per row.

        Raises:
            InputError: `wav` or `lengths` is malformed (keys `audio` and `lengths`).

        """
        raise NotImplementedError

    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Decode codes.

        Args:
            codes: [B, Q, T] integers.
            speaker: [B, D_s], for tokenizers with a `spec.speaker_dim`.
            lengths: [B] frames of each row that are not padding; None = all of them.

        Returns:
            wav: [B, T * spec.hop] float32 at `spec.sample_rate` Hz; zeros beyond the lengths.

        Raises:
            InputError: the spec has no such codes (key `codes`), or `speaker` is missing.

        """
        raise NotImplementedError

    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Extract the speaker vectors [B, D_s] of `wav` [B, N], whose arguments are `encode`'s.

        Raises:
            InputError: the tokenizer has no speaker vector (`unsupported`).

        """
        raise InputError(
            f"tokenizer '{self.spec.name}': has no speaker vector, its streams hold the voice; "
            "use a decoupled one, such as 'mini'",
            code="unsupported",
        )

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """Start an incremental decoder, whose chunks joined equal `decode`.

        Args:
            speaker: [B, D_s], for tokenizers with a `spec.speaker_dim`.

        Raises:
            InputError: `spec.lookahead` is None, so that whole utterances are decoded
                (`unsupported`).

        """
        raise InputError(
            f"tokenizer '{self.spec.name}': cannot stream, it decodes whole utterances; use decode",
            code="unsupported",
        )

    def speaker_batch(self, vector: np.ndarray) -> Tensor:
        """Return a speaker vector [D_s] as a batch of one row, [1, D_s], on the tokenizer's device."""
        return torch.from_numpy(vector)[None].to(self.device)

    def optimize_for_inference(self) -> None:  # noqa: B027 (most tokenizers have nothing to do)
        """Replace the decoder's layers, in place and for good, by faster ones for this device."""

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the tokenizer to `folder`, from which `load_tokenizer(folder)` reads it.

        Args:
            folder: is replaced as a whole.
            dtype: of the stored weights; published codecs, whose spec has a digest of the weights,
                store them as they are.

        """
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, folder: Path | str, card: "TokenizerCard | None" = None) -> Self:
        """Read the tokenizer in `folder`.

        Args:
            folder: where `save_pretrained` wrote, or published weights.
            card: describes published weights whose folder has no card; ignored if it has a spec.

        Raises:
            InputError: files are missing, damaged, of a later version, or do not fit the card.

        """
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the first weight."""
        return next(self.parameters()).dtype


TOKENIZERS: Registry[type[SpeechTokenizer]] = Registry("tokenizer type", "vocalmtp.tokenizers")


class FixedDtype(nn.Module):
    """Mixin of modules that `to()` moves to another device but never converts."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def move(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            return changed if changed.dtype == tensor.dtype else tensor.to(changed.device)

        return super()._apply(move, recurse)


def registered_type(tokenizer: SpeechTokenizer) -> str:
    """Return the name under which the class of `tokenizer` is registered."""
    return next(name for name, kind in TOKENIZERS.items() if kind is type(tokenizer))


def check_wav(
    spec: TokenizerSpec, wav: Tensor, lengths: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Validate the arguments of `SpeechTokenizer.encode`.

    Returns:
        wav: [B, N] on `device`.
        lengths: [B] int64 on `device`, all N if they are not given.

    Raises:
        InputError: `wav` is not mono float audio [B, N], is empty or not finite (key `audio`), or
            `lengths` do not fit it (key `lengths`).

    """
    if wav.dim() != 2 or not wav.is_floating_point():
        raise InputError(
            f"audio: is {dtype_and_shape(wav)}; give mono float samples [batch, samples] at "
            f"{spec.input_rate} Hz for tokenizer '{spec.name}'",
            code="invalid_value",
        )
    rows, samples = wav.shape
    if not rows or not samples:
        raise InputError(
            f"audio: has no samples; give one or more for tokenizer '{spec.name}'", code="empty"
        )
    if lengths is None:
        lengths = torch.full((rows,), samples, dtype=torch.int64, device="cpu")
    if lengths.shape != (rows,) or lengths.min() < 1 or lengths.max() > samples:
        raise InputError(
            f"lengths: are {lengths.tolist()[:8]}; give one per row, from 1 to {samples}",
            code="invalid_value",
        )
    wav = wav.to(device)
    if not bool(wav.isfinite().all()):
        raise InputError(
            f"audio: has samples that are not finite; repair it for tokenizer '{spec.name}'",
            code="damaged",
        )
    return wav, lengths.to(device, torch.int64)


def check_codes(spec: TokenizerSpec, codes: Tensor) -> None:
    """Raise InputError (key `codes`) unless `codes` are [B, Q, T] integers of the spec's streams."""
    if codes.dim() != 3 or codes.shape[1] != len(spec.streams) or codes.is_floating_point():
        raise InputError(
            f"codes: are {dtype_and_shape(codes)}; give integers [batch, {len(spec.streams)}, "
            f"frames] for tokenizer '{spec.name}'",
            code="invalid_value",
        )
    sizes = torch.tensor([stream.size for stream in spec.streams], device=codes.device)[:, None]
    wrong = (codes < 0) | (codes >= sizes)
    if bool(wrong.any()):
        stream = spec.streams[int(wrong.any(-1).any(0).int().argmax())]
        raise InputError(
            f"codes: have {int(codes[wrong][0])}; stream '{stream.name}' of tokenizer "
            f"'{spec.name}' has 0 to {stream.size - 1}",
            code="out_of_range",
        )


def check_speaker(spec: TokenizerSpec, speaker: Tensor | None) -> None:
    """Raise InputError (key `speaker`) unless there are vectors [B, D_s], if the tokenizer has them."""
    if not spec.speaker_dim:
        return
    if speaker is None:
        raise InputError(
            f"speaker: is missing; give a vector [batch, {spec.speaker_dim}] to decode with "
            f"tokenizer '{spec.name}'",
            code="missing",
        )
    if speaker.dim() != 2 or speaker.shape[1] != spec.speaker_dim:
        raise InputError(
            f"speaker: is {dtype_and_shape(speaker)}; give a vector [batch, {spec.speaker_dim}] "
            f"for tokenizer '{spec.name}'",
            code="invalid_value",
        )


def full_lengths(codes: Tensor, lengths: Tensor | None) -> Tensor:
    """Return `lengths` on the device of `codes` [B, Q, T], or T for every row: [B] int64."""
    if lengths is None:
        return torch.full((len(codes),), codes.shape[-1], dtype=torch.int64, device=codes.device)
    return lengths.to(codes.device, torch.int64)


def inside(lengths: Tensor, size: int) -> Tensor:
    """Return which of `size` positions precede each of `lengths` [B]: bool [B, size]."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
