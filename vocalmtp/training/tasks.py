"""Datasets of a speech LM: utterances and questions as prompts of the tasks that it learns.

An utterance is synthesized (tts) or transcribed (asr). A question is heard, transcribed, answered in
text and spoken (spoken_qa); or read instead of heard (text_qa); or read and answered in text (text).
The text of a spoken answer comes before its speech, or alternates with it (models/interleaving.py).

Shape letters: Q streams, T frames.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from vocalmtp.data.shards import CodeItem, CodeShards
from vocalmtp.errors import InputError
from vocalmtp.evaluation.questions import QuestionRow
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.prompt_parts import segments_of
from vocalmtp.models.prompts import (
    Segment,
    Speaker,
    dialogue_turn,
    interleaved_answer,
    opening,
    tts_prompt,
)
from vocalmtp.models.text_track import frame_advances
from vocalmtp.text import char_ids
from vocalmtp.text.pronunciation import track_ids
from vocalmtp.training.audio_inputs import AudioInputs, CodeInputs, MelInputs, SpokenText
from vocalmtp.training.batches import SizedDataset
from vocalmtp.training.question_data import read_questions, read_speech
from vocalmtp.training.recipe import DataRecipe, QuestionsRecipe, QuestionTask

CHARACTERS_PER_SECOND = 16.0  # of speech, on average


class TextEncoder:
    """Ids of the backbone's text: of characters, or of its text `tokenizer`."""

    def __init__(self, config: SpeechLMConfig, tokenizer: Any = None):
        self.tokenizer = tokenizer
        self.end = [config.audio_input_config.end_id] if config.audio_input else []

    def encode(self, text: str) -> list[int]:
        """Ids of a text that is read."""
        return char_ids(text) if self.tokenizer is None else self.tokenizer(text)["input_ids"]

    def encode_with_end(self, text: str) -> list[int]:
        """Ids of a text that is generated."""
        return [*self.encode(text), *self.end]


class PromptDataset(Dataset):
    """Task tts: utterances of a split with at most `max_frames` frames."""

    def __init__(
        self, shards: CodeShards, config: SpeechLMConfig, max_frames: int, tokenizer: Any = None
    ):
        self.shards, self.config, self.tokenizer = shards, config, tokenizer
        self.kept = [i for i, frames in enumerate(shards.frames) if frames <= max_frames]
        self.frames = [shards.frames[i] for i in self.kept]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> list[Segment]:
        return item_segments(self.shards[self.kept[index]], self.config, self.tokenizer)


class TranscriptDataset(Dataset):
    """Task asr: audio inputs of at most `max_frames` frames, and their transcripts."""

    def __init__(
        self, inputs: AudioInputs, config: SpeechLMConfig, max_frames: int, tokenizer: Any = None
    ):
        self.inputs, self.texts = inputs, TextEncoder(config, tokenizer)
        self.items = [item for item in inputs.items if item.frames <= max_frames]
        self.frames = [cost_in_frames(config, item.frames, len(item.text)) for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[Segment]:
        item = self.items[index]
        text = self.texts.encode_with_end(item.text)
        return dialogue_turn(audio=self.inputs.load(item), question=text)


class QuestionDataset(Dataset):
    """Questions of a split in one task; those without the speech that it needs are left out.

    So are those whose speech would end before their text, where the two alternate.

    Args:
        rows: the questions.
        config: of the model.
        max_frames: longest question and answer.
        tokenizer: of the backbone's text; None for characters.
        task: spoken_qa, text_qa or text.
        answers: spoken answers by the path of their audio.
        inputs: audio inputs, for spoken_qa.

    """

    def __init__(
        self,
        rows: Sequence[QuestionRow],
        config: SpeechLMConfig,
        max_frames: int,
        tokenizer: Any = None,
        task: QuestionTask = "spoken_qa",
        answers: Mapping[str, CodeItem] | None = None,
        inputs: AudioInputs | None = None,
    ):
        self.config, self.task, self.texts = config, task, TextEncoder(config, tokenizer)
        self.tokenizer, self.inputs = tokenizer, inputs
        self.interleave = config.interleave_config
        self.items: list[tuple[QuestionRow, SpokenText | None, CodeItem | None]] = []
        for row in rows:
            spoken = inputs.question(row) if inputs and task == "spoken_qa" else None
            answer = (answers or {}).get(row.audio or "") if task != "text" else None
            if (task == "spoken_qa" and spoken is None) or (task != "text" and answer is None):
                continue
            if answer is not None and not self._text_leads(row, answer):
                continue
            lengths = [spoken.frames if spoken else 0, answer.codes.shape[1] if answer else 0]
            if max(lengths) <= max_frames:
                self.items.append((row, spoken, answer))
        self.frames = [self._cost(*item) for item in self.items]

    def _text_leads(self, row: QuestionRow, answer: CodeItem) -> bool:
        """Whether the text of an answer is over before its speech, as far as the two alternate."""
        if self.interleave is None:
            return True
        layout = self.config.layout
        steps = layout.num_steps(answer.codes.shape[1]) + layout.leading_delay + 1  # with the end
        return self.interleave.text_leads(len(self.texts.encode_with_end(row.answer)), steps)

    def _cost(self, row: QuestionRow, spoken: SpokenText | None, answer: CodeItem | None) -> int:
        characters = len(row.question) + len(row.answer)
        cost = cost_in_frames(self.config, spoken.frames if spoken else 0, characters)
        return cost + (0 if answer is None else answer.codes.shape[1])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[Segment]:
        row, spoken, answer = self.items[index]
        text = self.texts.encode_with_end(row.answer)
        interleaved = answer is not None and self.interleave is not None
        turn = dialogue_turn(
            audio=None if spoken is None or self.inputs is None else self.inputs.load(spoken),
            question=self.texts.encode_with_end(row.question),
            answer=None if interleaved else text,
        )
        if answer is None:
            return [Speaker(None), *turn]
        if interleaved:
            speaker = answer.speaker if self.config.speaker_dim else None
            return interleaved_answer(turn, text, answer.codes, speaker)
        return item_segments(answer, self.config, self.tokenizer, turn)


class Mixture(Dataset):
    """Rows of several datasets, with the number of times that each is repeated in an epoch."""

    def __init__(self, parts: Sequence[tuple[SizedDataset, float]]):
        self.entries = [
            (dataset, index) for dataset, times in parts for index in repeated(len(dataset), times)
        ]
        self.frames = [dataset.frames[index] for dataset, index in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sequence[Segment]:
        dataset, place = self.entries[index]
        return dataset[place]


def repeated(count: int, times: float) -> list[int]:
    """Indices below `count`, each `times` times; a fractional part selects evenly spaced ones."""
    repeats, part = int(times), times - int(times)
    spaced = [i for i in range(count) if int((i + 1) * part) > int(i * part)]
    return [*range(count)] * repeats + spaced


def build_dataset(
    data: DataRecipe,
    split: str,
    config: SpeechLMConfig,
    tokenizer: Any,
    max_items: int | None = None,
) -> Mixture:
    """Build the dataset of a split, with all tasks of a recipe.

    Args:
        data: the recipe.
        split: its train or validation split.
        config: of the model.
        tokenizer: of the backbone's text; None for characters.
        max_items: for validation: at most so many rows of each task, once each.

    Raises:
        InputError: data is missing, or does not fit the model or the tasks.

    """
    questions = data.questions
    tasks: dict[str, float] = {task: times for task, times in data.tasks.items()}
    if questions is not None:
        tasks |= {task: times for task, times in questions.tasks.items()}
    _check_tasks(tasks, config)
    rows = read_questions(Path(questions.folder), split) if questions else []
    shards = CodeShards(data.shards, split) if any(data.tasks.values()) else None
    answers: dict[str, CodeItem] = {}
    if questions is not None and questions.tasks.keys() - {"text"}:
        answers = read_speech(questions, split, config)
    inputs = None
    if tasks.keys() & {"asr", "spoken_qa"}:
        inputs = build_audio_inputs(data, split, config, shards, answers)
    parts: list[tuple[SizedDataset, float]] = []
    for task, times in data.tasks.items():
        if shards is not None and task == "tts":
            parts.append((PromptDataset(shards, config, data.max_frames, tokenizer), times))
        elif shards is not None and inputs is not None:
            parts.append((TranscriptDataset(inputs, config, data.max_frames, tokenizer), times))
    if questions is not None:
        parts += [
            (
                QuestionDataset(rows, config, data.max_frames, tokenizer, task, answers, inputs),
                times,
            )
            for task, times in questions.tasks.items()
        ]
        _check_questions(questions, parts)
    if max_items is not None:
        parts = [(d, min(1.0, max_items / max(len(d), 1))) for d, times in parts if times > 0]
    mixture = Mixture(parts)
    if not len(mixture):
        raise InputError(
            f"data.shards '{data.shards}': no row for any task in the split '{split}'; raise "
            "data.max_frames or data.tasks",
            code="empty",
        )
    return mixture


def _check_tasks(tasks: dict[str, float], config: SpeechLMConfig) -> None:
    """Raise InputError if a task needs audio input, and the model has none."""
    for task, times in tasks.items():
        if task != "tts" and not config.audio_input and times > 0:
            raise InputError(
                f"task '{task}': needs a model with audio input; set audio_input, such as "
                "audio_input: {frames_per_position: 2}",
                code="missing",
            )


def _check_questions(
    questions: QuestionsRecipe, parts: Sequence[tuple[SizedDataset, float]]
) -> None:
    """Raise InputError if a question task has no row."""
    for dataset, _ in parts:
        if isinstance(dataset, QuestionDataset) and not len(dataset):
            raise InputError(
                f"questions '{questions.folder}': no row has the speech that {dataset.task} needs; "
                "synthesize and tokenize it"
                + (", or give more text of interleave" if dataset.interleave else ""),
                code="missing",
            )


def build_audio_inputs(
    data: DataRecipe,
    split: str,
    config: SpeechLMConfig,
    shards: CodeShards | None,
    questions: dict[str, CodeItem],
) -> AudioInputs:
    """Audio inputs of a split, as codes or log-mels; those of the train split are augmented.

    Raises:
        InputError: there are no recordings for log-mels, or there are recordings for codes.

    """
    recordings = data.recordings
    if config.audio_input_config.source == "codes":
        if recordings:
            raise InputError(
                f"data.recordings '{recordings.manifests[0]}': the audio input of this model is "
                "codes, of data.shards; leave it out, or set audio_input: {source: mels}",
                code="conflict",
            )
        return CodeInputs(config, shards, questions)
    if not recordings:
        raise InputError(
            "data.recordings: is missing; audio_input with source: mels needs it, such as "
            "recordings: {manifests: [corpus]}",
            code="missing",
        )
    return MelInputs(config, recordings, split, augments=split == data.split)


def cost_in_frames(config: SpeechLMConfig, audio: int, characters: int) -> int:
    """Length of a row in frames: audio input, and text as if it were spoken.

    It does not depend on the frames per step, so that batches have the same rows for any of them.
    """
    return audio + round(characters * config.tokenizer["frame_rate"] / CHARACTERS_PER_SECOND)


def item_segments(
    item: CodeItem,
    config: SpeechLMConfig,
    tokenizer: Any = None,
    context: Sequence[Segment] = (),
) -> list[Segment]:
    """Prompt of one utterance in training.

    Args:
        item: codes [Q, T], text, and what else is known of the utterance.
        config: of the model.
        tokenizer: of the backbone's text; None for characters.
        context: the dialogue turn that the utterance answers.

    Raises:
        InputError: the model has a text track, and the utterance no character times.

    """
    if config.prompt_format:
        if item.prompt is None:
            raise InputError(
                f"utterance '{item.id}': has no prompt of the family '{config.prompt_format}'; make "
                "shards with data.own_speech",
                code="missing",
            )
        return segments_of(item.prompt, item.codes, item.speaker)
    characters = track_ids(item.text, bool(config.phones))
    advances: Tensor | None = None
    if config.has_text_track:
        if item.char_ends is None or len(item.char_ends) != len(characters):
            raise InputError(
                f"utterance '{item.id}': needs the time of every character for text: "
                f"{config.text}; make shards with character times, or set text: prompt",
                code="missing",
            )
        rate, most = config.tokenizer["frame_rate"], config.track_config.max_advance
        advances = frame_advances(item.char_ends, item.codes.shape[1], rate, most)  # [T]
    speaker = item.speaker if config.speaker_dim else None
    encode = TextEncoder(config, tokenizer).encode
    return tts_prompt(
        config.text,
        text_ids=encode(item.text),
        before=opening(config.template, item.text, encode, speaker),
        characters=characters,
        speaker=speaker,
        codes=item.codes,
        advances=advances,
        context=context,
    )
