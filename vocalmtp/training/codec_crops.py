"""Random crops of a corpus for the training of the speech tokenizer, and their augmentation.

Shape letters: B batch, N samples, T codec frames.
"""

import random
from dataclasses import dataclass

import numpy as np
import soundfile
import torch
from torch import Tensor

from vocalmtp.audio.io import resample
from vocalmtp.data.manifest import Utterance
from vocalmtp.training.augment import add_noise, add_reverb
from vocalmtp.training.recipe import TokenizerRecipe

EDGE_SHARE = 0.15  # of the crops begin an utterance, and as many end it
NO_PHONE = -100  # label of a frame without a known phone


@dataclass
class CropBatch:
    """Random crops of utterances, padded to one length."""

    wav: Tensor  # [B, N]
    lengths: Tensor  # [B] samples
    phones: Tensor  # [B, T] index of the phone of every codec frame, or NO_PHONE
    starts: Tensor  # [B] samples of the utterance before the crop
    noisy: Tensor | None = None  # [B, N] input of the encoder; None: `wav`

    def to(self, device: torch.device) -> "CropBatch":
        """Copy to `device`."""
        return CropBatch(
            wav=self.wav.to(device),
            lengths=self.lengths.to(device),
            phones=self.phones.to(device),
            starts=self.starts.to(device),
            noisy=None if self.noisy is None else self.noisy.to(device),
        )


class CropDataset:
    """Random crops of a corpus, whose audio is read when it is drawn.

    A share of the crops is read as if recorded at another sample rate, which scales formants, pitch
    and speed alike: a voice that the corpus does not have. A share has noise or reverberation in the
    input of the encoder alone.

    Args:
        rows: utterances with phones.
        recipe: batch size, length of the crops and augmentation.
        rate: samples per second.
        hop: samples of a codec frame.
        draws: source of random numbers.

    """

    def __init__(
        self,
        rows: list[Utterance],
        recipe: TokenizerRecipe,
        rate: int,
        hop: int,
        draws: random.Random,
    ):
        self.rows, self.recipe = rows, recipe
        self.rate, self.hop, self.draws = rate, hop, draws
        self.samples = round(recipe.crop_seconds * rate / hop) * hop
        self.phones = sorted({phone for row in rows for phone, _ in row.phones})

    def batch(self) -> CropBatch:
        """Draw the crops of a batch."""
        rows = self.draws.choices(self.rows, k=self.recipe.batch_size)
        picked = [self._crop(row) for row in rows]
        wavs = np.stack([np.pad(wav, (0, self.samples - len(wav))) for wav, *_ in picked])
        batch = CropBatch(
            torch.from_numpy(wavs),
            torch.tensor([len(wav) for wav, *_ in picked]),
            torch.stack([phones for _, phones, _ in picked]),
            torch.tensor([start for *_, start in picked]),
        )
        batch.noisy = self._spoil(batch.wav)
        return batch

    def _crop(self, row: Utterance) -> tuple[np.ndarray, Tensor, int]:
        """Samples of a crop, the phones of its codec frames, and its first sample."""
        speed = self._draw_speed()
        with soundfile.SoundFile(row.audio) as file:
            ratio = (
                file.samplerate * speed / self.rate
            )  # samples of the file per sample of the crop
            last = max(0, int(file.frames / ratio) - self.samples)
            start = -(-draw_start(self.draws, last) // self.hop) * self.hop
            file.seek(min(round(start * ratio), file.frames))
            wav = file.read(round(self.samples * ratio), dtype="float32")
        wav = resample(wav, ratio, 1.0)[: self.samples]
        return wav, self._labels(row, start, len(wav), speed), start

    def _labels(self, row: Utterance, start: int, length: int, speed: float) -> Tensor:
        """Index of the phone at the middle of every codec frame [T] of a crop."""
        labels = torch.full((self.samples // self.hop,), NO_PHONE)
        if row.phones:
            frames = np.arange(length // self.hop)
            middles = (start + (frames + 0.5) * self.hop) / self.rate * speed
            ends = np.array([end for _, end in row.phones])
            place = np.searchsorted(ends, middles).clip(max=len(ends) - 1)
            names = [self.phones.index(row.phones[i][0]) for i in place]
            labels[: len(names)] = torch.tensor(names, dtype=torch.int64)
        return labels

    def _draw_speed(self) -> float:
        """Speed, pitch and formants of the next crop relative to the recording."""
        if not self._happens(self.recipe.resample_prob):
            return 1.0
        low, high = self.recipe.resample
        return self.draws.uniform(low, high)

    def _happens(self, probability: float) -> bool:
        """Draw an event; nothing is drawn for one that never happens."""
        return probability > 0 and self.draws.random() < probability

    def _spoil(self, wavs: Tensor) -> Tensor | None:
        """A copy of `wavs` [B, N] with noise or reverberation in some rows; None if in none."""
        spoiled = None
        for number, wav in enumerate(wavs):
            noise = self._happens(self.recipe.noise_prob)
            reverb = self._happens(self.recipe.reverb_prob)
            if not (noise or reverb) or not wav.any():
                continue
            spoiled = wavs.clone() if spoiled is None else spoiled
            wav = add_reverb(wav, self.rate, self.draws) if reverb else wav
            spoiled[number] = add_noise(wav, self.recipe.snr, self.draws) if noise else wav
        return spoiled


def draw_start(draws: random.Random, last: int) -> int:
    """Draw a number from 0 to `last`; each of these two has an additional chance of EDGE_SHARE."""
    kind = draws.random()
    return 0 if kind < EDGE_SHARE else last if kind < 2 * EDGE_SHARE else draws.randint(0, last)
