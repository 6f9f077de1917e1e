"""The Descript Audio Codec (2306.06546): convolutions that see both sides, and residual codes."""

from torch import Tensor
from torch.nn import functional as F

from vocalmtp.tokenizers.base import CodecStream
from vocalmtp.tokenizers.huggingface import BLOCK, HuggingFaceCodec
from vocalmtp.tokenizers.streaming import WindowStream, in_windows, sides_reach


class DacTokenizer(HuggingFaceCodec):
    """All rates. An odd stride makes audio a few samples short, which are zeros here."""

    model_name, model_type = "DacModel", "dac"

    def facts(self) -> dict[str, int]:
        config = self.model.config
        return {
            "sample_rate": config.sampling_rate,
            "hop": config.hop_length,
            "size": config.codebook_size,
            "streams": config.n_codebooks,
        }

    @property
    def reach(self) -> int:
        """Frames that encoder and decoder see to either side."""
        return sides_reach(self.model.config.upsampling_ratios)

    def codes_of(self, wav: Tensor) -> Tensor:
        streams = len(self.card.stream_specs())
        return self.model.encode(wav[:, None], n_quantizers=streams).audio_codes

    def long_codes_of(self, wav: Tensor) -> Tensor:
        hop = self.model.config.hop_length
        return in_windows(self.codes_of, wav, hop=hop, reach=self.reach, block=BLOCK)

    def wav_of(self, codes: Tensor) -> Tensor:
        return self.model.decode(audio_codes=codes).audio_values

    def make_stream(self) -> CodecStream:
        return WindowStream(self._window, self.check, self.reach, self.spec.hop)

    def _window(self, codes: Tensor, first: int) -> Tensor:
        """As `wav_of`, with all samples of the last frame: [B, T * hop]."""
        wav = self.wav_of(codes).float()
        return F.pad(wav, (0, codes.shape[-1] * self.spec.hop - wav.shape[-1]))
