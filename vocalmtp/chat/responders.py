"""Responders answer the user's turns: a language model with a voice, or one speech LM.

A new one is one file in this package, whose class is decorated with `@RESPONDERS.register("name")`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy as np

from vocalmtp.audio.io import Audio, Word
from vocalmtp.audio.timestamps import Token, spoken_words, written_tokens
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.chat.answer_stream import APOLOGIES, AnswerError, AnswerSink, Cancelled
from vocalmtp.chat.events import SpokenWord
from vocalmtp.chat.history import Message
from vocalmtp.chat.llm import LLM
from vocalmtp.config import Registry
from vocalmtp.decoding.text_stream import clause_pause
from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Segment
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.recognizers.speech_lm import SpeechLMRecognizer
from vocalmtp.text import ClauseSplitter, normalize, sayable
from vocalmtp.tts import TTS
from vocalmtp.voices import AnyVoice

Pieces = SimpleQueue[str | Exception | None]  # None: the text is complete

WARM_UP = "One moment, please."
CLAUSE_SEEDS = 1000  # between the seeds of two clauses, which have fewer sentences than that
PUNCTUATION = " .,;:?!'-"
FILLERS = ("Hmm.", "Let me think.", "Well, let me see.")  # neither shown nor in the history


@dataclass(frozen=True, kw_only=True)
class AnswerRequest:
    """A turn to answer.

    Attributes:
        messages: the conversation, which ends with the user's message.
        samples: the audio of the turn, float32 [N] at SAMPLE_RATE; None if it was typed.
        spoken: whether the answer has audio.
        filler: seconds without a clause after which a filler is spoken; None for none.
        speed: of its speech.

    """

    messages: list[Message]
    voice: AnyVoice
    seed: int
    samples: np.ndarray | None = None
    spoken: bool = True
    filler: float | None = None
    speed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How one answer differs from the session's settings.

    Attributes:
        system: its system prompt; None: that of the session.
        spoken: whether it has audio.

    """

    system: str | None = None
    spoken: bool = True


class Responder(Protocol):
    """Answers turns; it has no state of conversations, so that any number of them can share one.

    Attributes:
        name: for the user to read.
        end_to_end: it takes the audio of turns, and needs neither recognizer nor language model.
        recognizer: its own recognizer; None to use another one.

    """

    name: str
    end_to_end: bool
    recognizer: Recognizer | None

    def answer(self, request: AnswerRequest, out: AnswerSink) -> None:
        """Send the answer's text and audio to `out`; return when all of it was sent."""

    def say(self, text: str, request: AnswerRequest, out: AnswerSink) -> None:
        """Send a given text and its audio to `out`."""

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        ...

    def prepare(self, system: str) -> None:
        """Do what the first answer after a system prompt would otherwise wait for."""


class ResponderFactory(Protocol):
    """Makes a responder from loaded parts; `llm` is None for end-to-end responders."""

    end_to_end: bool

    def __call__(self, tts: TTS, llm: LLM | None = None) -> Responder:
        """Return the responder; raises InputError if it cannot use the parts."""
        ...


RESPONDERS: Registry[ResponderFactory] = Registry("responder", "vocalmtp.chat")


def warm_up(tts: TTS, voice: AnyVoice) -> None:
    """Synthesize a sentence, so that the first answer does not wait for one-time work."""
    for _ in tts.stream(WARM_UP, voice):
        pass


class SpeakingResponder:
    """Shows and speaks texts while they are being written."""

    def __init__(self, tts: TTS):
        self._tts = tts

    def prepare(self, system: str) -> None:
        """Do nothing, see `Responder`."""

    def say(self, text: str, request: AnswerRequest, out: AnswerSink) -> None:
        """Show and speak a given text, see `Responder`."""
        self.speak(iter([text]), request, out)

    def speak(
        self,
        text: Iterator[str],
        request: AnswerRequest,
        out: AnswerSink,
        context: tuple[Segment, ...] = (),
    ) -> None:
        """Show and speak a text in pieces.

        The pieces are read in a thread of their own, so that text is shown as soon as it is
        written, however long the speech before it takes.

        Args:
            text: may raise AnswerError, which is reported and spoken as an apology.
            request: has the voice and the seed.
            out: receives text and audio.
            context: the question, for a model that answers; see `SynthesisRequest`.

        """
        pieces: Pieces = SimpleQueue()
        stop = threading.Event()
        speaker = ClauseSpeaker(self._tts, request, out, context)
        writer = threading.Thread(target=_show, args=(text, out, pieces, stop), daemon=True)
        with out.on_cancel(lambda: pieces.put(Cancelled())):
            writer.start()
            try:
                fill = speaker.fill if request.spoken else None
                for clause in _clauses(pieces, request.filler, fill):
                    if request.spoken:
                        speaker.say(clause)
            except AnswerError as error:
                out.error(error.code, str(error))
                apology = APOLOGIES.get(error.code, APOLOGIES["llm_failed"])
                apology = f" {apology}" if speaker.chars else apology
                out.text(apology)
                if request.spoken:
                    speaker.say(apology)
            finally:
                stop.set()
                writer.join()


@RESPONDERS.register("cascade")
class CascadeResponder(SpeakingResponder):
    """A language model whose answers are spoken by a text-to-speech model."""

    end_to_end = False
    recognizer: Recognizer | None = None

    def __init__(self, tts: TTS, llm: LLM | None = None):
        if llm is None:
            raise InputError("llm: is missing; a cascade needs a language model", code="missing")
        super().__init__(tts)
        self.llm = llm
        self.name = llm.name

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return self.llm.count_tokens(text)

    def prepare(self, system: str) -> None:
        """Run the system prompt, see `Responder`."""
        self.llm.prepare(system)

    def answer(self, request: AnswerRequest, out: AnswerSink) -> None:
        """Answer a turn, see `Responder`."""
        self.speak(self.llm.write(request.messages, out), request, out)


@RESPONDERS.register("speech-lm")
class SpeechLMResponder(SpeakingResponder):
    """One speech LM that takes the audio of a turn, writes its transcript and answer, and speaks.

    It answers the last turn; it does not know the turns before.

    Raises:
        InputError: the model has no audio input.

    """

    end_to_end = True

    def __init__(self, tts: TTS, llm: LLM | None = None):
        super().__init__(tts)
        self._model = DialogueModel(tts)
        self.name = "speech LM"
        self.recognizer: Recognizer | None = SpeechLMRecognizer(self._model)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self._tts.encode_text(normalize(text)))

    def answer(self, request: AnswerRequest, out: AnswerSink) -> None:
        """Answer a turn, see `Responder`."""
        query = self._query(request)
        if not query.text.strip(PUNCTUATION):
            out.error("not_understood", "Nothing was understood.")
            self.say(APOLOGIES["not_understood"], request, out)
            return
        if self._model.interleaves and request.spoken:
            self._write_and_speak(query, request, out)
        else:
            self.speak(self._model.stream_text(query), request, out, self._model.context(query))

    def _write_and_speak(self, query: Query, request: AnswerRequest, out: AnswerSink) -> None:
        """Show and play an answer whose text and speech alternate, as it is generated.

        It counts as played when all of it was: the times of its words are not known.
        """
        text, samples, rate = "", 0, self._tts.sample_rate
        for piece in self._model.stream_answer(query, request.seed, request.speed):
            if isinstance(piece, Audio):
                out.audio(piece.samples, rate, [])
                samples += len(piece.samples)
            elif piece := piece[: out.max_chars - len(text)]:
                text += piece
                out.text(piece)
        word = SpokenWord(text, 0.0, samples / rate, (0, len(text)))
        out.audio(np.zeros(0, np.float32), rate, [word])

    def _query(self, request: AnswerRequest) -> Query:
        last = request.messages[-1]
        audio, text = None, last.text if last.role == "user" else ""
        if request.samples is not None:
            audio = self._model.encode_audio(request.samples, SAMPLE_RATE)
            text = text or self._model.transcribe([audio])[0]
        return Query(text=text, audio=audio, voice=request.voice)


def _show(text: Iterator[str], out: AnswerSink, pieces: Pieces, stop: threading.Event) -> None:
    """Show a text and queue its pieces for the speech; the last item is None or an exception."""
    chars = 0
    try:
        for piece in text:
            piece = piece[: out.max_chars - chars]
            chars += len(piece)
            out.text(piece)
            pieces.put(piece)
            if chars >= out.max_chars or stop.is_set():
                break
        pieces.put(None)
    except Exception as error:  # raised again by the thread that speaks
        pieces.put(error)


def _clauses(
    pieces: Pieces, patience: float | None = None, on_slow: Callable[[], None] | None = None
) -> Iterator[str]:
    """Yield clauses as soon as they are complete; then raise the exception, if there is one.

    `on_slow` is called if the first one takes longer than `patience` seconds.
    """
    splitter = ClauseSplitter()
    deadline = None if patience is None else time.monotonic() + patience
    while True:
        wait = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        try:
            piece = pieces.get(timeout=wait)
        except Empty:
            deadline = None
            if on_slow is not None:
                on_slow()
            continue
        if not isinstance(piece, str):
            break
        for clause in splitter.push(piece):
            deadline = None
            yield clause
    if isinstance(piece, Cancelled):
        raise piece
    yield from splitter.finish()
    if piece is not None:
        raise piece


class ClauseSpeaker:
    """Speaks the clauses of one answer.

    Attributes:
        chars: characters of the answer's text so far.

    """

    def __init__(
        self, tts: TTS, request: AnswerRequest, out: AnswerSink, context: tuple[Segment, ...]
    ):
        self._tts, self._request, self._out = tts, request, out
        options: dict[str, Any] = {"context": context} if context else {}
        if request.speed != 1.0:
            options["speed"] = request.speed
        self._stream: Callable[..., Iterator[Audio]] = partial(tts.stream, **options)
        self.chars = 0
        self._clauses = 0
        self._samples = 0  # of the answer's audio so far
        self._pause = 0.0  # seconds before the next clause

    def fill(self) -> None:
        """Speak a filler, which has no place in the text."""
        text = FILLERS[self._request.seed % len(FILLERS)]
        for audio in self._stream(text, self._request.voice, self._request.seed):
            self._play(audio.samples, [])

    def say(self, clause: str) -> None:
        """Speak a clause, without words that cannot be spoken."""
        text = sayable(clause)
        start, self.chars = self.chars, self.chars + len(clause)
        if not text:
            return
        if not self._clauses:
            self._out.mark("first_clause")
        self._play(np.zeros(round(self._pause * self._tts.sample_rate), np.float32), [])
        try:
            self._synthesize(clause, text, start)
        except InputError as error:
            self._out.error("synthesis_failed", str(error))
        self._pause = clause_pause(clause)

    def _synthesize(self, clause: str, text: str, start: int) -> None:
        """Speak the `text` of a clause that begins at character `start` of the answer."""
        tts, begin = self._tts, self._samples
        seed = self._request.seed + CLAUSE_SEEDS * self._clauses
        self._clauses += 1
        spans: list[Token] = []
        for audio in self._stream(text, self._request.voice, seed):
            offset = self._samples / tts.sample_rate
            words = []
            for word in audio.words:
                if not spans:  # not before the first audio, which should not wait for it
                    sentences = tts.reader.sentences(text)
                    spoken = [word for own in sentences for word in spoken_words(own.text)]
                    spans = list(dict.fromkeys(written_tokens(clause, spoken)))
                words.append(_spoken_word(word, offset, spans[0], start))
                spans = spans[1:] or spans
            self._play(audio.samples, words)
        if not tts.has_word_times:  # then a clause counts as played when all of it was
            times = begin / tts.sample_rate, self._samples / tts.sample_rate
            end = start + len(clause.rstrip())
            self._play(np.zeros(0, np.float32), [SpokenWord(clause, *times, (start, end))])

    def _play(self, samples: np.ndarray, words: list[SpokenWord]) -> None:
        if len(samples) or words:
            self._out.audio(samples, self._tts.sample_rate, words)
            self._samples += len(samples)


def _spoken_word(word: Word, offset: float, token: Token, start: int) -> SpokenWord:
    """Return a word with times from the start of the answer's audio, and its span in the text."""
    return SpokenWord(
        word.text,
        round(word.start + offset, 6),
        round(word.end + offset, 6),
        (start + token.start, start + token.end),
    )
