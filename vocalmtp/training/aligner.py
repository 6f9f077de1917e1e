"""Train the aligner on exact character times, from a recipe: `train_aligner(recipe)`.

Frame-wise cross-entropy; what it hears is warped, reverberated and covered with noise, so that
it serves voices and rooms it has not heard. Letters: B batch, N samples, F frames, M mel bands.
"""

import json
import math
import random
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.audio.io import read_audio
from vocalmtp.config import StrictModel
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError
from vocalmtp.models.aligner import PAUSE, Aligner, AlignerConfig, is_mark
from vocalmtp.text import ALPHABET, char_ids
from vocalmtp.training.augment import add_noise, put_in_room, warp_mels
from vocalmtp.training.checkpoints import read_state, write_state
from vocalmtp.training.denormals import flushed_denormals

SILENCE = "pau"  # the phone of pauses in recipes/corpus
NONE = -100  # no label: frames of padding
SHORTEST = 0.005  # seconds: a character that takes less is silent


class AlignerRecipe(StrictModel):
    """One training run of the aligner; it ends after `steps` or `max_minutes`."""

    recipe: Literal["aligner"] = "aligner"
    corpus: Path
    output: Path
    model: AlignerConfig = AlignerConfig()
    steps: int = Field(default=4000, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=12, ge=1)
    seconds: float = Field(default=4.0, gt=0)  # of an utterance that are heard at once
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=30, ge=0)
    warp: float = Field(default=0.2, ge=0, lt=1)  # spectra are stretched by up to this
    reverberated: float = Field(default=0.3, ge=0, le=1)  # share of the crops
    noisy: float = Field(default=0.6, ge=0, le=1)  # share of the crops
    snr: tuple[float, float] = (5.0, 40.0)  # dB
    save_minutes: float = Field(default=2.0, gt=0)
    bf16: bool = False
    threads: int = Field(default=1, ge=1)
    seed: int = 0


class CropDataset:
    """Random crops of the corpus with the character of every frame."""

    def __init__(self, rows: list[Utterance], recipe: AlignerRecipe):
        self.rows, self.recipe = rows, recipe
        self.samples = round(recipe.seconds * recipe.model.sample_rate)
        self.random = random.Random(recipe.seed)

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """wav [B, N], lengths [B] in samples, and characters [B, F] (-100 = none)."""
        size, hop = self.recipe.batch_size, self.recipe.model.hop
        wavs = torch.zeros(size, self.samples)
        lengths = torch.zeros(size, dtype=torch.long)
        labels = torch.full((size, -(-self.samples // hop)), NONE)
        for b, row in enumerate(self.random.choices(self.rows, k=size)):
            wav = read_audio(row.audio, self.recipe.model.sample_rate)
            start = self.random.randint(0, max(0, len(wav) - self.samples)) // hop
            wav = wav[start * hop :][: self.samples]
            found = frame_characters(row, self.recipe.model)[start:][: len(wav) // hop]
            wavs[b, : len(wav)] = torch.from_numpy(wav)
            lengths[b] = len(wav)
            labels[b, : len(found)] = torch.from_numpy(found)
        return self._spoil(wavs), lengths, labels

    def _spoil(self, wavs: Tensor) -> Tensor:
        """Some rows in a room, some with coloured noise."""
        for b, wav in enumerate(wavs):
            if self.random.random() < self.recipe.reverberated:
                wav = put_in_room(wav, self.recipe.model.sample_rate, self.random)
            if self.random.random() < self.recipe.noisy:
                wav = add_noise(wav, self.recipe.snr, self.random)
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


class AlignerTrainer:
    """Owns the run: model, optimiser, crops; saves the model for users and its own state."""

    def __init__(self, recipe: AlignerRecipe):
        self.recipe = recipe
        torch.set_num_threads(recipe.threads)
        rows = [row for row in read_manifest(recipe.corpus, "train") if row.chars and row.phones]
        if not rows:
            raise InputError(
                f"corpus '{recipe.corpus}': has no character times; see recipes/corpus",
                code="empty",
            )
        torch.manual_seed(recipe.seed)
        self.model = Aligner(recipe.model)
        sample = random.Random(recipe.seed).sample(rows, min(len(rows), 2000))
        self.model.share, self.model.silent = count_characters(sample, recipe.model)
        self.crops = CropDataset(rows, recipe)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.01)
        self.step, self.seconds = 0, 0.0

    @flushed_denormals()
    def run(self) -> None:
        """Train to the end; goes on from the output folder if a run was cut off there."""
        recipe = self.recipe
        recipe.output.mkdir(parents=True, exist_ok=True)
        self._resume()
        started, saved, recent = time.monotonic() - self.seconds, self.seconds, []
        with (recipe.output / "log.jsonl").open("a") as log:
            while self.progress < 1:
                recent.append(self.update())
                self.step += 1
                self.seconds = time.monotonic() - started
                if self.step % 50 == 0:
                    loss, right = np.mean(recent, axis=0)
                    row = {"step": self.step, "seconds": round(self.seconds)}
                    row |= {"loss": round(float(loss), 4), "right": round(float(right), 4)}
                    print(json.dumps(row), file=log, flush=True)
                    print(" ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                    recent = []
                if self.seconds - saved > 60 * recipe.save_minutes:
                    self._save()
                    saved = self.seconds
        self._save()

    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        limit = self.recipe.max_minutes
        return max(self.step / self.recipe.steps, self.seconds / 60 / limit if limit else 0.0)

    def update(self) -> tuple[float, float]:
        """One step: its loss, and the share of frames whose character is guessed right."""
        recipe = self.recipe
        rate = recipe.learning_rate * min(1.0, (self.step + 1) / max(recipe.warmup_steps, 1))
        self.optimizer.param_groups[0]["lr"] = rate * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress)))
        )
        wav, lengths, labels = self.crops.batch()
        mel, mask = self.model.mels(wav, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bf16):
            logits = self.model(warp_mels(mel, recipe.warp) * mask, mask)  # [B, F, A]
        loss = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=NONE)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        right = (logits.argmax(-1) == labels)[labels != NONE].float().mean()
        return loss.item(), right.item()

    def _save(self) -> None:
        self.model.save_pretrained(self.recipe.output)
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"step": self.step, "seconds": self.seconds}
        write_state(self.recipe.output / "resume.pt", state)

    def _resume(self) -> None:
        path = self.recipe.output / "resume.pt"
        if not path.is_file():
            return
        state = read_state(path)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"output '{self.recipe.output}': holds a run of another recipe; "
                "choose a new folder",
                code="other_run",
            ) from error
        self.crops.random.seed(self.recipe.seed + self.step)
        torch.manual_seed(self.recipe.seed + self.step)


def train_aligner(recipe: AlignerRecipe) -> None:
    """Run `recipe`; the aligner is then in `recipe.output`.

    Raises InputError if the corpus has no character times, or `output` holds another run.
    """
    AlignerTrainer(recipe).run()
