"""BigCodec (2409.05377): a large convolutional codec with LSTMs, one stream at 80 Hz.

Its blocks are those of FACodec. Keys and shapes are those of the tables `CodecEnc` and `generator`
in the published bigcodec.pt.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import TOKENIZERS
from vocalmtp.tokenizers.published.alias_free import (
    Activation,
    Down,
    FactorisedResidualQuantizer,
    Up,
)
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.normed import NormedConv1d
from vocalmtp.tokenizers.published.seanet import Recurrent
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec

SAMPLE_RATE = 16_000
STRIDES = (2, 2, 2, 5, 5)  # their product is the hop of 200 samples
LSTM_LAYERS = 2

Width = Annotated[int, Field(ge=1, le=8192)]


class BigCodecConfig(PublishedConfig):
    """Sizes of BigCodec; the defaults are those of the published weights."""

    name: str = "bigcodec"
    width: Width = 48  # channels at the full rate, in the encoder
    dim: Width = 1024
    decoder_width: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] = 1536
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 8192
    codebook_dim: Width = 8

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="coupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=80,
            streams=(StreamSpec(name="vq", size=self.codebook_size, role="acoustic"),),
            licence="CC-BY-SA-4.0",  # of the weights
        )


class Encoder(nn.Module):
    """Waveform [B, 1, N] to [B, D, N / 200]."""

    def __init__(self, config: BigCodecConfig):
        super().__init__()
        widths = [config.width * 2**i for i in range(len(STRIDES) + 1)]
        self.block = nn.Sequential(
            NormedConv1d(1, widths[0], 7, padding=3),
            *(Down(width, stride) for width, stride in zip(widths, STRIDES, strict=False)),
            Recurrent(widths[-1], LSTM_LAYERS),
            Activation(widths[-1]),
            NormedConv1d(widths[-1], config.dim, 3, padding=1),
        )

    def forward(self, wav: Tensor) -> Tensor:
        """Map [B, 1, N] to [B, D, N / 200]."""
        return self.block(wav)


class Decoder(nn.Module):
    """The quantiser, and its values to samples."""

    def __init__(self, config: BigCodecConfig):
        super().__init__()
        self.quantizer = FactorisedResidualQuantizer(
            1, config.dim, config.codebook_size, config.codebook_dim
        )
        widths = [config.decoder_width // 2**i for i in range(len(STRIDES) + 1)]
        self.model = nn.Sequential(
            NormedConv1d(config.dim, widths[0], 7, padding=3),
            Recurrent(widths[0], LSTM_LAYERS),
            *(Up(width, stride) for width, stride in zip(widths, STRIDES[::-1], strict=False)),
            Activation(widths[-1]),
            NormedConv1d(widths[-1], 1, 7, padding=3),
            nn.Tanh(),
        )

    def forward(self, values: Tensor) -> Tensor:
        """Map values [B, T, D] to samples [B, 1, T * 200]."""
        return self.model(values.transpose(1, 2))


@TOKENIZERS.register("bigcodec")
class BigCodec(PublishedTokenizer):
    """BigCodec behind the `SpeechTokenizer` contract.

    As in the published script, at least one zero sample follows the audio before it is padded to
    whole frames; the code more that whole frames get by that is dropped.
    """

    Config = BigCodecConfig
    UNUSED = r"(?!(CodecEnc|generator)\.).+"  # discriminators

    def __init__(self, config: BigCodecConfig | None = None):
        config = config or BigCodecConfig()
        super().__init__(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @staticmethod
    def published_key(own: str) -> str:
        """See `PublishedTokenizer.published_key`."""
        part, rest = own.split(".", 1)
        return f"{'CodecEnc' if part == 'encoder' else 'generator'}.{rest}"

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        wav = F.pad(wav, (0, self.spec.hop - wav.shape[-1] % self.spec.hop))
        x = self.encoder(wav[:, None]).transpose(1, 2)  # [1, T, D]
        return self.decoder.quantizer.codes(x)[0], None

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        return self.decoder(self.decoder.quantizer.values(codes))[:, 0]
