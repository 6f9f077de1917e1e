"""X-Codec 2 and NeuCodec: semantic and acoustic features in one stream of FSQ codes."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import TOKENIZERS, FixedDtype
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.huggingface.base import HuggingFaceCodec, ModelFacts


@TOKENIZERS.register("xcodec2")
class Xcodec2Tokenizer(HuggingFaceCodec):
    """X-Codec 2 (2502.04128): W2v-BERT and a DAC encoder, and a decoder of transformers.

    Both attend to the whole utterance: neither streaming nor chunks. As in the published
    preparation, a zero sample follows the audio before it is padded to whole frames; the frame more
    that whole frames get by that is encoded, since features are normalised over all of them, and
    its code is dropped.
    """

    model_name = "Xcodec2Model"

    def __init__(self, model: nn.Module, card: TokenizerCard):
        super().__init__(model, card)
        width = self.model.config.semantic_model_config.feature_projection_input_dim
        self.filter_bank = FilterBank(card.spec().input_rate, width // 2)

    def facts(self) -> ModelFacts:
        """See `HuggingFaceCodec.facts`."""
        config = self.model.config
        size = math.prod(config.quantization_levels)
        return ModelFacts(config.sampling_rate, config.hop_length, size, 1)

    def frames_to_encode(self, lengths: Tensor) -> Tensor:
        """See `HuggingFaceCodec.frames_to_encode`."""
        return lengths // self.spec.input_hop + 1

    def encode_frames(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_frames`."""
        side = self.spec.input_hop // 2
        features = self.filter_bank(F.pad(wav, (side, side))).to(wav.dtype)
        return self.model.encode(wav[:, None], input_features=features).audio_codes

    def decode_frames(self, codes: Tensor) -> Tensor:
        """See `HuggingFaceCodec.decode_frames`."""
        frames = codes.shape[-1]
        if frames == 1:  # the decoder normalises over time, which needs two
            codes = codes.repeat(1, 1, 2)
        wav = self.model.decode(audio_codes=codes).audio_values[:, 0]
        return wav[:, : frames * self.spec.hop]


@TOKENIZERS.register("neucodec")
class NeuCodecTokenizer(Xcodec2Tokenizer):
    """NeuCodec (2509.09550): X-Codec 2 with a decoder that doubles as upsampler to 24 kHz.

    The published preparation pads as that of X-Codec 2, and its filter bank has no padding at the
    ends, so that the last frame has no code.
    """

    model_name = "NeuCodecModel"

    def facts(self) -> ModelFacts:
        """See `HuggingFaceCodec.facts`."""
        config = self.model.config
        size = math.prod(config.quantization_levels)
        return ModelFacts(
            config.output_sampling_rate, config.hop_length, size, 1, config.input_sampling_rate
        )

    def frames_to_encode(self, lengths: Tensor) -> Tensor:
        """See `HuggingFaceCodec.frames_to_encode`."""
        hop = self.spec.input_hop
        return (lengths + hop - 1) // hop + 1

    def encode_frames(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_frames`; the last frame has no code."""
        features = self.filter_bank(wav).to(wav.dtype)
        codes = self.model.encode(wav[:, None], input_features=features).audio_codes
        return F.pad(codes, (0, 1))


class FilterBank(FixedDtype):
    """Kaldi's log-mel filter bank, each band normalised over the utterance, two frames in one.

    Frames of 25 ms every 10 ms, computed in float64, as W2v-BERT was trained.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, mels: int):
        super().__init__()
        self.size, self.hop = sample_rate // 40, sample_rate // 100
        self.fft_size = 1 << (self.size - 1).bit_length()
        hann = torch.hann_window(self.size, periodic=False, dtype=torch.float64)
        self.register_buffer("window", hann**0.85, persistent=False)  # Povey's
        bank = kaldi_mel_filters(sample_rate, self.fft_size, mels)
        self.register_buffer("filters", bank, persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Map `wav` [B, N] in [-1, 1] to features [B, T, 2 * mels] in float64."""
        frames = (wav.double() * 2**15).unfold(-1, self.size, self.hop)  # [B, F, size]
        frames = frames - frames.mean(-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - 0.97 * previous) * self.window
        power = torch.fft.rfft(frames, n=self.fft_size).abs().square()
        mels = (power @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log()  # [B, F, M]
        deviation = (mels.var(1, keepdim=True) + 1e-7).sqrt()
        mels = (mels - mels.mean(1, keepdim=True)) / deviation
        return mels[:, : mels.shape[1] // 2 * 2].unflatten(1, (-1, 2)).flatten(2)


def kaldi_mel_filters(sample_rate: int, fft_size: int, mels: int, low: float = 20.0) -> Tensor:
    """Return triangular filters in the mel scale, from `low` Hz to Nyquist: [bins, mels]."""
    bins = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * sample_rate / fft_size
    limits = torch.tensor([low, sample_rate / 2], dtype=torch.float64)
    (bottom, top), position = _mel(limits).tolist(), _mel(bins)[:, None]
    edges = torch.linspace(bottom, top, mels + 2, dtype=torch.float64)
    rise = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def _mel(frequency: Tensor) -> Tensor:
    return 1127.0 * (1 + frequency / 700).log()
