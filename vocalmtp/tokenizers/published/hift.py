"""HiFTNet (2309.09493), the vocoder of CosyVoice 2: mel spectrogram to waveform.

A predicted pitch drives harmonics, and a network of convolutions turns them and the spectrogram
into the bins of a short inverse Fourier transform. Keys and shapes are those of the published
hift.pt. Shapes: B batch, C channels, T mel frames of 480 samples.
"""

import math
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from vocalmtp.tokenizers.base import FixedDtype
from vocalmtp.tokenizers.spectra import inverse_stft
from vocalmtp.tokenizers.streaming import frame_noise

SAMPLE_RATE, MELS = 24_000, 80
STRIDES, KERNELS = (8, 5, 3), (16, 11, 7)  # of the upsampling
FFT_SIZE, FFT_HOP = 16, 4
BINS = FFT_SIZE // 2 + 1
HOP = math.prod(STRIDES) * FFT_HOP  # 480 samples per mel frame
SOURCE_KERNELS, RESIDUAL_KERNELS = (7, 7, 11), (3, 7, 11)
DILATIONS = (1, 3, 5)
HARMONICS = 9  # with the fundamental
SINE, VOICED_NOISE, VOICED = 0.1, 0.003, 10.0  # amplitudes; Hz above which a frame is voiced
MAX_MAGNITUDE, LIMIT = 100.0, 0.99
F0_REACH = 5  # frames to either side that the pitch of a frame depends on
REACH = 22  # and that its samples depend on


class Snake(nn.Module):
    """x + sin²(a x) / a for every channel (2006.08195)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        alpha = self.alpha[:, None]
        return x + (alpha * x).sin().square() / (alpha + 1e-9)


class ResidualBlock(nn.Module):
    """Three pairs of convolutions, dilated and plain, each added to its input."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.activations1, self.activations2 = (
            nn.ModuleList(Snake(channels) for _ in DILATIONS) for _ in range(2)
        )
        self.convs1, self.convs2 = (
            nn.ModuleList(
                weight_norm(
                    nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel // 2))
                )
                for d in dilations
            )
            for dilations in (DILATIONS, (1,) * len(DILATIONS))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        pairs = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for first, dilated, second, plain in pairs:
            x = x + plain(second(dilated(first(x))))
        return x


class PitchPredictor(nn.Module):
    """Fundamental frequency of every mel frame, about 0 where it is unvoiced."""

    def __init__(self, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (MELS, *[width] * (F0_REACH - 1)):
            layers += [weight_norm(nn.Conv1d(inputs, width, 3, padding=1)), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Map [B, 80, T] to frequencies [B, T] in Hz."""
        return self.classifier(self.condnet(mel).transpose(1, 2))[..., 0].abs()


class Window(FixedDtype):
    """The window of both transforms, in float32."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(FFT_SIZE, dtype=torch.float32)
        self.register_buffer("window", window, persistent=False)


class HiFT(nn.Module):
    """The vocoder.

    Its noise is drawn for every frame, with the frame's index as the seed: a spectrogram gives the
    same samples as a whole and in pieces.

    Args:
        width: channels at the rate of the mel frames; halved with every upsampling.
        f0_width: channels of the pitch predictor.

    """

    def __init__(self, width: int, f0_width: int):
        super().__init__()
        widths = [width // 2**i for i in range(len(STRIDES) + 1)]
        self.conv_pre = weight_norm(nn.Conv1d(MELS, width, 7, padding=3))
        self.ups = nn.ModuleList(
            weight_norm(
                nn.ConvTranspose1d(
                    widths[i], widths[i + 1], kernel, stride, padding=(kernel - stride) // 2
                )
            )
            for i, (stride, kernel) in enumerate(zip(STRIDES, KERNELS, strict=True))
        )
        rates = [*accumulate((1, *STRIDES[:0:-1]), mul)][::-1]  # frames of the source per frame
        self.source_downs = nn.ModuleList(
            nn.Conv1d(2 * BINS, channels, 2 * rate, rate, padding=rate // 2)
            if rate > 1
            else nn.Conv1d(2 * BINS, channels, 1)
            for rate, channels in zip(rates, widths[1:], strict=True)
        )
        self.source_resblocks = nn.ModuleList(
            ResidualBlock(channels, kernel)
            for channels, kernel in zip(widths[1:], SOURCE_KERNELS, strict=True)
        )
        self.resblocks = nn.ModuleList(
            ResidualBlock(channels, kernel)
            for channels in widths[1:]
            for kernel in RESIDUAL_KERNELS
        )
        self.conv_post = weight_norm(nn.Conv1d(widths[-1], 2 * BINS, 7, padding=3))
        self.f0_predictor = PitchPredictor(f0_width)
        self.m_source = nn.ModuleDict({"l_linear": nn.Linear(HARMONICS, 1)})
        self.stft = Window()

    def forward(self, mel: Tensor, first: int = 0) -> Tensor:
        """Map `mel` [B, 80, T] to the wav [B, (T - first) * 480] from frame `first` on, in float32."""
        source = self.source(self.f0_predictor(mel))
        start = max(0, first - REACH)
        wav = self.filter(mel[..., start:], source[:, start * HOP :])
        return wav[:, (first - start) * HOP :]

    def source(self, f0: Tensor) -> Tensor:
        """Map frequencies `f0` [B, T] to the excitation [B, T * 480].

        Phases are summed frame by frame and interpolated, in float64 since they grow. Unvoiced
        frames are noise.
        """
        orders = torch.arange(1, HARMONICS + 1, device=f0.device)[:, None]
        cycles = (f0.double()[:, None] * orders / SAMPLE_RATE) % 1  # [B, 9, T] per sample
        phases = cycles.cumsum(-1) * math.tau * HOP
        phases = F.interpolate(phases, scale_factor=HOP, mode="linear")  # [B, 9, T * 480]
        voiced = (f0 > VOICED).to(f0.dtype).repeat_interleave(HOP, dim=-1)[..., None]
        sines = SINE * phases.sin().to(f0.dtype).transpose(1, 2) * voiced  # [B, T * 480, 9]
        noise = frame_noise(0, f0.shape[-1], HOP * HARMONICS).view(-1, HARMONICS).to(f0)
        level = voiced * VOICED_NOISE + (1 - voiced) * SINE / 3
        return self.m_source["l_linear"](sines + level * noise)[..., 0].tanh()

    def filter(self, mel: Tensor, source: Tensor) -> Tensor:
        """Map `mel` [B, 80, T] and `source` [B, T * 480] to wav [B, T * 480] in float32."""
        window = self.stft.window
        spectra = torch.stft(source.float(), FFT_SIZE, FFT_HOP, window=window, return_complex=True)
        excitation = torch.cat([spectra.real, spectra.imag], dim=1).to(mel.dtype)  # [B, 18, .]
        x, count = self.conv_pre(mel), len(RESIDUAL_KERNELS)
        for i, upward in enumerate(self.ups):
            x = upward(F.leaky_relu(x, 0.1))
            if i == len(STRIDES) - 1:
                x = F.pad(x, (1, 0), mode="reflect")  # as many frames as the transform has
            x = x + self.source_resblocks[i](self.source_downs[i](excitation))
            blocks = self.resblocks[count * i : count * (i + 1)]
            x = torch.stack([block(x) for block in blocks]).mean(0)
        magnitude, phase = self.conv_post(F.leaky_relu(x)).float().chunk(2, dim=1)  # [B, 9, .]
        spectra = torch.polar(magnitude.exp().clamp(max=MAX_MAGNITUDE), phase.sin())
        edge = FFT_SIZE // 2
        return inverse_stft(spectra, window, FFT_HOP)[:, edge:-edge].clamp(-LIMIT, LIMIT)
