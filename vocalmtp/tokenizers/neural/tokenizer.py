"""The trainable tokenizer behind the `SpeechTokenizer` contract, and its streamed decoding."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from vocalmtp.config import parse
from vocalmtp.engines.linears import (
    Bf16Linear,
    Fp16Linear,
    LinearFactory,
    has_bf16,
    has_fp16,
)
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.read import FORMAT, check_format, fill, read_object
from vocalmtp.tokenizers.base import (
    TOKENIZERS,
    SpeechCodes,
    SpeechTokenizer,
    check_codes,
    check_speaker,
    check_wav,
    full_lengths,
    inside,
)
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.neural.features import FOLD, FeatureExtractor
from vocalmtp.tokenizers.neural.model import (
    LOOKAHEAD,
    Decoder,
    DecoderState,
    Encoder,
    NeuralTokenizerConfig,
)
from vocalmtp.tokenizers.spec import edge_gain


@TOKENIZERS.register("neural")
class NeuralTokenizer(SpeechTokenizer):
    """The trainable tokenizer: decoupled, semi-decoupled or coupled."""

    def __init__(self, config: NeuralTokenizerConfig | None = None):
        super().__init__()
        self.config = config or NeuralTokenizerConfig()
        self.spec = self.config.spec()
        self.features = FeatureExtractor(
            self.config.sample_rate, self.config.mels, self.config.pitch_range
        )
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        """See `SpeechTokenizer.encode`."""
        features = self.features(*check_wav(self.spec, wav, lengths, self.device))
        codes = self.encoder(features).codes.transpose(1, 2)  # [B, Q, T]
        valid = features.mask[:, ::FOLD]  # [B, T]
        speaker = self.encoder.speaker(features)
        return SpeechCodes(codes * valid[:, None], valid.sum(-1), speaker)

    @torch.inference_mode()
    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `SpeechTokenizer.embed_speaker`."""
        features = self.features(*check_wav(self.spec, wav, lengths, self.device))
        return self.encoder.speaker(features)

    @torch.inference_mode()
    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """See `SpeechTokenizer.decode`."""
        check_codes(self.spec, codes)
        stream, codes = self.stream(speaker), codes.to(self.device)
        lengths = full_lengths(codes, lengths)
        valid = inside(lengths, codes.shape[-1])  # [B, T]
        values = F.pad(self.values(codes) * valid[..., None], (0, 0, 0, LOOKAHEAD))
        alive = valid.repeat_interleave(FOLD, dim=1)
        wav = torch.cat([stream.decode(values, alive), stream.tail()], dim=-1)
        left = (lengths * self.spec.hop)[:, None] - torch.arange(wav.shape[-1], device=wav.device)
        return wav * edge_gain(left - 1, self.spec.sample_rate)

    def stream(self, speaker: Tensor | None = None) -> "NeuralStream":
        """See `SpeechTokenizer.stream`."""
        if self.decoder.decoupled:
            check_speaker(self.spec, speaker)
        if speaker is None:
            speaker = torch.zeros(1, self.config.speaker_dim, dtype=torch.float32)
        return NeuralStream(self, speaker.to(self.device))

    def values(self, codes: Tensor) -> Tensor:
        """Return the values [B, T, W] of `codes` [B, Q, T], which the decoder takes."""
        return self.encoder.quantizer.values(codes.transpose(1, 2))

    def optimize_for_inference(self) -> None:
        """Multiply in 16 bits in the decoder's blocks on a CPU.

        That is bfloat16 with instructions for it, else float16 weights. Filters and pitch stay
        float32 and float64: they are exponentiated and integrated.
        """
        if self.device.type != "cpu" or not (has_bf16() or has_fp16()):
            return
        convert: LinearFactory = Bf16Linear if has_bf16() else Fp16Linear
        for stack in (self.decoder.slow, self.decoder.fast):
            for block in stack.blocks:
                block.up, block.down = convert(block.up), convert(block.down)

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write weights in `dtype` (None = float32) and configuration to `folder`."""
        stored = dtype or torch.float32
        tensors = {name: t.to(stored).contiguous() for name, t in self.state_dict().items()}
        data = {"type": "neural", "format": FORMAT, **self.config.model_dump(mode="json")}
        with atomic_folder(folder) as partial:
            save_file(tensors, partial / "model.safetensors")
            (partial / "tokenizer.json").write_text(json.dumps(data, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str, card: TokenizerCard | None = None) -> Self:
        """Read a tokenizer that `save_pretrained` wrote."""
        folder, what = Path(folder), f"tokenizer '{folder}'"
        data = check_format(read_object(folder / "tokenizer.json", what), what)
        data.pop("type", None)
        model = cls(parse(NeuralTokenizerConfig, data, f"{what}: tokenizer.json"))
        fill(model, folder / "model.safetensors", what)
        return model.eval()


class NeuralStream:
    """A `CodecStream` of a `NeuralTokenizer`, which waits for the look-ahead alone."""

    def __init__(self, tokenizer: NeuralTokenizer, speaker: Tensor):
        self.tokenizer, self.speaker = tokenizer, speaker
        self.state = DecoderState(trim=tokenizer.decoder.vocoder.delay)
        self.position = 0  # samples so far

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """Append `codes` [B, Q, t]; return the samples [B, n] that became final."""
        return self.decode(self.tokenizer.values(codes.to(self.speaker.device)))

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream; return the samples [B, n] that waited for the look-ahead."""
        config = self.tokenizer.config
        ended = self.speaker.new_zeros(len(self.speaker), LOOKAHEAD, config.latent_size)
        wav = self.decode(ended)
        wav = torch.cat([wav, self.tail()], dim=-1)
        left = torch.arange(wav.shape[-1] - 1, -1, -1, device=wav.device)
        return wav * edge_gain(left, config.sample_rate)

    def decode(self, values: Tensor, alive: Tensor | None = None) -> Tensor:
        """Decode values [B, t, W] to samples [B, n]; for `alive` see `Decoder.forward`."""
        self.speaker = self.speaker.expand(len(values), -1)  # one row is the voice of all rows
        wav, _, self.state = self.tokenizer.decoder(values, self.speaker, self.state, alive=alive)
        place = torch.arange(self.position, self.position + wav.shape[-1], device=wav.device)
        self.position += wav.shape[-1]
        return wav * edge_gain(place, self.tokenizer.config.sample_rate)

    def tail(self) -> Tensor:
        """Return the end [B, n] of the last frame's window, which no later frame overlaps."""
        if self.state.vocoder is None:
            return torch.zeros(
                len(self.speaker), 0, dtype=torch.float32, device=self.speaker.device
            )
        return self.state.vocoder.tail[:, : self.tokenizer.decoder.vocoder.delay]
