"""What a model that listens hears in training: the codes of an utterance, or the log-mels of any
recording that says the same, as other rooms and speakers would have it.

Letters: C numbers of a frame of log-mels, T frames, N samples, U characters.
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
from vocalmtp.training.augment import add_noise, equalize_mels, mask_mels, put_in_room, warp_mels
from vocalmtp.training.recipe import RecordingsRecipe


@dataclass(frozen=True)
class SpokenText:
    """Something to hear: its text, how many frames of the codec it lasts, and where it is.

    Any of `sources` will do: they say the same.
    """

    text: str
    frames: int
    sources: tuple[CodeItem, ...] | tuple[Utterance, ...]


class AudioInputs(Protocol):
    """What a model of a certain kind hears."""

    @property
    def sounds(self) -> list[SpokenText]:
        """Everything that can be written down."""
        ...

    def question(self, row: QuestionRow) -> SpokenText | None:
        """A question as it is asked; None if there is no recording of it."""
        ...

    def hear(self, sound: SpokenText) -> AudioInput: ...


class CodeInputs:
    """Hears the codes of utterances in `shards`, and of questions: `asked`, by their path."""

    def __init__(
        self, config: SpeechLMConfig, shards: CodeShards | None, asked: dict[str, CodeItem]
    ):
        self.rate, self.shards = config.tokenizer["frame_rate"], shards
        self.asked = {path: self._sound(item) for path, item in asked.items()}

    @cached_property
    def sounds(self) -> list[SpokenText]:
        """Made when asked for: a model that only hears questions never does."""
        count = 0 if self.shards is None else len(self.shards)
        return [self._sound(self.shards[index]) for index in range(count)]

    @staticmethod
    def _sound(item: CodeItem) -> SpokenText:
        return SpokenText(item.text, item.codes.shape[1], (item,))

    def question(self, row: QuestionRow) -> SpokenText | None:
        return self.asked.get(row.asked or "")

    def hear(self, sound: SpokenText) -> AudioInput:
        item = sound.sources[0]
        letters = letters_of(item.text, item.char_ends, item.codes.shape[1], self.rate)
        return AudioInput(item.codes, letters)


class MelInputs:
    """Hears recordings as log-mels; a question in any that says it.

    If `spoils`, recordings are drawn, and spoilt as the recipe says; else it is always the first.
    Raises InputError if there is no recording of `split`.
    """

    def __init__(
        self,
        config: SpeechLMConfig,
        recipe: RecordingsRecipe,
        split: str,
        spoils: bool,
        seed: int = 0,
    ):
        rate = config.tokenizer["frame_rate"]
        rows = [row for path in recipe.manifests for row in read_manifest(path, split)]
        self.sounds = [SpokenText(row.text, round(row.seconds * rate), (row,)) for row in rows]
        self.saying: dict[str, tuple[Utterance, ...]] = {}
        for row in rows:
            self.saying[row.text] = (*self.saying.get(row.text, ()), row)
        self.rate, self.draws = rate, random.Random(seed)
        self.recipe = recipe if spoils else None

    def question(self, row: QuestionRow) -> SpokenText | None:
        found = self.saying.get(row.question)
        if not found:
            return None
        longest = max(each.seconds for each in found)
        return SpokenText(row.question, round(longest * self.rate), found)

    def hear(self, sound: SpokenText) -> AudioInput:
        row, begin, rate = sound.sources[0], 0.0, SAMPLE_RATE
        if self.recipe is not None:
            row = self.draws.choice(sound.sources)
            begin = self.draws.uniform(0, self.recipe.silence)
            rate = round(rate * (1 + self.draws.uniform(-1, 1) * self.recipe.speed))
        samples = read_audio(row.audio, SAMPLE_RATE)
        wav = torch.from_numpy(resample(samples, rate, SAMPLE_RATE))
        mel = log_mels(wav) if self.recipe is None else self._spoilt(wav, begin, self.recipe)
        frames = mel_frames(mel)  # [C, T]
        ends = torch.tensor(row.chars) * (SAMPLE_RATE / rate) + begin if row.chars else None
        return AudioInput(frames, letters_of(row.text, ends, frames.shape[1], MEL_RATE))

    def _spoilt(self, wav: Tensor, begin: float, recipe: RecordingsRecipe) -> Tensor:
        """Log-mels of a recording [N] that begins late, in another room, with noise, of another
        speaker.
        """
        end = self.draws.uniform(0, recipe.silence)
        wav = F.pad(wav, (round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE)))
        if self.draws.random() < recipe.reverb_prob:
            wav = put_in_room(wav, SAMPLE_RATE, self.draws)
        if self.draws.random() < recipe.noise_prob:
            wav = add_noise(wav, recipe.snr, self.draws)
        mel = warp_mels(log_mels(wav)[None], recipe.warp)[0]
        mel = equalize_mels(mel, recipe.equalizer, self.draws)
        return mask_mels(mel, recipe.masks, self.draws)


def letters_of(text: str, char_ends: Tensor | None, frames: int, rate: float) -> Tensor | None:
    """The character that sounds at every frame, [T]; None where there are no times of them."""
    characters = char_ids(text)
    if char_ends is None or len(char_ends) != len(characters):
        return None
    pointers = frame_advances(char_ends, frames, rate, len(characters)).cumsum(0)
    return torch.tensor(characters)[pointers.clamp(max=len(characters) - 1)]
