"""Train the aligner on exact character times, from a recipe: `train_aligner(recipe)`.

Frame-wise cross-entropy; what it hears is warped, reverberated and covered with noise, so that
it serves voices and rooms it has not heard. Letters: B batch, N samples, F frames, M mel bands.
"""

import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.audio.io import read_audio
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError
from vocalmtp.models.aligner import PAUSE, Aligner, AlignerConfig, is_mark
from vocalmtp.text import ALPHABET, char_ids
from vocalmtp.training.augment import add_noise, add_reverb, warp_mels
from vocalmtp.training.loop import TrainingLoop
from vocalmtp.training.recipe import AlignerRecipe

SILENCE = "pau"  # the phone of pauses in recipes/corpus
NONE = -100  # no label: frames of padding
SHORTEST = 0.005  # seconds: a character that takes less is silent


class CropDataset:
    """Random crops of the corpus with the character of every frame."""

    def __init__(self, rows: list[Utterance], recipe: AlignerRecipe, draws: random.Random):
        self.rows, self.recipe, self.draws = rows, recipe, draws
        self.samples = round(recipe.crop_seconds * recipe.model.sample_rate)

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """wav [B, N], lengths [B] in samples, and characters [B, F] (-100 = none)."""
        size, hop = self.recipe.batch_size, self.recipe.model.hop
        wavs = torch.zeros(size, self.samples)
        lengths = torch.zeros(size, dtype=torch.long)
        labels = torch.full((size, -(-self.samples // hop)), NONE)
        for b, row in enumerate(self.draws.choices(self.rows, k=size)):
            wav = read_audio(row.audio, self.recipe.model.sample_rate)
            start = self.draws.randint(0, max(0, len(wav) - self.samples)) // hop
            wav = wav[start * hop :][: self.samples]
            found = frame_characters(row, self.recipe.model)[start:][: len(wav) // hop]
            wavs[b, : len(wav)] = torch.from_numpy(wav)
            lengths[b] = len(wav)
            labels[b, : len(found)] = torch.from_numpy(found)
        return self._spoil(wavs), lengths, labels

    def _spoil(self, wavs: Tensor) -> Tensor:
        """Some rows in a room, some with coloured noise."""
        for b, wav in enumerate(wavs):
            if self.draws.random() < self.recipe.reverb_prob:
                wav = add_reverb(wav, self.recipe.model.sample_rate, self.draws)
            if self.draws.random() < self.recipe.noise_prob:
                wav = add_noise(wav, self.recipe.snr, self.draws)
            wavs[b] = wav
        return wavs


def frame_characters(row: Utterance, config: AlignerConfig) -> np.ndarray:
    """The character that sounds at every frame's middle, [F] places in ALPHABET; pauses are " "."""
    frames = int(row.seconds * config.sample_rate) // config.hop
    middles = (np.arange(frames) + 0.5) * config.hop / config.sample_rate

    def at_middles(ends: list[float]) -> np.ndarray:
        return np.searchsorted(np.array(ends), middles, side="right").clip(max=len(ends) - 1)

    names, ends = zip(*row.phones, strict=True)
    pauses = np.array([name == SILENCE for name in names])[at_middles(list(ends))]
    characters = np.array(char_ids(row.text))[at_middles(list(row.chars))]
    return np.where(pauses, PAUSE, characters)


def count_characters(rows: list[Utterance], config: AlignerConfig) -> tuple[Tensor, Tensor]:
    """Share of all frames [A], and chance of having no frame [A], of every character.

    Of a mark or a space it is the chance that no pause is made there.
    """
    frames = np.ones(len(ALPHABET))
    seen, silent = np.full(len(ALPHABET), 2.0), np.ones(len(ALPHABET))
    for row in rows:
        frames += np.bincount(frame_characters(row, config), minlength=len(ALPHABET))
        lasting = np.diff(np.array(row.chars), prepend=0.0)
        after_mark = False
        for column, seconds in zip(char_ids(row.text), lasting, strict=True):
            mark = is_mark(ALPHABET[column])
            if not (mark and after_mark):
                seen[column] += 1
                silent[column] += seconds < SHORTEST
            after_mark = mark
    share = torch.tensor(frames / frames.sum()).clamp(min=1e-4)
    return share.float(), torch.tensor(silent / seen).float()


class AlignerTrainer(TrainingLoop):
    """Training run of the aligner."""

    def __init__(self, recipe: AlignerRecipe):
        super().__init__(recipe)
        self.recipe = recipe
        rows = [row for row in read_manifest(recipe.corpus, "train") if row.chars and row.phones]
        if not rows:
            raise InputError(
                f"corpus '{recipe.corpus}': has no character times; see recipes/corpus",
                code="empty",
            )
        self.model = Aligner(recipe.model)
        sample = random.Random(recipe.seed).sample(rows, min(len(rows), 2000))
        self.model.share, self.model.silent = count_characters(sample, recipe.model)
        self.crops = CropDataset(rows, recipe, self.draws)
        self.prepare(self.model)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.01)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        if self.accelerator.process_index:
            self.seed_process()

    def update(self) -> dict[str, Tensor]:
        """One optimization step: its loss, and the share of frames that are classified right."""
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(floor=0.02)
        wav, lengths, labels = (x.to(self.device) for x in self.crops.batch())
        mel, mask = self.model.mels(wav, lengths)
        with self.accelerator.autocast():
            logits = self.model(warp_mels(mel, self.recipe.warp) * mask, mask)  # [B, F, A]
        loss = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=NONE)
        self.descend(self.optimizer, loss)
        accuracy = (logits.argmax(-1) == labels)[labels != NONE].float().mean()
        return {"loss": loss.detach(), "accuracy": accuracy}

    def save_model(self, folder: Path) -> None:
        self.model.save_pretrained(folder)


def train_aligner(recipe: AlignerRecipe) -> None:
    """Run `recipe`; the aligner is then in `recipe.output`.

    Raises:
        InputError: the corpus has no character times, or `output` holds another run.
    """
    AlignerTrainer(recipe).run()
