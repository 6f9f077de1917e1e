"""Who answers: from questions to a text and its speech, in the voice of the question's role.

`AnswerSource` is all that the benchmark knows of a model. Here are a speech LM that answers by itself,
a cascade, which speaks a text that is already there, and the recordings of the data, which say what
the judges make of speech that is right.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import ValidationError

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.bench.speed import first_audio, real_time_factors, steps_per_second
from vocalmtp.config import StrictModel
from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.errors import InputError
from vocalmtp.evaluation.questions import Question, QuestionSet
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.evaluation.systems import AUDIBLE
from vocalmtp.io.read import problem_of, read_lines
from vocalmtp.models.prompts import AudioInput, Segment
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import SHORTEST, Voice, make_voice

CHUNK = 64  # questions that are answered, then spoken: what is spoken is kept
ENDLESS = 2000  # letters of an answer: about two minutes of speech
RATE = 16_000
FACODEC = ("facodec-v2", "facodec-v2-3")  # whose timbre vectors are published with RoleTriviaQA


class AnswerRow(StrictModel):
    """A line of another model's answers."""

    id: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What was said to a question. `failure` is "" or why there is nothing to be scored."""

    text: str
    audio: Audio | None = None
    failure: str = ""
    understood: str | None = None  # what was heard of the question, if it was heard


class AnswerSource(Protocol):
    """A model that answers questions with text and speech. `name` is for the report."""

    name: str

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """The number of every question and its answer, as they are ready."""
        ...

    def speed(self) -> list[Line]:
        """Steps and tokens a second, real-time factor, first audio; none if it makes no speech."""
        ...


@dataclass
class Cascade:
    """A text-to-speech model that says the answers of another: a text for every id in `texts`."""

    name: str
    tts: TTS
    texts: Mapping[str, str]
    voices: Mapping[str, Voice | None]
    batch_size: int = 8
    seed: int = 0
    contexts: Mapping[str, tuple[Segment, ...]] = field(default_factory=dict)  # of a Request, by id

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        spoken: list[int] = []
        requests: list[SynthesisRequest] = []
        for number, question in enumerate(questions):
            text = self.texts.get(question.id, "").strip()
            if not text or len(text) > ENDLESS:
                yield number, Answer(text[:ENDLESS], None, "endless text" if text else "no text")
                continue
            spoken.append(number)
            voice, context = self.voices.get(question.role), self.contexts.get(question.id, ())
            requests.append(
                SynthesisRequest(text=text, voice=voice, seed=self.seed, context=context)
            )
        for index, made in self.tts.each(requests, self.batch_size):
            text = requests[index].text
            if isinstance(made, InputError):
                yield spoken[index], Answer(text, None, f"refused: {made}")
            else:
                yield spoken[index], Answer(text, made, failure_of(made))

    def speed(self) -> list[Line]:
        tokens = self.tts.model.layout.tokens_per_step
        rates = steps_per_second({"": self.tts}, self.batch_size)[""]
        steps = rates["steps"]
        tokens *= self.batch_size  # all rows take a step together
        each = Estimate(*(tokens * x for x in (steps.value, steps.low, steps.high)), steps.count)
        factors = real_time_factors(self.tts, (1, self.batch_size))
        return [
            Line(f"steps a second, batch {self.batch_size}", "all", steps, "", 1),
            Line(f"tokens a second, batch {self.batch_size}", "all", each, "", 0),
            *(
                Line(f"real-time factor, batch {size}", "all", factor, "", 3)
                for size, factor in factors.items()
            ),
            Line("first audio", "all", first_audio(self.tts), "ms", 0),
        ]


@dataclass
class Own:
    """A model that answers by itself: it reads the questions, or hears them (`aloud`)."""

    name: str
    tts: TTS
    voices: Mapping[str, Voice | None]
    batch_size: int = 8
    seed: int = 0
    aloud: bool = False

    def __post_init__(self) -> None:
        self.respondent = DialogueModel(self.tts)

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for start in range(0, len(questions), CHUNK):
            for number, made in self._some(questions[start : start + CHUNK]):
                yield start + number, made

    def _some(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        understood: dict[str, str] = {}
        asked: dict[str, Query] = {}
        heard = self._heard(questions) if self.aloud else {}
        if heard:
            texts = self.respondent.transcribe(list(heard.values()), self.batch_size)
            understood = dict(zip(heard, texts, strict=True))
        for question in questions:
            text = understood.get(question.id, "") if self.aloud else question.question
            if text.strip(" .,;:?!'-"):
                voice = self.voices.get(question.role)
                asked[question.id] = Query(text=text, audio=heard.get(question.id), voice=voice)
        written = self.respondent.answer(list(asked.values()), self.batch_size)
        contexts = {name: self.respondent.context(each) for name, each in asked.items()}
        answers = dict(zip(asked, written, strict=True))
        cascade = Cascade(
            self.name, self.tts, answers, self.voices, self.batch_size, self.seed, contexts
        )
        for number, made in cascade.answer(questions):
            yield number, replace(made, understood=understood.get(questions[number].id))

    def _heard(self, questions: Sequence[Question]) -> dict[str, AudioInput]:
        """What is heard of the questions that there are recordings of."""
        return {
            question.id: self.respondent.encode_audio(read_audio(question.asked, RATE), RATE)
            for question in questions
            if question.asked is not None
        }

    def speed(self) -> list[Line]:
        return Cascade(self.name, self.tts, {}, self.voices, self.batch_size).speed()


class Recordings:
    """The data's own answers, text and speech: what a model that errs in nothing would score."""

    name = "the data's own recordings"

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for number, question in enumerate(questions):
            if question.audio is None:
                yield number, Answer(question.answer, None, "no recording")
                continue
            try:
                audio = Audio(read_audio(question.audio, RATE), RATE)
            except InputError as error:
                yield number, Answer(question.answer, None, f"refused: {error}")
                continue
            yield number, Answer(question.answer, audio, failure_of(audio))

    def speed(self) -> list[Line]:
        return []


def failure_of(audio: Audio) -> str:
    """ "truncated" (it did not come to an end), "empty", or "" of speech that can be scored."""
    if audio.truncated:
        return "truncated"
    silent = not audio.duration or float(np.abs(audio.samples).max()) < AUDIBLE
    return "empty" if silent else ""


def read_texts(path: Path, questions: Sequence[Question]) -> dict[str, str]:
    """Answers as another model wrote them: JSON lines with `id` and `text`.

    Raises InputError if a line is none, or none is of these questions. A question without one is
    one that was not answered.
    """
    if not path.is_file():
        raise InputError(
            f"answers '{path}': no such file; give gold, natural or a .jsonl file", code="not_found"
        )
    texts: dict[str, str] = {}
    for number, line in read_lines(path, f"answers '{path}'"):
        try:
            row = AnswerRow.model_validate_json(line)
        except ValidationError as error:
            raise InputError(
                f"answers '{path}' line {number}: {problem_of(error)}", code="invalid_value"
            ) from error
        texts[row.id] = row.text
    if not {question.id for question in questions} & set(texts):
        raise InputError(
            f"answers '{path}': none is of these questions; use their ids", code="invalid_value"
        )
    return texts


def role_voices(found: QuestionSet, tts: TTS) -> dict[str, Voice | None]:
    """A voice for every role of `found`: of its published vector, or its longest recording.

    A question of nobody in particular is answered in the model's own voice. Raises InputError if a
    role has no recording that makes a voice.
    """
    spec = tts.tokenizer.spec
    voices: dict[str, Voice | None] = {}
    for role in sorted({question.role for question in found.questions}):
        if not role or not spec.speaker_dim:
            voices[role] = tts.find_voice(None)
        elif role in found.embeddings and spec.name in FACODEC:
            vector, origin = found.embeddings[role], f"published with {found.name}"
            voices[role] = Voice(role, vector, origin, spec.name, spec.hash).check(spec)
        elif not found.references.get(role):
            raise InputError(
                f"role '{role}': no recording of it in '{found.name}'; put one into "
                f"references/{role}/ (of the mini: recipes/roletriviaqa_mini/speak.py)",
                code="invalid_value",
            )
        else:
            voices[role] = make_voice(_longest(found.references[role]), tts.tokenizer, role)
    return voices


def _longest(paths: Sequence[Path]) -> Path:
    """The longest recording; voices want more than SHORTEST seconds."""
    import soundfile

    try:
        lengths = {path: soundfile.info(path).duration for path in paths}
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(
            f"reference: cannot be read ({error}); copy it again", code="damaged"
        ) from error
    return max(lengths, key=lambda path: (lengths[path] > SHORTEST, lengths[path]))
