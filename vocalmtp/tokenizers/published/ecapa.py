"""The speaker vector of an utterance by ECAPA-TDNN (2005.07143), as Qwen3-TTS has it.

The network is the one of Qwen2.5-Omni in Transformers; keys and shapes are those of the
`speaker_encoder` in published models. Shapes: B batch, N samples, M mel bands, F frames, D_s size of
the vector.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.tokenizers.spectra import slaney_mel_filters

SAMPLE_RATE, WINDOW, HOP = 24_000, 1024, 256
TOP = 12_000  # Hz

Width = Annotated[int, Field(ge=1, le=8192)]


class SpeakerEncoderConfig(StrictModel):
    """Sizes, under their published names; the defaults are those of the published weights."""

    mel_dim: Width = 128
    enc_dim: Width = 1024  # of the vector
    enc_channels: tuple[Width, ...] = (512, 512, 512, 512, 1536)
    enc_kernel_sizes: tuple[Width, ...] = (5, 3, 3, 3, 1)
    enc_dilations: tuple[Width, ...] = (1, 2, 3, 4, 1)
    enc_attention_channels: Width = 128
    enc_res2net_scale: Width = 8
    enc_se_channels: Width = 128
    sample_rate: int = SAMPLE_RATE


class SpeakerEncoder(torch.nn.Module):
    """Waveforms at 24 kHz to speaker vectors.

    Args:
        config: sizes.

    """

    bank: Tensor
    hann: Tensor

    def __init__(self, config: SpeakerEncoderConfig):
        from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import ECAPA_TimeDelayNet

        super().__init__()
        network: Any = ECAPA_TimeDelayNet
        self.network = network(config)
        bank = slaney_mel_filters(SAMPLE_RATE, WINDOW, config.mel_dim)  # [M, bins]
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("hann", torch.hann_window(WINDOW), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Convert `wav` [B, N] to vectors [B, D_s]."""
        side = (WINDOW - HOP) // 2
        padded = F.pad(wav[:, None], (side, side), mode="reflect")[:, 0]
        spectrum = torch.stft(
            padded, WINDOW, HOP, window=self.hann, center=False, return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(-1)
        mel = (self.bank @ (power + 1e-9).sqrt()).clamp(min=1e-5).log()  # [B, M, F]
        vectors: Tensor = self.network(mel.transpose(1, 2))
        return vectors
