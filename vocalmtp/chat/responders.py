"""Saying a text while it is being written: from the first clause on."""

import threading
from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue

import numpy as np

from vocalmtp.audio.io import Word
from vocalmtp.chat.answer import LLM, AnswerError, AnswerSink, Cancelled, Turn
from vocalmtp.chat.events import SpokenWord
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Segment
from vocalmtp.text import ClauseSplitter, normalize, sayable, word_places, word_spans
from vocalmtp.tts import PAUSES, SHORT_PAUSE, TTS, AnyVoice

Pieces = SimpleQueue[str | Exception | None]  # None: that was all

WARM_UP = "One moment, please."
CLAUSE_SEEDS = 1000  # between the seeds of two clauses: one has fewer sentences


def warm_up(tts: TTS, voice: AnyVoice) -> None:
    """Let nobody wait for what is slow only once."""
    for _ in tts.stream(WARM_UP, voice):
        pass


class CascadeResponder:
    """An `Answerer` made of one who writes and a voice.

    The writer runs in a thread of its own, so that text is shown as it comes, however long the
    speech before it takes.
    """

    hears = False

    def __init__(self, writer: LLM, tts: TTS):
        self._writer, self._tts = writer, tts
        self.name = writer.name

    def count_tokens(self, text: str) -> int:
        return self._writer.count_tokens(text)

    def answer(self, turn: Turn, out: AnswerSink) -> None:
        self._say(self._writer.write(turn.messages, out), turn, out)

    def say(self, text: str, turn: Turn, out: AnswerSink) -> None:
        self._say(iter([text]), turn, out)

    def _say(
        self, written: Iterator[str], turn: Turn, out: AnswerSink, context: tuple[Segment, ...] = ()
    ) -> None:
        """Say what is being written; `context` is for a model that answers, see Request."""
        pieces: Pieces = SimpleQueue()
        mouth = ClauseSpeaker(self._tts, turn, out, context)
        with out.on_cancel(lambda: pieces.put(Cancelled())):
            threading.Thread(target=_write, args=(written, out, pieces), daemon=True).start()
            try:
                for clause in _clauses(pieces):
                    mouth.say(clause)
            except AnswerError as error:
                out.failure(str(error))
                apology = f"{' ' if mouth.letters else ''}{error.apology}"
                out.text(apology)
                mouth.say(apology)


def _write(written: Iterator[str], out: AnswerSink, pieces: Pieces) -> None:
    """Hand the writer's text to the user and to the mouth; then None, or what went wrong."""
    letters = 0
    try:
        for piece in written:
            piece = piece[: out.longest - letters]
            letters += len(piece)
            out.text(piece)
            pieces.put(piece)
            if letters >= out.longest:
                break
        pieces.put(None)
    except Exception as error:  # raised again by the thread that speaks
        pieces.put(error)


def _clauses(pieces: Pieces) -> Iterator[str]:
    """What can be said, as soon as it can; at last what the writer raised."""
    splitter = ClauseSplitter()
    while isinstance(piece := pieces.get(), str):
        yield from splitter.push(piece)
    if isinstance(piece, Cancelled):
        raise piece
    yield from splitter.finish()
    if piece is not None:
        raise piece


class ClauseSpeaker:
    """Says the clauses of one answer."""

    def __init__(self, tts: TTS, turn: Turn, out: AnswerSink, context: tuple[Segment, ...]):
        self._tts, self._turn, self._out = tts, turn, out
        self._stream = partial(tts.stream, context=context) if context else tts.stream
        self.letters = 0  # of the answer's text so far
        self._clauses = 0
        self._samples = 0  # of the answer's audio so far
        self._pause = 0.0  # seconds before the next clause

    def say(self, clause: str) -> None:
        """Say a clause, or leave it out if it cannot be said."""
        said = sayable(clause)
        start, self.letters = self.letters, self.letters + len(clause)
        if not said:
            return
        if not self._clauses:
            self._out.mark("first_clause")
        self._silence()
        try:
            self._speak(clause, said, start)
        except InputError as error:
            self._out.failure(str(error))
        short = clause.rstrip()[-1] in ",;:\u2014\u2013"
        self._pause = SHORT_PAUSE if short else PAUSES["."]

    def _speak(self, clause: str, said: str, start: int) -> None:
        tts, begin = self._tts, self._samples
        seed = self._turn.seed + CLAUSE_SEEDS * self._clauses
        self._clauses += 1
        places: list[tuple[int, int]] = []
        for audio in self._stream(said, self._turn.voice, seed):
            offset = self._samples / tts.sample_rate
            words = []
            for word in audio.words:
                if not places:  # not before the first sound: it takes a moment
                    places = word_places(clause, len(word_spans(normalize(said))))
                words.append(_placed(word, offset, places.pop(0), start))
            self._play(audio.samples, words)
        if not tts.has_word_times:  # then a clause is known to be heard when all of it was
            times = begin / tts.sample_rate, self._samples / tts.sample_rate
            end = start + len(clause.rstrip())
            self._play(np.zeros(0, np.float32), [SpokenWord(clause, *times, (start, end))])

    def _silence(self) -> None:
        count = round(self._pause * self._tts.sample_rate)
        if count:
            self._play(np.zeros(count, np.float32), [])

    def _play(self, samples: np.ndarray, words: list[SpokenWord]) -> None:
        self._out.audio(samples, self._tts.sample_rate, words)
        self._samples += len(samples)


def _placed(word: Word, offset: float, place: tuple[int, int], start: int) -> SpokenWord:
    first, end = place
    return SpokenWord(
        word.text,
        round(word.start + offset, 6),
        round(word.end + offset, 6),
        (start + first, start + end),
    )
