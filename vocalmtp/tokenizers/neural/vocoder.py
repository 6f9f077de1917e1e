"""Source-filter synthesis: pulses at F0 and noise, filtered in the spectrum, overlap-added.

The network gives, for every 10 ms frame, a complex filter for the pulses and a magnitude for the
noise; the filtering itself is linear, causal but for one window, and cheap. In the spirit of DDSP
(2001.04643) with the inverse-STFT synthesis of Vocos (2306.00814).

Shapes: B batch, F frames of 10 ms.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vocalmtp.tokenizers.base import FixedDtype
from vocalmtp.tokenizers.neural.features import FRAMES_PER_SECOND
from vocalmtp.tokenizers.spectra import overlap_add

NOISE_FRAMES = 400  # the noise repeats after this many frames (4 s)


@dataclass
class VocoderState:
    """What continues from one call to the next."""

    frame: int  # frames so far: the position in the noise table
    phase: Tensor  # [B] float64, cycles
    log_f0: Tensor  # [B] float64, at the end of the last frame
    pulses: Tensor  # [B, window - hop] the newest source samples
    tail: Tensor  # [B, window - hop] overlap-add sums that are not final yet


def noise_samples(window: int, hop: int) -> Tensor:
    """Return the noise whose windows at steps of `hop` repeat after NOISE_FRAMES, [N]."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(NOISE_FRAMES * hop, generator=generator)
    return torch.cat([noise, noise[: window - hop]])


class SourceFilterVocoder(FixedDtype):
    """Frames of filters [B, F, 3 * bins] and F0 to samples, in float32.

    The F0 given with frame i is the one at the middle of frame i + 2, the newest that the window of
    frame i overlaps, so that no frame waits for a later one. The last `window - hop` samples of a
    window become final only with later frames: `delay` of them are look-ahead.
    """

    hann: Tensor
    noise: Tensor

    def __init__(self, sample_rate: int):
        super().__init__()
        self.sample_rate = sample_rate
        self.hop = hop = sample_rate // FRAMES_PER_SECOND
        self.window = window = 4 * hop
        self.bins = window // 2 + 1
        self.delay = (window - hop) // 2
        hann = torch.hann_window(window)
        self.register_buffer("hann", hann, persistent=False)
        noise = noise_samples(window, hop).unfold(0, window, hop)
        spectra = torch.view_as_real(torch.fft.rfft(noise * hann))  # [NOISE_FRAMES, bins, 2]
        self.register_buffer("noise", spectra, persistent=False)
        # Hann squared, overlapped at a quarter window, sums to this.
        self.overlap_gain = hann.square().sum().item() / hop

    def forward(
        self,
        filters: Tensor,
        log_f0: Tensor,
        state: VocoderState | None = None,
        alive: Tensor | None = None,
    ) -> tuple[Tensor, VocoderState]:
        """Synthesise the samples of the next frames.

        Args:
            filters: [B, F, 3 * bins] log gain and phase of the pulses, log gain of the noise.
            log_f0: [B, F] natural log of Hz.
            state: of the call before; None = the first call.
            alive: [B, F] bool; frames where it is False are silent.

        Returns:
            Samples [B, F * hop], delayed by `delay` (the caller drops the first `delay` of the
            first call), and the new state.

        """
        if state is None:
            state = self._begin(log_f0)
        frames = filters.shape[1]
        pulses, state = self._pulses(log_f0, state)
        windows = pulses.unfold(-1, self.window, self.hop) * self.hann
        source = torch.fft.rfft(windows)  # [B, F, bins]
        place = torch.arange(state.frame, state.frame + frames, device=filters.device)
        noise = torch.view_as_complex(self.noise)[place % NOISE_FRAMES]  # [F, bins]
        gain, phase, noise_gain = filters.float().split(self.bins, dim=-1)
        spectrum = source * torch.polar(gain.clamp(max=6).exp(), phase)
        spectrum = spectrum + noise * noise_gain.clamp(max=6).exp()
        blocks = torch.fft.irfft(spectrum, n=self.window) * self.hann / self.overlap_gain
        if alive is not None:
            blocks = blocks * alive[..., None]
        summed = overlap_add(blocks.transpose(1, 2), self.hop)  # [B, F * hop + window - hop]
        keep = self.window - self.hop
        summed = torch.cat([summed[:, :keep] + state.tail, summed[:, keep:]], dim=-1)
        done = frames * self.hop
        state = VocoderState(
            state.frame + frames, state.phase, state.log_f0, pulses[:, -keep:], summed[:, done:]
        )
        return summed[:, :done], state

    def _begin(self, log_f0: Tensor) -> VocoderState:
        """Return the state before the first frame, whose source already runs at its F0."""
        keep = self.window - self.hop
        state = VocoderState(
            frame=0,
            phase=torch.zeros(log_f0.shape[0], dtype=torch.float64, device=log_f0.device),
            log_f0=log_f0[:, 0].detach().double(),
            pulses=self.hann.new_zeros(log_f0.shape[0], 0),
            tail=self.hann.new_zeros(log_f0.shape[0], keep),
        )
        lead = log_f0[:, :1].detach().expand(-1, keep // self.hop)
        pulses, state = self._pulses(lead, state)
        return VocoderState(0, state.phase, state.log_f0, pulses, state.tail)

    @torch.no_grad()
    def _pulses(self, log_f0: Tensor, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """Return the old source samples and `hop` new ones per value of `log_f0` [B, F]."""
        ends = torch.cat([state.log_f0[:, None], log_f0.double()], dim=1)  # [B, F + 1]
        ramp = torch.arange(1, self.hop + 1, dtype=ends.dtype, device=ends.device) / self.hop
        slope = (ends[:, 1:] - ends[:, :-1])[..., None]
        f0 = (ends[:, :-1, None] + slope * ramp).flatten(1).exp()  # [B, F * hop] Hz
        cycles = state.phase[:, None] + (f0 / self.sample_rate).cumsum(-1)
        angle = (cycles % 1.0).float() * math.tau - math.pi
        # All harmonics below Nyquist at once: the sum of cos(h a), h = 1..H, in closed form. The
        # next one fades in as F0 falls, so that a rounding error of F0 never switches one on.
        count = (self.sample_rate / 2 / f0).float()
        whole = count.floor()
        angle = torch.where(angle.abs() < 1e-4, torch.full_like(angle, 1e-4), angle)
        train = torch.sin((whole + 0.5) * angle) / (2 * torch.sin(angle / 2)) - 0.5
        train = train + (count - whole) * torch.cos((whole + 1) * angle)
        train = train * (2 / count).sqrt()  # unit power at every pitch
        new = VocoderState(state.frame, cycles[:, -1] % 1.0, ends[:, -1], state.pulses, state.tail)
        return torch.cat([state.pulses, train], dim=-1), new
