"""Train the aligner on exact character times, from a recipe: `train_aligner(recipe)`.

The loss is the cross-entropy of the character of every frame. Augmentation with reverberation, noise
and frequency warping makes it work for voices and rooms beyond the corpus.

Shape letters: B batch, N samples, F frames, A characters of the alphabet.
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

PAUSE_PHONE = "pau"  # in corpora of recipes/corpus
NO_LABEL = -100  # of padding
SHORTEST = 0.005  # seconds; a shorter character is silent


class CropDataset:
    """Random augmented crops of a corpus, with the character of every frame.

    Args:
        rows: utterances with character and phone times.
        recipe: batch size, length of the crops and augmentation.
        draws: random numbers.

    """

    def __init__(self, rows: list[Utterance], recipe: AlignerRecipe, draws: random.Random):
        self.rows, self.recipe, self.draws = rows, recipe, draws
        self.samples = round(recipe.crop_seconds * recipe.model.sample_rate)

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a batch: audio [B, N], lengths [B] in samples, labels [B, F] (-100 = none)."""
        size, hop = self.recipe.batch_size, self.recipe.model.hop
        wavs = torch.zeros(size, self.samples)
        lengths = torch.zeros(size, dtype=torch.long)
        labels = torch.full((size, -(-self.samples // hop)), NO_LABEL)
        for b, row in enumerate(self.draws.choices(self.rows, k=size)):
            wav = read_audio(row.audio, self.recipe.model.sample_rate)
            start = self.draws.randint(0, max(0, len(wav) - self.samples)) // hop
            wav = wav[start * hop :][: self.samples]
            found = frame_labels(row, self.recipe.model)[start:][: len(wav) // hop]
            wavs[b, : len(wav)] = torch.from_numpy(wav)
            lengths[b] = len(wav)
            labels[b, : len(found)] = torch.from_numpy(found)
        return self._augment(wavs), lengths, labels

    def _augment(self, wavs: Tensor) -> Tensor:
        """Add reverberation to some rows of [B, N], and noise to some."""
        for b, wav in enumerate(wavs):
            if self.draws.random() < self.recipe.reverb_prob:
                wav = add_reverb(wav, self.recipe.model.sample_rate, self.draws)
            if self.draws.random() < self.recipe.noise_prob:
                wav = add_noise(wav, self.recipe.snr, self.draws)
            wavs[b] = wav
        return wavs


def frame_labels(row: Utterance, config: AlignerConfig) -> np.ndarray:
    """Character that is spoken at the middle of every frame; pauses are " ".

    Returns:
        [F] indices into ALPHABET.

    """
    frames = int(row.seconds * config.sample_rate) // config.hop
    middles = (np.arange(frames) + 0.5) * config.hop / config.sample_rate

    def at_middles(ends: list[float]) -> np.ndarray:
        return np.searchsorted(np.array(ends), middles, side="right").clip(max=len(ends) - 1)

    names, ends = zip(*row.phones, strict=True)
    pauses = np.array([name == PAUSE_PHONE for name in names])[at_middles(list(ends))]
    characters = np.array(char_ids(row.text))[at_middles(list(row.chars))]
    return np.where(pauses, PAUSE, characters)


def count_characters(rows: list[Utterance], config: AlignerConfig) -> tuple[Tensor, Tensor]:
    """Statistics of every character: share of the frames [A], and probability to be silent [A].

    A silent character has no frame; a silent space or punctuation mark is one without a pause.
    """
    frames = np.ones(len(ALPHABET))
    seen, silent = np.full(len(ALPHABET), 2.0), np.ones(len(ALPHABET))
    for row in rows:
        frames += np.bincount(frame_labels(row, config), minlength=len(ALPHABET))
        durations = np.diff(np.array(row.chars), prepend=0.0)
        after_mark = False
        for column, seconds in zip(char_ids(row.text), durations, strict=True):
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
        loss = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=NO_LABEL)
        self.descend(self.optimizer, loss)
        accuracy = (logits.argmax(-1) == labels)[labels != NO_LABEL].float().mean()
        return {"loss": loss.detach(), "accuracy": accuracy}

    def save_model(self, folder: Path) -> None:
        """Write the aligner to `folder`."""
        self.model.save_pretrained(folder)


def train_aligner(recipe: AlignerRecipe) -> None:
    """Run `recipe`; the aligner is then in `recipe.output`.

    Raises:
        InputError: the corpus has no character times, or `output` holds another run.

    """
    AlignerTrainer(recipe).run()
