"""What a speech LM learns from: utterances and questions, and the tasks that are made of them.

tts says an utterance, asr writes down what is heard. Of a question, spoken_qa hears it, writes it
down, answers it in text and says the answer; text_qa reads it instead; text only writes the answer.
Letters: Q streams, T frames, U characters.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import Dataset

from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.shards import CodeItem, CodeShards
from vocalmtp.errors import InputError
from vocalmtp.evaluation.questions import QUESTIONS, QuestionRow
from vocalmtp.io.read import problem_of, read_lines
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.prompts import Segment, Speaker, dialogue_turn, tts_prompt
from vocalmtp.models.text_track import frame_advances
from vocalmtp.text import char_ids, normalize
from vocalmtp.training.audio_inputs import AudioInputs, CodeInputs, MelInputs, SpokenText
from vocalmtp.training.recipe import DataRecipe, QuestionsRecipe, QuestionTask

Times = dict[str, float]

LETTERS = 16.0  # that are said in a second


class TextIds:
    """Texts to ids of the backbone's text vocabulary: characters, or those of its `tokenizer`."""

    def __init__(self, config: SpeechLMConfig, tokenizer: Any = None):
        self.encode = char_ids if tokenizer is None else lambda text: tokenizer(text)["input_ids"]
        self.end = [config.audio_input_config.end_id] if config.audio_input else []

    def whole(self, text: str) -> list[int]:
        """A text that is written, with its end."""
        return [*self.encode(text), *self.end]


class PromptDataset(Dataset):
    """Utterances of a split as segment lists that say them; `frames` has the length of each."""

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
    """All that `ears` hear as segment lists that write it down; `frames` has what each costs."""

    def __init__(
        self, ears: AudioInputs, config: SpeechLMConfig, max_frames: int, tokenizer: Any = None
    ):
        self.ears, self.texts = ears, TextIds(config, tokenizer)
        self.sounds = [sound for sound in ears.sounds if sound.frames <= max_frames]
        self.frames = [frames_of(config, sound.frames, len(sound.text)) for sound in self.sounds]

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> list[Segment]:
        sound = self.sounds[index]
        return dialogue_turn(audio=self.ears.hear(sound), question=self.texts.whole(sound.text))


class QuestionDataset(Dataset):
    """Questions of a split as segment lists; `frames` has what each costs, in frames.

    `spoken` are the answers by the path of their audio. A question whose speech is not there is
    left out of the tasks that need it.
    """

    def __init__(
        self,
        rows: Sequence[QuestionRow],
        config: SpeechLMConfig,
        max_frames: int,
        tokenizer: Any = None,
        task: QuestionTask = "spoken_qa",
        spoken: Mapping[str, CodeItem] | None = None,
        ears: AudioInputs | None = None,
    ):
        self.config, self.task, self.texts = config, task, TextIds(config, tokenizer)
        self.tokenizer, self.ears = tokenizer, ears
        self.items: list[tuple[QuestionRow, SpokenText | None, CodeItem | None]] = []
        for row in rows:
            sound = ears.question(row) if ears and task == "spoken_qa" else None
            answer = (spoken or {}).get(row.audio or "") if task != "text" else None
            if (task == "spoken_qa" and sound is None) or (task != "text" and answer is None):
                continue
            lengths = [sound.frames if sound else 0, answer.codes.shape[1] if answer else 0]
            if max(lengths) <= max_frames:
                self.items.append((row, sound, answer))
        self.frames = [self._frames(*item) for item in self.items]

    def _frames(self, row: QuestionRow, sound: SpokenText | None, answer: CodeItem | None) -> int:
        text = len(row.question) + len(row.answer)
        spoken = 0 if answer is None else answer.codes.shape[1]
        return spoken + frames_of(self.config, sound.frames if sound else 0, text)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[Segment]:
        row, sound, answer = self.items[index]
        turn = dialogue_turn(
            audio=None if sound is None else self.ears.hear(sound),
            question=self.texts.whole(row.question),
            answer=self.texts.whole(row.answer),
        )
        if answer is None:
            return [Speaker(None), *turn]
        return item_segments(answer, self.config, self.tokenizer, turn)


class Mixture(Dataset):
    """Rows of several datasets, each so many times; `frames` has the length of each."""

    def __init__(self, parts: Sequence[tuple[Any, float]]):
        self.entries = [
            (dataset, index) for dataset, times in parts for index in repeated(len(dataset), times)
        ]
        self.frames = [dataset.frames[index] for dataset, index in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> list[Segment]:
        dataset, place = self.entries[index]
        return dataset[place]


def repeated(count: int, times: float) -> list[int]:
    """Each of `count` numbers so many times; for a part of a time some, spread evenly."""
    whole, part = int(times), times - int(times)
    spread = [i for i in range(count) if int((i + 1) * part) > int(i * part)]
    return [*range(count)] * whole + spread


def build_dataset(
    data: DataRecipe, split: str, config: SpeechLMConfig, tokenizer: Any, most: int | None = None
) -> Mixture:
    """All tasks of a split, of each at most `most` rows, once each then.

    Raises InputError for missing data, or tasks that need a model that listens.
    """
    asked: Times = data.tasks | (data.questions.tasks if data.questions else {})
    for task, times in asked.items():
        if task != "tts" and not config.audio_input and times > 0:
            raise InputError(
                f"task '{task}': needs a model that listens; give it 'audio_input', such as "
                "audio_input: {frames_per_position: 2}",
                code="missing",
            )
    own, hears = data.questions, asked.keys() & {"asr", "spoken_qa"}
    questions = read_questions(Path(own.folder), split) if own else []
    shards = CodeShards(data.shards, split) if any(data.tasks.values()) else None
    speaks = own is not None and own.tasks.keys() - {"text"}
    spoken = read_speech(own, split, config) if speaks else {}
    ears = build_ears(data, split, config, shards, spoken) if hears else None
    parts: list[tuple[Any, float]] = []
    for task, times in data.tasks.items() if shards is not None else ():
        if task == "tts":
            parts.append((PromptDataset(shards, config, data.max_frames, tokenizer), times))
        else:
            parts.append((TranscriptDataset(ears, config, data.max_frames, tokenizer), times))
    for task, times in own.tasks.items() if own else ():
        made = QuestionDataset(questions, config, data.max_frames, tokenizer, task, spoken, ears)
        if not made:
            raise InputError(
                f"questions '{own.folder}': none of the split '{split}' has the speech that "
                f"{task} needs; have it spoken, and tokenize it",
                code="invalid_value",
            )
        parts.append((made, times))
    if most is not None:
        parts = [(d, min(1.0, most / max(len(d), 1))) for d, times in parts if times > 0]
    mixture = Mixture(parts)
    if not len(mixture):
        raise InputError(
            f"data '{data.shards}': no row for any task; raise max_frames or tasks",
            code="invalid_value",
        )
    return mixture


def build_ears(
    data: DataRecipe,
    split: str,
    config: SpeechLMConfig,
    shards: CodeShards | None,
    asked: dict[str, CodeItem],
) -> AudioInputs:
    """What the model hears of a split; what it is trained on is spoilt.

    Raises InputError if log-mels want recordings that are not there, or codes are given some.
    """
    recordings = data.recordings
    if config.audio_input_config.source == "codes":
        if recordings:
            raise InputError(
                f"data.recordings '{recordings.manifests[0]}': the model listens to codes, of "
                "'shards'; leave it out, or give it audio_input: {source: mels}",
                code="conflict",
            )
        return CodeInputs(config, shards, asked)
    if not recordings:
        raise InputError(
            "data.recordings: is missing; a model that listens to mels hears recordings, such as "
            "recordings: {manifests: [corpus]}",
            code="missing",
        )
    return MelInputs(config, recordings, split, spoils=split == data.split)


def read_questions(folder: Path, split: str) -> list[QuestionRow]:
    """The questions of a split, normalised, without those that cannot be.

    Raises InputError if there is none, or a line is not one.
    """
    path, rows = folder / QUESTIONS, []
    if not path.is_file():
        raise InputError(
            f"questions '{folder}': has no {QUESTIONS}; make it with recipes/chat_mini",
            code="empty",
        )
    for number, line in read_lines(path, f"questions '{folder}'"):
        try:
            row = QuestionRow.model_validate_json(line)
        except ValidationError as error:
            raise InputError(
                f"{path} line {number}: {problem_of(error)}", code="invalid_value"
            ) from error
        if row.split == split:
            with suppress(InputError):
                said = {"question": normalize(row.question), "answer": normalize(row.answer)}
                rows.append(row.model_copy(update=said))
    if not rows:
        raise InputError(
            f"questions '{folder}': none of the split '{split}'; make them anew",
            code="invalid_value",
        )
    return rows


def read_speech(recipe: QuestionsRecipe, split: str, config: SpeechLMConfig) -> dict[str, CodeItem]:
    """The utterances of a split by the path of their audio, as questions name it.

    Raises InputError if they are codes of another tokenizer than the model's.
    """
    folder, shards = Path(recipe.folder), CodeShards(recipe.shards, split)
    made, asked = shards.spec, config.tokenizer
    if made.hash != asked.get("hash"):
        raise InputError(
            f"questions.shards '{recipe.shards}': are codes of '{made.name}' ({made.hash}); the "
            f"model speaks those of '{asked.get('name')}' ({asked.get('hash')}); tokenize again",
            code="mismatch",
        )
    place = {row.id: index for index, row in enumerate(shards.rows)}
    return {
        row.audio.relative_to(folder).as_posix(): shards[place[row.id]]
        for row in read_manifest(folder, split)
        if row.id in place
    }


def frames_of(config: SpeechLMConfig, heard: int, text: int) -> int:
    """What heard frames and letters of text count as, in frames: a letter as if it were said.

    So a batch has the same rows whatever a step of the model is.
    """
    return heard + round(text * config.tokenizer["frame_rate"] / LETTERS)


def item_advances(item: CodeItem, config: SpeechLMConfig, most: int) -> Tensor:
    """How far the pointer into the text moves at every frame, at most `most`, [T]."""
    rate = config.tokenizer["frame_rate"]
    return frame_advances(item.char_ends, item.codes.shape[1], rate, most)


def item_segments(
    item: CodeItem,
    config: SpeechLMConfig,
    tokenizer: Any = None,
    context: Sequence[Segment] = (),
) -> list[Segment]:
    """One utterance as the prompt that `config` trains on; an answer after its `context`.

    Raises InputError if the model has a text track and the utterance has no character times.
    """
    characters = char_ids(item.text)
    advances: Tensor | None = None
    if config.has_text_track:
        if item.char_ends is None or len(item.char_ends) != len(characters):
            raise InputError(
                f"utterance '{item.id}': needs one time per character for text: {config.text}; "
                "make shards with character times, or set text: prompt",
                code="missing",
            )
        advances = item_advances(item, config, config.track_config.max_advance)
    return tts_prompt(
        config.text,
        text_ids=characters if tokenizer is None else tokenizer(item.text)["input_ids"],
        characters=characters,
        speaker=item.speaker if config.speaker_dim else None,
        codes=item.codes,
        advances=advances,
        context=context,
    )
