"""Base of the published tokenizers that this project implements itself.

Their weights keep the published names and shapes; `convert.py` reads the published files.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import Self

from vocalmtp.config import StrictModel, parse
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.read import FORMAT, check_format, fill, read_object
from vocalmtp.tokenizers.base import (
    SpeechCodes,
    SpeechTokenizer,
    check_codes,
    check_speaker,
    check_wav,
    full_lengths,
    registered_type,
)
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.spec import TokenizerSpec


class PublishedConfig(StrictModel):
    """Base of the configurations, whose defaults are the sizes of the published weights."""

    name: str
    codes: str = ""  # set by conversion, see TokenizerSpec

    @classmethod
    def of(cls, card: TokenizerCard) -> Self:
        """Return the configuration of the published weights that `card` describes."""
        return cls(name=card.name)

    def spec(self) -> TokenizerSpec:
        """Return the spec of a tokenizer of this configuration."""
        raise NotImplementedError


class PublishedTokenizer(SpeechTokenizer):
    """A tokenizer that encodes and decodes whole utterances, one at a time.

    Convolutions that see both sides and pad by reflection would make a padded row of a batch differ
    from the same row alone.
    """

    Config: ClassVar[type[PublishedConfig]]
    PREFIX: ClassVar[str] = ""  # of the keys, in published files that hold other parts too
    UNUSED: ClassVar[str] = ""  # pattern of published keys that are for training alone

    config: PublishedConfig

    def __init__(self, config: PublishedConfig):
        super().__init__()
        self.config = config
        self.spec = config.spec()

    def encode_row(self, wav: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode `wav` [1, N] to codes [1, Q, T] and a speaker vector [1, D_s], if there is one."""
        raise NotImplementedError

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """Decode `codes` [1, q, T] and `speaker` [1, D_s] to wav [1, T * hop]."""
        raise NotImplementedError

    def stream_counts(self) -> Sequence[int]:
        """Return how many of the leading streams can be decoded: all, unless a subclass adds."""
        return (len(self.spec.streams),)

    @staticmethod
    def published_key(own: str) -> str:
        """Return the published name of a key of `state_dict()`."""
        return own

    @staticmethod
    def checkpoint_key(file: str, key: str) -> str:
        """Return the published name of `key` in a `file` (without its suffix), if it lacks a part."""
        return key

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        """See `SpeechTokenizer.encode`."""
        wav, lengths = check_wav(self.spec, wav, lengths, self.device)
        hop, batch, size = self.spec.input_hop, len(wav), self.spec.speaker_dim
        frames = (lengths + hop - 1) // hop  # [B]
        shape = (batch, len(self.spec.streams), -(-wav.shape[-1] // hop))
        codes = torch.zeros(shape, dtype=torch.int64, device=wav.device)
        speakers = torch.zeros(batch, size, dtype=torch.float32, device=wav.device)
        for row, (samples, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
            found, speaker = self.encode_row(wav[row : row + 1, :samples].to(self.dtype))
            codes[row, :, :count] = found[0, : shape[1], :count]
            if speaker is not None:
                speakers[row] = speaker[0]
        return SpeechCodes(codes, frames, speakers if size else None)

    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `SpeechTokenizer.embed_speaker`."""
        speaker = self.encode(wav, lengths).speaker if self.spec.speaker_dim else None
        return super().embed_speaker(wav, lengths) if speaker is None else speaker

    @torch.inference_mode()
    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """See `SpeechTokenizer.decode`; fewer streams than the spec's if `stream_counts` has them."""
        self._check(codes)
        check_speaker(self.spec, speaker)
        codes = codes.to(self.device)
        timbre = None if speaker is None else speaker.to(self.device, self.dtype)
        shape = (len(codes), codes.shape[-1] * self.spec.hop)
        wav = torch.zeros(shape, dtype=torch.float32, device=codes.device)
        for row, count in enumerate(full_lengths(codes, lengths).tolist()):
            if count:
                vector = None if timbre is None else timbre[row : row + 1]
                found = self.decode_row(codes[row : row + 1, :, :count], vector)
                wav[row, : found.shape[-1]] = found[0]
        return wav

    def _check(self, codes: Tensor) -> None:
        """Raise InputError unless `codes` [B, q, T] can be decoded."""
        spec = self.spec
        count = codes.shape[1] if codes.dim() == 3 else 0
        if count in self.stream_counts():
            spec = spec.model_copy(update={"streams": spec.streams[:count]})
        check_codes(spec, codes)

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the weights as they are, and the configuration."""
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        kind = registered_type(self)
        data = {"type": kind, "format": FORMAT, **self.config.model_dump(mode="json")}
        with atomic_folder(folder) as partial:
            save_file(tensors, partial / "model.safetensors")
            (partial / "tokenizer.json").write_text(json.dumps(data, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str, card: TokenizerCard | None = None) -> Self:
        """Read a tokenizer that `save_pretrained` wrote.

        Raises:
            InputError: no tokenizer.json (published files have to be converted first), or files are
                missing, damaged, or of a later version.

        """
        folder, what = Path(folder), f"tokenizer '{folder}'"
        if not (folder / "tokenizer.json").is_file():
            raise InputError(
                f"{what}: no tokenizer.json there; convert the published files first: "
                "vocalmtp tokenizers convert NAME FILES -o FOLDER",
                code="not_found",
            )
        data = check_format(read_object(folder / "tokenizer.json", what), what)
        data.pop("type", None)
        model = cls(parse(cls.Config, data, f"{what}: tokenizer.json"))
        fill(model, folder / "model.safetensors", what)
        return model.eval()
