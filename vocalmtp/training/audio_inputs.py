"""Audio input of a speech LM in training: codes of utterances, or log-mels of augmented recordings.

Shape letters: C features of a frame of log-mels, T frames, N samples, M mel bands, U characters.
"""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.audio.io import read_audio, resample
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.shards import CodeItem, CodeShards
from vocalmtp.evaluation.questions import QuestionRow
from vocalmtp.models.audio_encoder import MEL_RATE, SAMPLE_RATE, log_mels, mel_frames
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.prompts import AudioInput
from vocalmtp.models.text_track import frame_advances
from vocalmtp.text import char_ids
from vocalmtp.training.augment import add_noise, add_reverb, equalize_mels, mask_mels, warp_mels
from vocalmtp.training.recipe import RecordingsRecipe


@dataclass(frozen=True)
class SpokenText:
    """A text and the recordings of it; `frames` is the length of the longest in codec frames."""

    text: str
    frames: int
    codes: CodeItem | None = None
    recordings: tuple[Utterance, ...] = ()


class AudioInputs(Protocol):
    """Source of audio inputs of one kind."""

    @property
    def items(self) -> list[SpokenText]:
        """Everything that has a transcript."""
        ...

    def question(self, row: QuestionRow) -> SpokenText | None:
        """The spoken question of a row; None if there is no recording of it."""
        ...

    def load(self, item: SpokenText) -> AudioInput:
        """Read, or draw and augment, the audio of an item."""
        ...


class CodeInputs:
    """Codes of the utterances in `shards`, and of `questions` by the path of their audio."""

    def __init__(
        self, config: SpeechLMConfig, shards: CodeShards | None, questions: dict[str, CodeItem]
    ):
        self.rate, self.shards = config.tokenizer["frame_rate"], shards
        self.questions = {path: self._spoken(item) for path, item in questions.items()}

    @cached_property
    def items(self) -> list[SpokenText]:
        """Every utterance, read at the first use: spoken questions alone do not need it."""
        if self.shards is None:
            return []
        return [self._spoken(self.shards[index]) for index in range(len(self.shards))]

    @staticmethod
    def _spoken(item: CodeItem) -> SpokenText:
        return SpokenText(item.text, item.codes.shape[1], codes=item)

    def question(self, row: QuestionRow) -> SpokenText | None:
        """The spoken question of a row, by its path; None if it has none."""
        return self.questions.get(row.question_audio or "")

    def load(self, item: SpokenText) -> AudioInput:
        """Codes [Q, T] of an item."""
        assert item.codes is not None, "an item of CodeInputs"
        codes, ends = item.codes.codes, item.codes.char_ends
        return AudioInput(codes, frame_characters(item.text, ends, codes.shape[1], self.rate))


class MelInputs:
    """Log-mels of recordings; a spoken question is any recording of its text.

    Args:
        config: of the model.
        recipe: manifests and augmentation.
        split: of the manifests.
        augments: draw a recording of each text, and augment it; else the first one is used as it is.
        seed: of the draws.

    Raises:
        InputError: there is no recording of `split`.

    """

    def __init__(
        self,
        config: SpeechLMConfig,
        recipe: RecordingsRecipe,
        split: str,
        augments: bool,
        seed: int = 0,
    ):
        rate = config.tokenizer["frame_rate"]
        rows = [row for path in recipe.manifests for row in read_manifest(path, split)]
        self.items = [
            SpokenText(row.text, round(row.seconds * rate), recordings=(row,)) for row in rows
        ]
        self.by_text: dict[str, tuple[Utterance, ...]] = {}
        for row in rows:
            self.by_text[row.text] = (*self.by_text.get(row.text, ()), row)
        self.rate, self.draws = rate, random.Random(seed)
        self.recipe = recipe if augments else None

    def question(self, row: QuestionRow) -> SpokenText | None:
        """All recordings of a row's question; None if there is none."""
        recordings = self.by_text.get(row.question)
        if not recordings:
            return None
        longest = max(recording.seconds for recording in recordings)
        return SpokenText(row.question, round(longest * self.rate), recordings=recordings)

    def load(self, item: SpokenText) -> AudioInput:
        """Log-mels [C, T] of a recording of an item."""
        row, begin, rate = item.recordings[0], 0.0, SAMPLE_RATE
        if self.recipe is not None:
            row = self.draws.choice(item.recordings)
            begin = self.draws.uniform(0, self.recipe.silence)
            rate = round(rate * (1 + self.draws.uniform(-1, 1) * self.recipe.speed))
        samples = read_audio(row.audio, SAMPLE_RATE)
        wav = torch.from_numpy(resample(samples, rate, SAMPLE_RATE))
        mel = log_mels(wav) if self.recipe is None else self._augment(wav, begin, self.recipe)
        frames = mel_frames(mel)  # [C, T]
        ends = torch.tensor(row.chars) * (SAMPLE_RATE / rate) + begin if row.chars else None
        return AudioInput(frames, frame_characters(row.text, ends, frames.shape[1], MEL_RATE))

    def _augment(self, wav: Tensor, begin: float, recipe: RecordingsRecipe) -> Tensor:
        """Log-mels [F, M] of a recording [N] after `begin` seconds of silence, with augmentation."""
        end = self.draws.uniform(0, recipe.silence)
        wav = F.pad(wav, (round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE)))
        if self.draws.random() < recipe.reverb_prob:
            wav = add_reverb(wav, SAMPLE_RATE, self.draws)
        if self.draws.random() < recipe.noise_prob:
            wav = add_noise(wav, recipe.snr, self.draws)
        mel = warp_mels(log_mels(wav)[None], recipe.warp)[0]
        mel = equalize_mels(mel, recipe.equalizer, self.draws)
        return mask_mels(mel, recipe.masks, self.draws)


def frame_characters(
    text: str, char_ends: Tensor | None, frames: int, rate: float
) -> Tensor | None:
    """Character that is spoken at every frame, or None if its times are not known.

    Args:
        text: U characters.
        char_ends: [U] seconds.
        frames: number of frames, T.
        rate: frames per second.

    Returns:
        [T] character ids.

    """
    characters = char_ids(text)
    if char_ends is None or len(char_ends) != len(characters):
        return None
    pointers = frame_advances(char_ends, frames, rate, len(characters)).cumsum(0)
    return torch.tensor(characters)[pointers.clamp(max=len(characters) - 1)]
