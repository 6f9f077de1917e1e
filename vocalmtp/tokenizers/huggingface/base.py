"""Base of the codecs that Transformers implements, behind the `SpeechTokenizer` contract.

A codec adds a class with the name of its model in Transformers, `facts`, `encode_frames` and
`decode_frames`, and what it can do piece by piece. Weights come from a local folder as published;
nothing is downloaded.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from vocalmtp.engines.device import float32_on_cpu
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.progress import quiet
from vocalmtp.io.read import reason
from vocalmtp.tokenizers.base import (
    CodecStream,
    SpeechCodes,
    SpeechTokenizer,
    check_codes,
    check_wav,
    full_lengths,
    inside,
)
from vocalmtp.tokenizers.cards import TokenizerCard, load_card, save_card

UNUSED = "masked_spec_embed"  # for the training of semantic models alone; not always published


def usual_defaults() -> AbstractContextManager[None]:
    """Return a context in which torch's default dtype and device are float32 and the CPU.

    Code of Transformers makes tensors by default where it should name a dtype or a device.
    """
    usual = torch.get_default_dtype() == torch.float32 and torch.get_default_device().type == "cpu"
    return nullcontext() if usual else float32_on_cpu()


@dataclass(frozen=True)
class ModelFacts:
    """What the configuration of a model says, to be compared with its card."""

    sample_rate: int
    hop: int
    codebook_size: int
    streams: int
    encoder_sample_rate: int | None = None


class HuggingFaceCodec(SpeechTokenizer):
    """A model of Transformers, and the card that describes it."""

    model_name: ClassVar[str]  # of the class in `transformers`
    causal: bool = False  # then padding changes no code before it
    block: ClassVar[int] = 1000  # frames that are encoded or decoded at once, where pieces can be

    model: Any  # Transformers' classes are not typed

    def __init__(self, model: nn.Module, card: TokenizerCard):
        """Raise InputError if the model is not what the card describes."""
        super().__init__()
        self.model, self.card = model.eval(), card
        _check_card(self.facts(), card)
        self.spec = card.spec(fingerprint(model))

    # -- what a codec implements -------------------------------------------------------------------

    def facts(self) -> ModelFacts:
        """Return what the model's configuration says."""
        raise NotImplementedError

    def encode_frames(self, wav: Tensor) -> Tensor:
        """Encode whole frames: `wav` [B, T * input_hop] to codes [B, at least Q, T]."""
        raise NotImplementedError

    def decode_frames(self, codes: Tensor) -> Tensor:
        """Decode `codes` [B, Q, T] to wav [B, n], n about T * hop."""
        raise NotImplementedError

    def encode_long(self, wav: Tensor) -> Tensor:
        """Encode as `encode_frames`; piece by piece, where the codec can."""
        return self.encode_frames(wav)

    def make_stream(self) -> CodecStream:
        """Return an incremental decoder; only called if the card has a look-ahead."""
        raise NotImplementedError

    def frames_to_encode(self, lengths: Tensor) -> Tensor:
        """Return the frames that the encoder gets for `lengths` [B] samples: whole ones, padded."""
        hop = self.spec.input_hop
        return (lengths + hop - 1) // hop

    # -- the contract ------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        """See `SpeechTokenizer.encode`."""
        wav, lengths = check_wav(self.spec, wav, lengths, self.device)
        hop = self.spec.input_hop
        padded = self.frames_to_encode(lengths)  # [B]
        longest = int(padded.max())
        wav = F.pad(wav, (0, max(0, longest * hop - wav.shape[-1])))
        wav = (wav * inside(lengths, wav.shape[-1])).to(self.dtype)
        shape = (len(wav), len(self.spec.streams), longest)
        codes = torch.zeros(shape, dtype=torch.int64, device=wav.device)
        for rows, count in self._groups(padded):
            encode = self.encode_frames if count <= self.block else self.encode_long
            with usual_defaults():
                found = encode(wav[rows, : count * hop])
            codes[rows, :, :count] = found[:, : shape[1], :count].long()
        frames = (lengths + hop - 1) // hop
        codes = codes[..., : int(frames.max())]
        return SpeechCodes(codes * inside(frames, codes.shape[-1])[:, None], frames)

    @torch.inference_mode()
    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """See `SpeechTokenizer.decode`."""
        check_codes(self.spec, codes)
        codes = codes.to(self.device)
        lengths, hop = full_lengths(codes, lengths), self.spec.hop
        shape = (len(codes), codes.shape[-1] * hop)
        wav = torch.zeros(shape, dtype=torch.float32, device=codes.device)
        for rows, count in self._groups(lengths):
            if count:
                with usual_defaults():
                    found = self._decode_rows(codes[rows, :, :count]).float()[:, : count * hop]
                wav[rows, : found.shape[-1]] = found
        return wav * inside(lengths * hop, wav.shape[-1])

    def _decode_rows(self, codes: Tensor) -> Tensor:
        """Decode `codes` [B, Q, T] to [B, n]; long ones in pieces, where that gives the same."""
        if codes.shape[-1] <= self.block or self.spec.lookahead is None:
            return self.decode_frames(codes)
        stream = self.make_stream()
        parts = [stream.push(piece) for piece in codes.split(self.block, dim=-1)]
        return torch.cat([*parts, stream.flush()], dim=-1)

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """See `SpeechTokenizer.stream`."""
        return super().stream() if self.spec.lookahead is None else self.make_stream()

    def check(self, codes: Tensor) -> None:
        """Raise InputError unless `codes` are ones of the spec."""
        check_codes(self.spec, codes)

    def _groups(self, counts: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Return rows that may share a batch without an influence of padding, and their frames.

        Convolutions that see both sides turn padding into something else than silence.
        """
        if self.causal:
            yield torch.arange(len(counts), device=counts.device), int(counts.max())
            return
        for count in counts.unique().tolist():
            yield (counts == count).nonzero()[:, 0], count

    # -- files -------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, folder: Path | str, card: TokenizerCard | None = None) -> Self:
        """Read the codec in `folder`, as published: config.json and model.safetensors.

        Args:
            folder: where the files are.
            card: what they are; None = as the folder's card.yaml describes them.

        Raises:
            InputError: files are missing or damaged, weights have other names or shapes, or the
                card describes another model.

        """
        folder = Path(folder)
        card = card or load_card(folder / "card.yaml")
        what = f"tokenizer '{card.name}'"
        model_class = cls.model_class(what)
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
    def model_class(cls, what: str) -> Any:
        """Return the class of Transformers. Raises InputError, which `what` begins, if it is new."""
        import transformers

        if not hasattr(transformers, cls.model_name):
            raise InputError(
                f"{what}: Transformers {transformers.__version__} has no {cls.model_name}; "
                "run: pip install --upgrade transformers",
                code="not_installed",
            )
        return getattr(transformers, cls.model_name)

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the published layout, with the weights as they are, and the card."""
        with quiet(), atomic_folder(folder) as partial:
            self.model.save_pretrained(partial)
            save_card(self.card, partial / "card.yaml")


def fingerprint(model: nn.Module) -> str:
    """Return a digest of the weights that codes depend on: all but the decoder's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if "decoder" not in name and UNUSED not in name:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def _check_card(facts: ModelFacts, card: TokenizerCard) -> None:
    """Raise InputError if the model's configuration and the card disagree."""
    spec, size = card.spec(), max(stream.size for stream in card.stream_specs())
    expected = ModelFacts(
        spec.sample_rate, spec.hop, size, len(spec.streams), spec.encoder_sample_rate
    )
    for key, value in vars(expected).items():
        found = getattr(facts, key)
        if found != value and not (key == "streams" and found > value):
            raise InputError(
                f"tokenizer '{card.name}': the weights have {key} {found} and the card {value}; "
                f"take the weights of {card.weights}",
                code="mismatch",
            )


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
