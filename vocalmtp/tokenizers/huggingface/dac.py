"""DAC, X-Codec and Higgs Audio v2: codecs of DAC convolutions, which see both sides."""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import TOKENIZERS, CodecStream
from vocalmtp.tokenizers.huggingface.base import HuggingFaceCodec, ModelFacts
from vocalmtp.tokenizers.streaming import WindowStream, dac_reach, in_windows


@TOKENIZERS.register("dac")
class DacTokenizer(HuggingFaceCodec):
    """The Descript Audio Codec (2306.06546), of all rates.

    An odd stride makes decoded audio a few samples short, which are zeros here.
    """

    model_name = "DacModel"

    def facts(self) -> ModelFacts:
        """See `HuggingFaceCodec.facts`."""
        config = self.model.config
        return ModelFacts(
            config.sampling_rate, config.hop_length, config.codebook_size, config.n_codebooks
        )

    @property
    def reach(self) -> int:
        """Frames to either side that encoder and decoder depend on."""
        return dac_reach(self.model.config.upsampling_ratios)

    def encode_frames(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_frames`."""
        streams = len(self.spec.streams)
        return self.model.encode(wav[:, None], n_quantizers=streams).audio_codes

    def encode_long(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_long`."""
        hop = self.spec.hop
        return in_windows(self.encode_frames, wav, hop=hop, reach=self.reach, block=self.block)

    def decode_frames(self, codes: Tensor) -> Tensor:
        """See `HuggingFaceCodec.decode_frames`."""
        return self.model.decode(audio_codes=codes).audio_values

    def make_stream(self) -> CodecStream:
        """See `HuggingFaceCodec.make_stream`."""
        return WindowStream(self._decode_window, self.check, self.reach, self.spec.hop)

    def _decode_window(self, codes: Tensor, first: int) -> Tensor:
        """Decode as `decode_frames`, with all samples of the last frame: [B, T * hop]."""
        wav = self.decode_frames(codes.to(self.device)).float()
        return F.pad(wav, (0, codes.shape[-1] * self.spec.hop - wav.shape[-1]))


@TOKENIZERS.register("xcodec")
class XcodecTokenizer(HuggingFaceCodec):
    """X-Codec (2408.17175): features of a semantic model are quantised with those of a DAC.

    The semantic model attends to the whole utterance; the decoder is convolutional, and streams.
    """

    model_name = "XcodecModel"

    def facts(self) -> ModelFacts:
        """See `HuggingFaceCodec.facts`."""
        config = self.model.config
        return ModelFacts(
            config.sample_rate, config.hop_length, config.codebook_size, config.num_quantizers
        )

    def encode_frames(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_frames`."""
        return self.model.encode(wav[:, None]).audio_codes

    def decode_frames(self, codes: Tensor) -> Tensor:
        """See `HuggingFaceCodec.decode_frames`."""
        return self.model.decode(codes).audio_values[:, 0]

    def make_stream(self) -> CodecStream:
        """See `HuggingFaceCodec.make_stream`."""
        reach = dac_reach(self.model.config.acoustic_model_config.upsampling_ratios)

        def decode(codes: Tensor, first: int) -> Tensor:
            return self.decode_frames(codes.to(self.device)).float()

        return WindowStream(decode, self.check, reach, self.spec.hop)


@TOKENIZERS.register("higgs_audio_v2_tokenizer")
class HiggsAudioTokenizer(XcodecTokenizer):
    """The tokenizer of Higgs Audio v2: X-Codec at 25 Hz, with projected codebooks.

    Transformers has it too, but only beside torchaudio, which is not made for every torch.
    """

    model_name = "HiggsAudioV2TokenizerConfig"

    @classmethod
    def model_class(cls, what: str) -> Any:
        """See `HuggingFaceCodec.model_class`."""
        super().model_class(what)
        return higgs_model_class()


class ProjectedCodebook(nn.Module):
    """A codebook of X-Codec behind projections to fewer dimensions and back."""

    def __init__(self, codebook: Any, hidden_size: int, codebook_dim: int):
        super().__init__()
        self.codebook = codebook
        self.project_in = nn.Linear(hidden_size, codebook_dim)
        self.project_out = nn.Linear(codebook_dim, hidden_size)

    def encode(self, hidden: Tensor) -> Tensor:
        """Quantise `hidden` [B, D, T] to codes [B, T]."""
        return self.codebook.encode(self.project_in(hidden.transpose(1, 2)))

    def decode(self, codes: Tensor) -> Tensor:
        """Look up `codes` [B, T]: [B, D, T]."""
        return self.project_out(self.codebook.decode(codes)).transpose(1, 2)


def resample(wav: Tensor, source: int, target: int) -> Tensor:
    """Resample [B, N] to [B, ceil(N * target / source)] as torchaudio does by default."""
    common = math.gcd(source, target)
    step, phases = source // common, target // common
    kernels = sinc_kernels(step, phases).to(wav)
    width = (kernels.shape[-1] - step) // 2
    samples = F.conv1d(F.pad(wav[:, None], (width, width + step)), kernels, stride=step)
    length = math.ceil(wav.shape[-1] * phases / step)
    return samples.transpose(1, 2).flatten(1)[:, :length]  # [B, phases, n] -> [B, length]


def sinc_kernels(step: int, phases: int, zeros: int = 6, rolloff: float = 0.99) -> Tensor:
    """Return one filter per phase, a sinc under a Hann window: [phases, 1, taps] in float64.

    Args:
        step: input samples per `phases` output samples.
        phases: output samples per `step` input samples.
        zeros: zero crossings of the sinc to either side.
        rolloff: cutoff as a share of the lower Nyquist frequency.

    """
    cutoff = rolloff * min(step, phases)
    width = math.ceil(zeros * step / cutoff)
    taps = torch.arange(-width, width + step, dtype=torch.float64, device="cpu") / step
    shifts = torch.arange(phases, dtype=torch.float64, device="cpu") / phases
    time = ((taps - shifts[:, None]) * cutoff).clamp(-zeros, zeros)  # [phases, taps]
    window = (time * math.pi / zeros / 2).cos().square()
    return (torch.sinc(time) * window * cutoff / step)[:, None]


@cache
def higgs_model_class() -> Any:
    """Return the model of Higgs Audio v2, which is derived from Transformers' X-Codec."""
    from transformers import HiggsAudioV2TokenizerConfig, XcodecModel

    class HiggsAudioV2TokenizerModel(XcodecModel):
        """X-Codec with the parameters of Higgs Audio v2 under their published names."""

        config_class = HiggsAudioV2TokenizerConfig
        config: Any

        def __init__(self, config: Any):
            super().__init__(config)
            quantizers = self.quantizer.quantizers
            for index, layer in enumerate(quantizers):
                quantizers[index] = ProjectedCodebook(
                    layer.codebook, config.hidden_size, config.codebook_dim
                )
            self.post_init()

        def _extract_semantic_features(self, input_values: Tensor) -> Tensor:
            """Return the mean of HuBERT's layers [B, T, D] over `input_values` [B, 1, N]."""
            rates = self.config.sample_rate, self.config.semantic_sample_rate
            wav = F.pad(resample(input_values[:, 0], *rates), (160, 160))
            layers = self.semantic_model(wav, output_hidden_states=True).hidden_states
            return torch.stack(layers, dim=1).mean(1)[:, :: self.config.semantic_downsample_factor]

    return HiggsAudioV2TokenizerModel
