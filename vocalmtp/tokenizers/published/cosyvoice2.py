"""CosyVoice 2 (2412.10117) as a tokenizer: S3 codes of 16 kHz, decoded with a voice to 24 kHz.

The encoder is S3 v2, the voice a vector of CAM++, the decoder flow matching and the vocoder HiFT.
Chatterbox publishes all four in one file, s3gen.safetensors, whose keys and shapes these are; of
CosyVoice's own files each has one part. Shapes: B batch, T codes, M = 2 T mel frames.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from vocalmtp.tokenizers.base import TOKENIZERS, CodecStream, check_codes, check_speaker
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.published import hift
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.campplus import CAMPPlus, CAMPPlusConfig
from vocalmtp.tokenizers.published.flow_matching import AHEAD, RATIO, FlowConfig, FlowMatching
from vocalmtp.tokenizers.published.s3 import S3Config, S3Tokenizer
from vocalmtp.tokenizers.spec import TokenizerSpec

CHUNK = 25  # codes, with which the published model was trained
PARTS = {  # by file: the part of the keys that the file leaves out
    "flow": "flow.",
    "hift": "mel2wav.",
    "speech_tokenizer_v2": "tokenizer.",
    "campplus_cn_common": "speaker_encoder.",
}
Width = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class CosyVoice2Config(PublishedConfig):
    """Sizes of the parts; the defaults are those of the published weights."""

    name: str = "cosyvoice2"
    chunk: Annotated[int, Field(ge=0, le=1000)] = 0  # codes decoded at once; 0: the utterance
    s3: S3Config = S3Config()
    speaker: CAMPPlusConfig = CAMPPlusConfig()
    flow: FlowConfig = FlowConfig()
    vocoder_width: Width = 512
    pitch_width: Width = 512
    licence: str = "Apache-2.0"  # of the weights

    @classmethod
    def of(cls, card: TokenizerCard) -> "CosyVoice2Config":
        """See `PublishedConfig.of`."""
        chunk = 0 if card.lookahead is None else CHUNK
        return cls(name=card.name, chunk=chunk, licence=card.licence.weights)

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        encoder = self.s3.spec()
        wait = (self.chunk + AHEAD + hift.REACH / RATIO) / encoder.frame_rate
        return encoder.model_copy(
            update={
                "name": self.name,
                "codes": self.codes,
                "sample_rate": hift.SAMPLE_RATE,
                "encoder_sample_rate": encoder.sample_rate,
                "speaker_dim": self.speaker.dim,
                "lookahead": round(wait, 2) if self.chunk else None,
                "licence": self.licence,
            }
        )


@TOKENIZERS.register("cosyvoice2")
class CosyVoice2(PublishedTokenizer):
    """S3 v2, CAM++, flow matching and HiFT behind the `SpeechTokenizer` contract.

    Voices come from the vector alone: the published code may give the flow a spoken prompt besides,
    which has no place in the contract. Without chunks the flow sees the whole utterance; with them
    it sees chunks of a second, `decode` too, so that streams equal it.
    """

    Config = CosyVoice2Config
    config: CosyVoice2Config
    UNUSED = r"tokenizer\.(_mel_filters|window)"  # computed anew

    def __init__(self, config: CosyVoice2Config | None = None):
        config = config or CosyVoice2Config()
        super().__init__(config)
        self.tokenizer = S3Tokenizer(config.s3)
        self.speaker_encoder = CAMPPlus(config.speaker)
        self.flow = FlowMatching(config.flow, config.speaker.dim)
        self.mel2wav = hift.HiFT(config.vocoder_width, config.pitch_width)

    @staticmethod
    def checkpoint_key(file: str, key: str) -> str:
        """See `PublishedTokenizer.checkpoint_key`."""
        return PARTS.get(file, "") + key.removeprefix("generator.")  # of the vocoder's training

    def encode_row(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """See `PublishedTokenizer.encode_row`."""
        return self.tokenizer.encode_row(wav)[0], self.speaker_encoder(wav)

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        assert speaker is not None
        return self.mel2wav(self.flow(codes[:, 0], speaker, self.config.chunk))

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """See `SpeechTokenizer.stream`."""
        if not self.config.chunk:
            return super().stream()
        check_speaker(self.spec, speaker)
        assert speaker is not None
        return ChunkStream(self, speaker.to(self.device, self.dtype))


class ChunkStream:
    """A `CodecStream` that decodes a chunk when the codes after it are there.

    Like the published code, it computes the flow of all codes so far again with every chunk.
    """

    def __init__(self, model: CosyVoice2, speaker: Tensor):
        self.model, self.speaker = model, speaker
        self.codes: Tensor | None = None  # [B, T]
        self.chunks = 0  # whose spectrogram is final
        self.done = 0  # mel frames of which the samples were returned

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """Append `codes` [B, 1, t]; return the samples [B, n] that became final."""
        check_codes(self.model.spec, codes)
        codes = codes[:, 0].to(self.model.device)
        self.codes = codes if self.codes is None else torch.cat([self.codes, codes], dim=-1)
        chunk = self.model.config.chunk
        chunks = (self.codes.shape[-1] - AHEAD) // chunk
        if chunks <= self.chunks:
            return self._samples(None, 0)
        self.chunks, known = chunks, chunks * chunk
        mel = self.model.flow(self.codes[:, : known + AHEAD], self.speaker, chunk, AHEAD)
        return self._samples(mel, known * RATIO - hift.REACH)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream; return the samples [B, n] that waited for later codes."""
        if self.codes is None or not self.codes.shape[-1]:
            return self._samples(None, 0)
        mel = self.model.flow(self.codes, self.speaker, self.model.config.chunk)
        return self._samples(mel, mel.shape[-1])

    def _samples(self, mel: Tensor | None, end: int) -> Tensor:
        """Return the samples from the last ones returned to mel frame `end`."""
        if mel is None or end <= self.done:
            rows = len(self.speaker)
            return torch.zeros(rows, 0, dtype=torch.float32, device=self.model.device)
        wav = self.model.mel2wav(mel, self.done)[:, : (end - self.done) * hift.HOP]
        self.done = end
        return wav
