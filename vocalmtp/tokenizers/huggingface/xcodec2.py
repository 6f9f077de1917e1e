"""X-Codec 2 and NeuCodec: semantic and acoustic features in one stream of FSQ codes."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import TOKENIZERS
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.huggingface.base import HuggingFaceCodec, ModelFacts
from vocalmtp.tokenizers.spectra import KaldiLogMel


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


class FilterBank(KaldiLogMel):
    """Kaldi's log-mel bands, each normalised over the utterance, two frames in one.

    It computes in float64, as W2v-BERT was trained.
    """

    def __init__(self, sample_rate: int, mels: int):
        super().__init__(sample_rate, mels, scale=2**15)

    def forward(self, wav: Tensor) -> Tensor:
        """Map `wav` [B, N] in [-1, 1] to features [B, T, 2 * mels] in float64."""
        mels = super().forward(wav)  # [B, F, M]
        deviation = (mels.var(1, keepdim=True) + 1e-7).sqrt()
        mels = (mels - mels.mean(1, keepdim=True)) / deviation
        return mels[:, : mels.shape[1] // 2 * 2].unflatten(1, (-1, 2)).flatten(2)
