"""X-Codec (2408.17175): a semantic model's features join those of a DAC before quantisation."""

from torch import Tensor

from vocalmtp.tokenizers.base import CodecStream
from vocalmtp.tokenizers.huggingface import HuggingFaceCodec
from vocalmtp.tokenizers.streaming import WindowStream, sides_reach


class XcodecTokenizer(HuggingFaceCodec):
    """The semantic model hears the whole utterance; the decoder is convolutional, and streams."""

    model_name, model_type = "XcodecModel", "xcodec"

    def facts(self) -> dict[str, int]:
        config = self.model.config
        return {
            "sample_rate": config.sample_rate,
            "hop": config.hop_length,
            "size": config.codebook_size,
            "streams": config.num_quantizers,
        }

    def codes_of(self, wav: Tensor) -> Tensor:
        return self.model.encode(wav[:, None]).audio_codes

    def wav_of(self, codes: Tensor) -> Tensor:
        return self.model.decode(codes).audio_values[:, 0]

    def make_stream(self) -> CodecStream:
        reach = sides_reach(self.model.config.acoustic_model_config.upsampling_ratios)
        return WindowStream(
            lambda codes, first: self.wav_of(codes).float(), self.check, reach, self.spec.hop
        )
