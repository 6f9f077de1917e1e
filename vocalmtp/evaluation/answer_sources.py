"""The sources of spoken answers: a model's own, given texts, and the data's recordings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.bench.speed import first_audio, real_time_factors, steps_per_second
from vocalmtp.config import StrictModel
from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.errors import InputError
from vocalmtp.evaluation.questions import Question, QuestionSet
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.sentences import SAMPLE_RATE
from vocalmtp.evaluation.systems import is_silent
from vocalmtp.io.progress import track
from vocalmtp.io.read import problem_of, read_lines
from vocalmtp.io.run_folder import JsonlStore, Row
from vocalmtp.models.prompts import AudioInput, Segment
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import SHORTEST, Voice, make_voice

CHUNK = 64  # questions that are answered before their answers are spoken and stored
MAX_LETTERS = 2000  # of an answer: about two minutes of speech
FACODEC = ("facodec-v2", "facodec-v2-3")  # whose speaker vectors are published with RoleTriviaQA


class TextAnswer(StrictModel):
    """A line of another model's answers."""

    id: str
    text: str


@dataclass(frozen=True)
class Answer:
    """An answer to a question; `failure` is "" or why its speech cannot be scored."""

    text: str
    audio: Audio | None = None
    failure: str = ""
    transcript: str | None = None  # of the question's speech, if the model received it


class AnswerSource(Protocol):
    """A source of spoken answers; `name` is part of reports."""

    name: str

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield the index of every question and its answer, in order of completion."""
        ...

    def speed(self) -> list[Metric]:
        """Decoding speed, real-time factors, first audio; empty if nothing is synthesized."""
        ...


@dataclass
class SpokenTexts:
    """Synthesis of the text of every question id in `texts`.

    `contexts` are the segments before the answer's text, by id, see SynthesisRequest.
    """

    name: str
    tts: TTS
    texts: Mapping[str, str]
    voices: Mapping[str, Voice | None]
    batch_size: int = 8
    seed: int = 0
    contexts: Mapping[str, tuple[Segment, ...]] = field(default_factory=dict)

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield the index of every question and its answer, in order of completion."""
        spoken: list[int] = []
        requests: list[SynthesisRequest] = []
        for number, question in enumerate(questions):
            text = self.texts.get(question.id, "").strip()
            if not text or len(text) > MAX_LETTERS:
                failure = "text too long" if text else "no text"
                yield number, Answer(text[:MAX_LETTERS], None, failure)
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

    def speed(self) -> list[Metric]:
        """Decoding speed, real-time factors and first audio of the model."""
        size = self.batch_size
        steps = steps_per_second({"": self.tts}, size)[""]["steps"]
        tokens = steps.scaled(self.tts.model.layout.tokens_per_step * size)
        factors = real_time_factors(self.tts, (1, size))
        return [
            Metric(f"steps/s, batch {size}", "all", steps, "", 1),
            Metric(f"tokens/s, batch {size}", "all", tokens, "", 0),
            *(
                Metric(f"real-time factor, batch {size}", "all", factor, "", 3)
                for size, factor in factors.items()
            ),
            Metric("first audio", "all", first_audio(self.tts), "ms", 0),
        ]


@dataclass
class ModelAnswers:
    """A model that answers by itself, questions as text or (`from_speech`) as their recordings.

    Raises:
        InputError: the model has no audio input.
    """

    name: str
    tts: TTS
    voices: Mapping[str, Voice | None]
    batch_size: int = 8
    seed: int = 0
    from_speech: bool = False

    def __post_init__(self) -> None:
        self.model = DialogueModel(self.tts)

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield the index of every question and its answer, in order of completion."""
        for start in range(0, len(questions), CHUNK):
            for number, made in self._chunk(questions[start : start + CHUNK]):
                yield start + number, made

    def _chunk(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        transcripts: dict[str, str] = {}
        queries: dict[str, Query] = {}
        inputs = self._audio_inputs(questions) if self.from_speech else {}
        if inputs:
            texts = self.model.transcribe(list(inputs.values()), self.batch_size)
            transcripts = dict(zip(inputs, texts, strict=True))
        for question in questions:
            text = transcripts.get(question.id, "") if self.from_speech else question.question
            if text.strip(" .,;:?!'-"):
                voice = self.voices.get(question.role)
                queries[question.id] = Query(text=text, audio=inputs.get(question.id), voice=voice)
        if self.model.interleaves:
            yield from self._write_and_speak(questions, queries, transcripts)
            return
        written = self.model.answer(list(queries.values()), self.batch_size)
        contexts = {name: self.model.context(query) for name, query in queries.items()}
        answers = dict(zip(queries, written, strict=True))
        speech = SpokenTexts(
            self.name, self.tts, answers, self.voices, self.batch_size, self.seed, contexts
        )
        for number, made in speech.answer(questions):
            yield number, replace(made, transcript=transcripts.get(questions[number].id))

    def _write_and_speak(
        self,
        questions: Sequence[Question],
        queries: Mapping[str, Query],
        transcripts: Mapping[str, str],
    ) -> Iterator[tuple[int, Answer]]:
        """Answers whose text and speech alternate."""
        made = self.model.speak(list(queries.values()), self.seed, self.batch_size)
        answers = dict(zip(queries, made, strict=True))
        for number, question in enumerate(questions):
            transcript = transcripts.get(question.id)
            if question.id not in answers:
                yield number, Answer("", None, "no text", transcript)
                continue
            text, audio = answers[question.id]
            yield number, Answer(text, audio, failure_of(audio), transcript)

    def _audio_inputs(self, questions: Sequence[Question]) -> dict[str, AudioInput]:
        """The recordings of questions that have one, by id, as the model's input."""
        return {
            question.id: self.model.encode_audio(
                read_audio(question.question_audio, SAMPLE_RATE), SAMPLE_RATE
            )
            for question in questions
            if question.question_audio is not None
        }

    def speed(self) -> list[Metric]:
        """Decoding speed, real-time factors and first audio of the model."""
        return SpokenTexts(self.name, self.tts, {}, self.voices, self.batch_size).speed()


class RecordedAnswers:
    """The data's own answers, as text and speech: the scores of a perfect model."""

    name = "the data's own recordings"

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield the index of every question and its recorded answer."""
        for number, question in enumerate(questions):
            if question.audio is None:
                yield number, Answer(question.answer, None, "no recording")
                continue
            try:
                audio = Audio(read_audio(question.audio, SAMPLE_RATE), SAMPLE_RATE)
            except InputError as error:
                yield number, Answer(question.answer, None, f"refused: {error}")
                continue
            yield number, Answer(question.answer, audio, failure_of(audio))

    def speed(self) -> list[Metric]:
        """Nothing is synthesized."""
        return []


def failure_of(audio: Audio) -> str:
    """ "truncated" (without an end token), "empty", or "" for speech that can be scored."""
    if audio.truncated:
        return "truncated"
    return "empty" if is_silent(audio) else ""


def read_answers(path: Path, questions: Sequence[Question]) -> dict[str, str]:
    """Read the answers of another model by question id: JSON lines with `id` and `text`.

    Raises:
        InputError: the file is missing, a line is malformed, or no answer is to these questions.
    """
    if not path.is_file():
        raise InputError(
            f"answers '{path}': no such file; give gold, own, natural or a .jsonl file",
            code="not_found",
        )
    texts: dict[str, str] = {}
    for number, line in read_lines(path, f"answers '{path}'"):
        try:
            row = TextAnswer.model_validate_json(line)
        except ValidationError as error:
            raise InputError(
                f"answers '{path}' line {number}: {problem_of(error)}", code="invalid_value"
            ) from error
        texts[row.id] = row.text
    if not {question.id for question in questions} & set(texts):
        raise InputError(
            f"answers '{path}': none is to these questions; use their ids", code="mismatch"
        )
    return texts


def collect_answers(source: AnswerSource, questions: Sequence[Question], folder: Path) -> list[Row]:
    """Write the answers' audio and rows to `folder`; existing answers are kept.

    Returns:
        For each question its fields, the text and the audio of the answer, and its failure.
    """
    rows = JsonlStore(folder / "rows" / "answers.jsonl")
    todo = [question for question in questions if rows.get(question.id) is None]
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for number, made in track(source.answer(todo) if todo else (), len(todo), "answer"):
        question = todo[number]
        path = None
        if made.audio is not None and made.audio.duration:
            path = folder / "audio" / f"{question.id.replace('/', '_')}.wav"
            made.audio.save(path)
        row = {
            "id": question.id,
            "text_answer": made.text,
            "audio": None if path is None else str(path.relative_to(folder)),
            "seconds": made.audio.duration if made.audio else 0.0,
            "failure": made.failure,
        }
        if made.transcript is not None:
            row |= {"question_transcript": made.transcript}
        rows.append(row)
    return [
        {
            "id": question.id,
            "question": question.question,
            "aliases": list(question.aliases),
            "role": question.role,
            "seen": question.seen,
            "domain": question.domain,
            "question_voice": question.question_voice,
        }
        | rows.rows[question.id]
        for question in questions
    ]


def role_voices(found: QuestionSet, tts: TTS) -> dict[str, Voice | None]:
    """A voice for every role: of its published vector, or of its longest recording.

    Questions without a role are answered in the model's default voice.

    Raises:
        InputError: a role has no recording that makes a voice.
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
                code="missing",
            )
        else:
            voices[role] = make_voice(_longest(found.references[role]), tts.tokenizer, role)
    return voices


def _longest(paths: Sequence[Path]) -> Path:
    """The longest recording, of those that are long enough for a voice if there are any."""
    import soundfile

    try:
        lengths = {path: soundfile.info(path).duration for path in paths}
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(
            f"reference: cannot be read ({error}); copy it again", code="damaged"
        ) from error
    return max(lengths, key=lambda path: (lengths[path] > SHORTEST, lengths[path]))
