"""What our versions of published tokenizers share: whole utterances, a folder, a layout of keys.

Their weights keep the names and shapes in which they were published; `convert.py` brings them here.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from vocalmtp.config import StrictModel, parse
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.read import FORMAT, check_format, fill, read_object
from vocalmtp.tokenizers.base import (
    SpeechCodes,
    SpeechTokenizer,
    TokenizerSpec,
    check_codes,
    check_wav,
)
from vocalmtp.tokenizers.cards import TokenizerCard


class PublishedConfig(StrictModel):
    """Base of the settings: `spec()` describes a tokenizer of these settings."""

    name: str
    codes: str = ""  # set by conversion, see TokenizerSpec

    @classmethod
    def of(cls, card: TokenizerCard) -> "PublishedConfig":
        """The settings of a card of ours: the published sizes."""
        return cls(name=card.name)

    def spec(self) -> TokenizerSpec:
        raise NotImplementedError


class PublishedTokenizer(SpeechTokenizer):
    """A tokenizer that hears and speaks whole utterances; subclasses code one at a time.

    Rows of a batch are coded one after the other. Convolutions that look both ways and continue
    the audio beyond its end would make a padded row differ from the row alone.
    """

    TYPE: ClassVar[str]  # in tokenizer.json
    Config: ClassVar[type[PublishedConfig]]
    PREFIX: ClassVar[str] = ""  # of our part, where the published file may hold others beside it
    UNUSED: ClassVar[str] = ""  # pattern of other keys that are published: training needs them

    def __init__(self, config: PublishedConfig | None = None):
        super().__init__()
        self.config = config or self.Config()
        self.spec = self.config.spec()

    def encode_row(self, wav: Tensor) -> tuple[Tensor, Tensor | None]:
        """`wav` [1, N] to codes [1, Q, T] and, where there is one, the timbre vector [1, D_s]."""
        raise NotImplementedError

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """`codes` [1, q, T] and `speaker` [1, D_s] to wav [1, T * hop]."""
        raise NotImplementedError

    def stream_counts(self) -> Sequence[int]:
        """How many of the leading streams are enough for `decode`: all, unless a kind says less."""
        return (len(self.spec.streams),)

    @staticmethod
    def published_key(own: str) -> str:
        """The published name of one of our keys."""
        return own

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        """See `SpeechTokenizer.encode`. Raises InputError for what is no mono audio."""
        lengths = check_wav(self.spec, wav, lengths)
        hop, batch = self.spec.hop, wav.shape[0]
        frames = (lengths + hop - 1) // hop  # [B]
        shape = (batch, len(self.spec.streams), -(-wav.shape[-1] // hop))
        codes = torch.zeros(shape, dtype=torch.int64, device=wav.device)
        size = self.spec.speaker_dim
        speakers = torch.zeros(batch, size, device=wav.device) if size else None
        for row, (samples, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
            found, speaker = self.encode_row(wav[row : row + 1, :samples].to(self.dtype))
            codes[row, :, :count] = found[0, : codes.shape[1]]
            if speakers is not None and speaker is not None:
                speakers[row] = speaker[0]
        return SpeechCodes(codes, frames, speakers)

    @torch.inference_mode()
    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """`codes` [B, q, T] of `lengths` [B] frames and `speaker` [B, D_s] to wav [B, T * hop].

        Fewer streams than the card's are decoded as well where `stream_counts` has their number.
        Raises InputError for codes that the card does not have; TypeError without a speaker where
        the card has one.
        """
        self._check(codes)
        if self.spec.speaker_dim and speaker is None:
            raise TypeError(
                f"tokenizer '{self.spec.name}' needs a speaker vector to decode; pass one"
            )
        batch, _, total = codes.shape
        if lengths is None:
            lengths = torch.full((batch,), total, device=codes.device)
        wav = torch.zeros(batch, total * self.spec.hop, device=codes.device)
        for row, count in enumerate(lengths.tolist()):
            if count == 0:
                continue
            timbre = None if speaker is None else speaker[row : row + 1].to(self.dtype)
            made = self.decode_row(codes[row : row + 1, :, :count], timbre)
            wav[row, : made.shape[-1]] = made[0]
        return wav

    def _check(self, codes: Tensor) -> None:
        """Raise InputError unless `codes` [B, q, T] can be decoded."""
        count = codes.shape[1] if codes.dim() == 3 else 0
        spec = self.spec
        if count in self.stream_counts():
            spec = spec.model_copy(update={"streams": spec.streams[:count]})
        check_codes(spec, codes)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def save_pretrained(self, folder: Path | str) -> None:
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        data = {"type": self.TYPE, "format": FORMAT, **self.config.model_dump(mode="json")}
        with atomic_folder(folder) as partial:
            save_file(tensors, partial / "model.safetensors")
            (partial / "tokenizer.json").write_text(json.dumps(data, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "PublishedTokenizer":
        """Raises InputError if the folder is not whole, damaged, or of a later version."""
        folder, what = Path(folder), f"tokenizer '{folder}'"
        data = check_format(read_object(folder / "tokenizer.json", what), what)
        data.pop("type", None)
        model = cls(parse(cls.Config, data, f"{what}: tokenizer.json"))
        fill(model, folder / "model.safetensors", what)
        return model.eval()
