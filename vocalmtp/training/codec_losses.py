"""Losses of the trainable tokenizer: multi-resolution spectra, discriminators and probes.

Shape letters: B batch, N samples, T codec frames, F 10 ms frames, Q streams, C channels, D_s size of
the speaker vector.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.audio.mel import mel_filters
from vocalmtp.tokenizers.neural import NeuralTokenizerConfig
from vocalmtp.tokenizers.neural.features import FOLD, Features
from vocalmtp.tokenizers.neural.layers import reverse_gradient
from vocalmtp.tokenizers.neural.quantizers import Quantised

RESOLUTIONS = (0.016, 0.032, 0.064)  # seconds, of the windows of spectra


def spectrum(wav: Tensor, window: int) -> Tensor:
    """Magnitude spectrum of `wav` [B, N] with a hop of a quarter `window`: [B, bins, frames]."""
    hann = torch.hann_window(window, device=wav.device)
    return torch.stft(wav, window, window // 4, window=hann, return_complex=True).abs()


class SpectralLoss(nn.Module):
    """Log-magnitude L1 and spectral convergence at three resolutions, and log-mel L1."""

    bank: Tensor

    def __init__(self, sample_rate: int):
        super().__init__()
        self.windows = [round(seconds * sample_rate) for seconds in RESOLUTIONS]
        self.register_buffer("bank", mel_filters(sample_rate, self.windows[-1], 80), False)

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        """Loss [] of `generated` audio [B, N]."""
        total = generated.new_zeros(())
        for window in self.windows:
            m, t = spectrum(generated, window), spectrum(target, window)
            total = total + F.l1_loss((m + 1e-3).log(), (t + 1e-3).log())
            total = total + (m - t).norm() / t.norm().clamp(min=1e-3)
            if window == self.windows[-1]:
                mel_m, mel_t = (x.transpose(1, 2) @ self.bank for x in (m, t))
                total = total + 2 * F.l1_loss((mel_m + 1e-3).log(), (mel_t + 1e-3).log())
        return total / len(self.windows)


class SpectralDiscriminator(nn.Module):
    """Convolutions over time on the log-spectrum at one resolution, whose bins are channels."""

    def __init__(self, window: int, dim: int = 128):
        super().__init__()
        self.window = window
        norm = nn.utils.parametrizations.weight_norm
        sizes = [(window // 2 + 1, dim, 3, 1), (dim, dim, 5, 2), (dim, dim, 5, 2), (dim, dim, 3, 1)]
        self.layers = nn.ModuleList(
            norm(nn.Conv1d(i, o, k, stride=s, padding=k // 2)) for i, o, k, s in sizes
        )
        self.out = norm(nn.Conv1d(dim, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, 1, t] of `wav` [B, N], and the features of every layer."""
        x = (spectrum(wav, self.window) + 1e-3).log()
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.out(x), features


class Discriminators(nn.Module):
    """One discriminator per resolution, with hinge losses (HiFi-GAN, arXiv 2010.05646, on spectra)."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            SpectralDiscriminator(round(seconds * sample_rate)) for seconds in RESOLUTIONS
        )

    def discriminator_loss(self, generated: Tensor, target: Tensor) -> Tensor:
        """Hinge loss of the discriminators on audio [B, N]; no gradient reaches `generated`."""
        total = generated.new_zeros(())
        for part in self.parts:
            real, fake = part(target)[0], part(generated.detach())[0]
            total = total + F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        return total / len(self.parts)

    def generator_loss(self, generated: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Adversarial and feature-matching loss of the generator on audio [B, N]."""
        adversarial = matching = generated.new_zeros(())
        for part in self.parts:
            score, features = part(generated)
            with torch.no_grad():
                _, target_features = part(target)
            adversarial = adversarial - score.mean()
            for f, w in zip(features, target_features, strict=True):
                matching = matching + F.l1_loss(f, w) / w.abs().mean().clamp(min=1e-3)
        return adversarial / len(self.parts), matching / len(self.parts)


class Probes(nn.Module):
    """Auxiliary predictors that shape the content of the streams.

    decoupled: the content streams predict phones and, through gradient reversal, neither pitch nor
    timbre. semi_decoupled: the first stream predicts phones, as SpeechTokenizer's does
    (arXiv 2308.16692). coupled: there is no probe.

    Args:
        config: of the tokenizer.
        phones: number of phone classes.

    """

    def __init__(self, config: NeuralTokenizerConfig, phones: int):
        super().__init__()
        self.kind = config.kind
        probed = {"coupled": 0, "semi_decoupled": 1, "decoupled": config.content_streams}
        self.width = probed[self.kind] * len(config.levels)  # digits of the first streams
        if self.width:
            self.phone = _probe(self.width, phones)
        if self.kind == "decoupled":
            self.pitch = _probe(self.width, FOLD)
            self.timbre = _probe(self.width, config.speaker_dim)

    def losses(
        self, coded: Quantised, features: Features, speaker: Tensor, phones: Tensor
    ) -> dict[str, Tensor]:
        """Losses of the kind by name.

        Args:
            coded: quantised latents of [B, T] codec frames.
            features: input features, whose F0 the pitch probe predicts.
            speaker: [B, D_s] speaker vectors, which the timbre probe predicts.
            phones: [B, T] phone of every codec frame, -100 = none.

        """
        if self.kind == "coupled":
            return {"residual": coded.residual}
        probed = coded.digits[..., : self.width]  # [B, T, C]
        logits = _over_time(self.phone, probed)  # [B, T, phones]
        losses = {"phone": F.cross_entropy(logits.transpose(1, 2), phones)}
        if self.kind == "semi_decoupled":
            return losses | {"residual": coded.residual}
        reversed_ = reverse_gradient(probed)
        pitch = _over_time(self.pitch, reversed_).flatten(1)  # [B, T, FOLD] -> [B, F]
        weight = features.voiced.float()
        error = (pitch - features.prosody[..., 0]).abs() * weight
        losses["leak_pitch"] = error.sum() / weight.sum().clamp(min=1)
        timbre = F.normalize(_over_time(self.timbre, reversed_).mean(1), dim=-1)  # [B, D_s]
        losses["leak_timbre"] = (1 - (timbre * speaker.detach()).sum(-1)).mean()
        return losses


def _probe(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, 128, 3, padding=1), nn.GELU(), nn.Conv1d(128, outputs, 1)
    )


def _over_time(probe: nn.Module, x: Tensor) -> Tensor:
    """Apply a probe [B, C, T] to [B, T, C]."""
    return probe(x.transpose(1, 2)).transpose(1, 2)
