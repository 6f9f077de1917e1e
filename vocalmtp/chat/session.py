"""One conversation: sound in, events out."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue

import numpy as np

from vocalmtp.audio.vad import FRAME_SECONDS, SAMPLE_RATE, VoiceActivityDetector
from vocalmtp.chat.answer import AnswerSink, Responder, Turn
from vocalmtp.chat.answer_stream import AnswerStream
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.echo_gate import EchoGate
from vocalmtp.chat.events import (
    Error,
    Event,
    Finished,
    Interrupted,
    Listening,
    SpeechEnded,
    SpeechStarted,
    Timing,
    Transcript,
)
from vocalmtp.chat.history import History, Message
from vocalmtp.chat.microphone import Microphone
from vocalmtp.chat.transcription import TranscriptionWorker, UserTurn
from vocalmtp.chat.turns import Signal, TurnDetector
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.roles import Role
from vocalmtp.tts import AnyVoice

Give = Callable[[Turn, AnswerSink], None]  # says one answer


class ChatSession:
    """A conversation with `answerer`, who may be that of any number of others.

    `feed` it the microphone from one thread and read `events` in another; what answers, and what
    hears, runs in threads of the session. `ear` turns speech into text; only an answerer that hears
    by itself can do without. A `role` is a persona and its voice, unless `voice` is another one.
    `answerer`, `voice` and `role` may be changed at any time, for the next answer. `clock` gives
    seconds.

    Raises InputError if the ear is missing, or silero-vad is, or the role does not fit.
    """

    def __init__(
        self,
        answerer: Responder,
        ear: Recognizer | None = None,
        voice: AnyVoice = None,
        config: ChatConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        role: Role | None = None,
    ):
        if ear is None and not answerer.hears:
            raise InputError(
                f"ear: is missing; '{answerer.name}' reads what was said", code="missing"
            )
        self.answerer, self._own_voice = answerer, voice
        self.config = ChatConfig() if config is None else config
        self.history = History(self.config.system)
        self.role = role
        self.voice = role if voice is None else voice
        self._clock = clock
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._lock = threading.RLock()  # over what follows, and the order of events
        self._number = 0  # of the user's turns so far
        self._answer: AnswerStream | None = None  # the last one, which may still be sounding
        self.closed = False  # no more events
        self._feeding = threading.Lock()  # over what only `feed` uses:
        self._microphone = Microphone()
        self._detect_voice = VoiceActivityDetector()
        self._turns = TurnDetector(self.config)
        self._guard = EchoGate(self.config.echo)
        lead_in = self.config.lead_in + max(self.config.onset, self.config.barge_in)
        self._before: deque[np.ndarray] = deque(maxlen=round(lead_in / FRAME_SECONDS) + 1)
        self._held: list[np.ndarray] = []  # silence that may be the end of the turn
        self._heard: UserTurn | None = None  # the turn that the user is at
        self._listener = TranscriptionWorker(ear, self._report, self._failed)
        self._emit(Listening())

    # -- what users call -----------------------------------------------------------------------

    def feed(self, pcm: np.ndarray | bytes, sample_rate: int = SAMPLE_RATE) -> None:
        """Take in sound from the microphone, in pieces of any size, at 8 to 96 kHz.

        `pcm` is [N] or [N, channels], float in [-1, 1] or int16; bytes are int16, mono, in little
        endian. Raises InputError for anything else; the session goes on.
        """
        with self._feeding:
            frames = self._microphone.frames(pcm, sample_rate)
            for frame in frames:
                if self.closed:
                    return
                self._listen(frame)

    @property
    def role(self) -> Role | None:
        """Who answers, from the next answer on; setting it sets `voice` as well.

        Raises InputError if the persona leaves no place in the history's tokens.
        """
        return self._role

    @role.setter
    def role(self, role: Role | None) -> None:
        if role is not None:
            count = self.answerer.count_tokens
            role.prompt_ids(lambda text: range(count(text)), self.config.history_tokens)
        self._role = role
        self.voice = self._own_voice if role is None else role

    def ask(self, text: str) -> None:
        """Take a typed turn of the user; it interrupts as speech does.

        Raises InputError if it is empty.
        """
        if not text.strip():
            raise InputError("text: is empty; type a question", code="empty")
        with self._lock:
            if self.closed:
                return
            self.interrupt()
            self._number += 1
            self._emit(Transcript(self._number, text.strip(), final=True))
            self._begin_answer(self._number, text.strip(), None)

    def greet(self) -> None:
        """Have the role say its greeting; nothing, if it has none or something was said before."""
        with self._lock:
            greeting = self.role and self.role.greeting
            if greeting and not (self.closed or self._number or self._answer):
                say = partial(self.answerer.say, greeting)
                self._begin(say, Turn(messages=[], voice=self.voice, seed=self.config.seed), 0)

    def interrupt(self) -> None:
        """Break off the answer, if one is being given or still sounds."""
        with self._lock:
            answer, self._answer = self._answer, None
            if answer is None or answer.over(self._clock()):
                return
            heard, seconds = answer.cancel(self._clock())
            if answer.finished:
                self.history.cut(heard)
            elif heard:
                self.history.add(Message("assistant", heard, interrupted=True))
            self._emit(Interrupted(answer.number, heard, seconds))

    def played(self, seconds: float, turn: int | None = None) -> None:
        """The player has played so much of the answer (to `turn`, if it knows).

        Without such reports, the clock is believed.
        """
        with self._lock:
            if self._answer is not None and turn in (None, self._answer.number):
                self._answer.played(seconds, self._clock())

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """What happens, until `close`, or until nothing has happened for `timeout` seconds."""
        while True:
            try:
                event = self._events.get(timeout=timeout)
            except Empty:
                return
            if event is None:
                return
            yield event

    def close(self) -> None:
        """End the conversation: whatever runs for it ends soon, and `events` at once."""
        with self._lock:
            if self.closed:
                return
            self.interrupt()
            self.closed = True
            self._listener.close()
            self._events.put(None)

    def __enter__(self) -> "ChatSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- hearing -------------------------------------------------------------------------------

    def _listen(self, frame: np.ndarray) -> None:
        """Take in the next frame [FRAME]."""
        with self._lock:
            answer, now = self._answer, self._clock()
            answering = answer is not None and not answer.over(now)
            playback = None if answer is None else answer.playback
            may_be_user = self._guard.passes(frame, playback, now)
        probability = self._detect_voice(frame)
        signal = self._turns.push(probability if may_be_user else 0.0, answering)
        if signal == "start":
            self._start(frame)
        elif self._heard is None:
            self._before.append(frame)
        else:
            self._go_on(self._heard, frame, signal)

    def _start(self, frame: np.ndarray) -> None:
        with self._lock:
            self.interrupt()
            self._number += 1
            self._heard = UserTurn(self._number)
            self._emit(SpeechStarted(self._number))
        self._listener.push(self._heard, np.concatenate([*self._before, frame]))
        self._before.clear()

    def _go_on(self, heard: UserTurn, frame: np.ndarray, signal: Signal | None) -> None:
        """The next frame of a turn; after a pause, silence is only heard if speech follows."""
        if signal in ("end", "dropped"):
            self._end(heard, signal == "end")
            return
        if signal == "resume":
            self._listener.push(heard, np.concatenate(self._held))
            self._held.clear()
        if self._held:
            self._held.append(frame)
        else:
            self._listener.push(heard, frame)
        if signal == "pause":
            self._held.append(frame[:0])
            self._listener.settle(heard)

    def _end(self, heard: UserTurn, spoken: bool) -> None:
        self._heard = None
        self._before.extend(self._held)
        self._held.clear()
        if not spoken:
            with self._lock:
                heard.dropped = True
                self._emit(Listening())
            self._listener.drop(heard)
            return
        with self._lock:
            self._emit(SpeechEnded(heard.number, self._turns.length))
            self._emit(Timing(heard.number, "silence", self._turns.silence))
        self._listener.finish(heard)

    def _report(self, heard: UserTurn, final: bool, seconds: float) -> None:
        """From the listener: what it has heard."""
        with self._lock:
            if not heard.dropped:
                self._emit(Transcript(heard.number, heard.text, final))
            if not final:
                return
            self._emit(Timing(heard.number, "ear", seconds))
            if not heard.text and not self.answerer.hears:
                self._emit(Listening())
            elif heard.number == self._number and not self.closed:
                self._begin_answer(heard.number, heard.text, heard.samples, seconds)
            else:  # the user has gone on: one answer to all of it
                self.history.add(Message("user", heard.text))

    def _failed(self, number: int, error: Exception) -> None:
        self._emit(Error(number, f"I could not hear that: {error}"))

    # -- answering -----------------------------------------------------------------------------

    def _begin_answer(
        self, number: int, text: str, samples: np.ndarray | None, late: float = 0.0
    ) -> None:
        """Answer turn `number`; `late` seconds have gone since its end."""
        config = self.config
        role, answerer = self.role, self.answerer
        self.history.system = config.system if role is None else role.system_prompt()
        self.history.add(Message("user", text))
        turn = Turn(
            messages=self.history.messages(config.history_tokens, answerer.count_tokens),
            voice=self.voice,
            seed=config.seed + number,
            samples=samples,
        )
        self._begin(answerer.answer, turn, number, late)

    def _begin(self, give: Give, turn: Turn, number: int, late: float = 0.0) -> None:
        """Let `give` speak in a thread of its own."""
        lock, clock = self._lock, self._clock
        self._answer = AnswerStream(number, self.config, self._emit, lock, clock, late)
        arguments = (give, turn, self._answer)
        threading.Thread(target=self._give, args=arguments, daemon=True).start()

    def _give(self, give: Give, turn: Turn, out: AnswerStream) -> None:
        try:
            give(turn, out)
        except Exception as error:  # the session lives, whatever the answerer does
            if not out.cancelled:
                self._emit(Error(out.number, f"I could not answer that: {error}"))
        with self._lock:
            if out.cancelled:
                return
            out.finished = True
            if out.written.strip():
                self.history.add(Message("assistant", out.written.strip()))
            self._emit(Finished(out.number, out.written, out.seconds))

    def _emit(self, event: Event) -> None:
        with self._lock:
            if not self.closed:
                self._events.put(event)
