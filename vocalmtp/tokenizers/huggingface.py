"""Codecs that Transformers implements, behind our contract: what they have in common.

A family adds a small file with the names of the classes, `codes_of` and `wav_of`, and what it can
do piece by piece. Weights come from a local folder as published; nothing is downloaded.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.read import reason
from vocalmtp.tokenizers.base import (
    CodecStream,
    SpeechCodes,
    SpeechTokenizer,
    check_codes,
    check_wav,
)
from vocalmtp.tokenizers.cards import TokenizerCard, save_card

BLOCK = 1000  # frames that are encoded or decoded at once, where a family works in pieces
UNUSED = "masked_spec_embed"  # for the training of semantic models alone; not always published


class HuggingFaceCodec(SpeechTokenizer):
    """A model of Transformers with the card of the catalogue that describes it."""

    model_name: ClassVar[str]  # the class in `transformers`
    model_type: ClassVar[str]  # in config.json
    causal: ClassVar[bool] = (
        False  # then rows of unlike lengths share a batch: padding is not heard
    )

    def __init__(self, model: nn.Module, card: TokenizerCard):
        """Raises InputError if the model is not what the card says."""
        super().__init__()
        self.model, self.card = model.eval(), card
        self._check_card()
        self.spec = card.spec(fingerprint(model))

    # -- what a family says ------------------------------------------------------------------------

    def facts(self) -> dict[str, int]:
        """What the model's configuration says of the card: sample_rate, hop, size, streams."""
        raise NotImplementedError

    def codes_of(self, wav: Tensor) -> Tensor:
        """Whole frames of `wav` [B, T * hop] to codes [B, at least Q, T]."""
        raise NotImplementedError

    def wav_of(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, T] to wav [B, n], n about T * hop."""
        raise NotImplementedError

    def long_codes_of(self, wav: Tensor) -> Tensor:
        """As `codes_of`, for long `wav`: in pieces, where the family can."""
        return self.codes_of(wav)

    def make_stream(self) -> CodecStream:
        """An incremental decoder, for families whose card has a look-ahead."""
        raise NotImplementedError

    # -- the contract ------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        """See `SpeechTokenizer.encode`. Raises InputError for what is no mono audio."""
        lengths = check_wav(self.spec, wav, lengths)
        hop = self.spec.hop
        frames = (lengths + hop - 1) // hop  # [B]
        longest = int(frames.max())
        wav = F.pad(wav, (0, max(0, longest * hop - wav.shape[-1])))
        inside = torch.arange(wav.shape[-1], device=wav.device) < lengths[:, None]
        wav = (wav * inside).to(self.dtype)
        codes = torch.zeros(len(wav), len(self.spec.streams), longest, device=wav.device).long()
        for rows, count in self._alike(frames):
            encode = self.codes_of if count <= BLOCK else self.long_codes_of
            made = encode(wav[rows, : count * hop])
            codes[rows, :, :count] = made[:, : codes.shape[1], :count]
        valid = torch.arange(longest, device=wav.device) < frames[:, None]  # [B, T]
        return SpeechCodes(codes * valid[:, None], frames)

    @torch.inference_mode()
    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """See `SpeechTokenizer.decode`. Raises InputError for codes that the card does not have."""
        check_codes(self.spec, codes)
        if lengths is None:
            lengths = torch.full((len(codes),), codes.shape[-1], device=codes.device)
        hop = self.spec.hop
        wav = torch.zeros(len(codes), codes.shape[-1] * hop, device=codes.device)
        for rows, count in self._alike(lengths):
            if count:
                made = self._decode(codes[rows, :, :count]).float()[:, : count * hop]
                wav[rows, : made.shape[-1]] = made
        inside = torch.arange(wav.shape[-1], device=wav.device) < (lengths * hop)[:, None]
        return wav * inside

    def _decode(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, T] -> [B, n]; in pieces if they are long, where that gives the same."""
        if codes.shape[-1] <= BLOCK or self.spec.lookahead is None:
            return self.wav_of(codes)
        stream = self.make_stream()
        parts = [stream.push(piece) for piece in codes.split(BLOCK, dim=-1)]
        return torch.cat([*parts, stream.flush()], dim=-1)

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """See `SpeechTokenizer.stream`. Raises InputError if the card says that it cannot."""
        return super().stream() if self.spec.lookahead is None else self.make_stream()

    def check(self, codes: Tensor) -> None:
        """Raise InputError unless the card has these codes."""
        check_codes(self.spec, codes)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _alike(self, counts: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Rows that may share a batch without hearing each other's padding, and their frames."""
        if self.causal:
            yield torch.arange(len(counts), device=counts.device), int(counts.max())
            return
        for count in counts.unique().tolist():
            yield (counts == count).nonzero()[:, 0], count

    def _check_card(self) -> None:
        """Raise InputError if the configuration and the card do not agree."""
        facts, card = self.facts(), self.card
        spec, sizes = card.spec(), {stream.size for stream in card.stream_specs()}
        wanted = {"sample_rate": spec.sample_rate, "hop": spec.hop, "size": max(sizes)}
        for key, value in wanted.items():
            if facts[key] != value:
                raise InputError(
                    f"tokenizer '{card.name}': the weights have {key} {facts[key]} and the card "
                    f"{value}; take the weights of {card.weights}",
                    code="mismatch",
                )
        if facts["streams"] < len(spec.streams):
            raise InputError(
                f"tokenizer '{card.name}': the weights have {facts['streams']} streams and the "
                f"card {len(spec.streams)}; take the weights of {card.weights}",
                code="mismatch",
            )

    # -- files -------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path, card: TokenizerCard) -> "HuggingFaceCodec":
        """The codec in `folder`, as published (config.json, model.safetensors).

        Raises InputError if files are missing or damaged, or weights have other names or shapes.
        """
        what = f"tokenizer '{card.name}'"
        model_class = cls._model_class(what)
        if not any((folder / f"model.safetensors{end}").is_file() for end in ("", ".index.json")):
            raise InputError(
                f"{what}: no model.safetensors in '{folder}'; download it again", code="damaged"
            )
        try:
            model, info = model_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
        except Exception as error:  # of many kinds: JSON, safetensors, its own checks of values
            raise InputError(
                f"{what}: '{folder}' cannot be loaded ({reason(error)}); download it again",
                code="damaged",
            ) from error
        _check_names(what, info)
        return cls(model, card)

    @classmethod
    def _model_class(cls, what: str) -> Any:
        import transformers

        if not hasattr(transformers, cls.model_name):
            raise InputError(
                f"{what}: Transformers {transformers.__version__} has no {cls.model_name}; "
                "run: pip install --upgrade transformers",
                code="version_too_new",
            )
        return getattr(transformers, cls.model_name)

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the published layout and the card; `load_tokenizer(folder)` reads both.

        Codes are stamped with a digest of the weights: they are stored as they are, whatever
        `dtype` says.
        """
        with atomic_folder(folder) as partial:
            self.model.save_pretrained(partial)
            save_card(self.card, partial / "card.yaml")


def fingerprint(model: nn.Module) -> str:
    """Digest of the weights that make codes: all but the decoder's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if "decoder" not in name and UNUSED not in name:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def _check_names(what: str, info: dict[str, Any]) -> None:
    """Raise InputError with the first three differences of names or shapes."""
    found = [f"'{name}' is missing" for name in sorted(info["missing_keys"])]
    found += [f"'{name}' is unknown" for name in sorted(info["unexpected_keys"])]
    for name, theirs, ours in sorted(info["mismatched_keys"], key=lambda item: item[0]):
        found.append(f"'{name}' is {list(theirs)}, not {list(ours)}")
    found = [text for text in found if UNUSED not in text]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise InputError(
            f"{what}: the weights do not fit: {'; '.join(found[:3])}{more}; download them again",
            code="damaged",
        )
