"""One conversation: audio in, events out."""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from weakref import WeakSet

import numpy as np

from vocalmtp.audio.vad import FRAME_SECONDS, SAMPLE_RATE, VoiceActivityDetector
from vocalmtp.chat.answer_stream import AnswerSink, AnswerStream
from vocalmtp.chat.audio_io import AudioInput
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
from vocalmtp.chat.responders import AnswerRequest, Responder
from vocalmtp.chat.turns import Signal, TranscriptionWorker, TurnDetector, UserTurn
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.roles import Role
from vocalmtp.voices import AnyVoice

CLOSE_TIMEOUT = 10.0  # seconds that `close` waits for the session's threads

Answer = Callable[[AnswerRequest, AnswerSink], None]  # a method of a responder


class ChatSession:
    """A conversation with a responder, which other sessions may use as well.

    `feed` it audio from one thread and read `events` in another one. `responder`, `voice` and `role`
    may be assigned at any time, and count from the next answer on.

    Args:
        responder: answers the turns.
        recognizer: transcribes the turns; needed unless the responder is end-to-end.
        voice: overrides the role's voice.
        config: the settings.
        clock: returns seconds; for the playback position of answers.
        role: a persona, which replaces the system prompt, and its voice.

    Raises:
        InputError: the recognizer or the package silero-vad is missing, or the persona is too long.

    """

    def __init__(
        self,
        responder: Responder,
        recognizer: Recognizer | None = None,
        voice: AnyVoice = None,
        config: ChatConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        role: Role | None = None,
    ):
        if recognizer is None and not responder.end_to_end:
            raise InputError(
                f"recognizer: is missing; '{responder.name}' takes text only", code="missing"
            )
        self.responder, self._own_voice = responder, voice
        self.config = ChatConfig() if config is None else config
        self.history = History(self.config.system)
        self.role = role
        self.voice = role if voice is None else voice
        self.closed = False
        self._clock = clock
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._lock = threading.RLock()  # guards the following, and the order of events
        self._turn = 0  # number of the user's last turn
        self._answer: AnswerStream | None = None  # the last one, which may still be playing
        self._threads: set[threading.Thread] = set()
        self._feed_lock = threading.Lock()  # guards the following, which only `feed` uses
        self._input = AudioInput()
        self._speech_probability = VoiceActivityDetector()
        self._detector = TurnDetector(self.config)
        self._echo_gate = EchoGate(self.config.echo)
        pre_roll = self.config.pre_roll + max(self.config.onset, self.config.barge_in)
        self._pre_roll: deque[np.ndarray] = deque(maxlen=round(pre_roll / FRAME_SECONDS) + 1)
        self._trailing: list[np.ndarray] = []  # silence that may be the end of the turn
        self._user_turn: UserTurn | None = None  # None between turns
        self._worker = TranscriptionWorker(recognizer, self._on_transcript, self._on_worker_error)
        self._start_thread(self._worker.run)
        _OPEN_SESSIONS.add(self)
        self._emit(Listening())

    # -- public methods ------------------------------------------------------------------------

    def feed(self, pcm: np.ndarray | bytes, sample_rate: int = SAMPLE_RATE) -> None:
        """Process audio from the microphone, in pieces of any size.

        Args:
            pcm: [N] or [N, channels], float in [-1, 1] or int16; bytes are little-endian int16,
                mono.
            sample_rate: 8 to 96 kHz.

        Raises:
            InputError: the samples or the rate are invalid; the session continues.

        """
        with self._feed_lock:
            for frame in self._input.frames(pcm, sample_rate):
                if self.closed:
                    return
                self._process(frame)

    @property
    def role(self) -> Role | None:
        """The persona of the next answers; assigning it also assigns `voice`.

        Raises:
            InputError: the persona does not fit into the history's tokens.

        """
        return self._role

    @role.setter
    def role(self, role: Role | None) -> None:
        if role is not None:
            count = self.responder.count_tokens
            role.prompt_ids(lambda text: range(count(text)), self.config.history_tokens)
        self._role = role
        self.voice = self._own_voice if role is None else role

    def ask(self, text: str) -> None:
        """Answer a typed turn, which interrupts as speech does; raises InputError if it is empty."""
        text = text.strip()
        if not text:
            raise InputError("text: is empty; type a question", code="empty")
        with self._lock:
            if self.closed:
                return
            self.interrupt()
            self._turn += 1
            self._emit(Transcript(self._turn, text, final=True))
            self._answer_turn(self._turn, text, None)

    def greet(self) -> None:
        """Speak the role's greeting, if it has one and the conversation has not begun."""
        with self._lock:
            greeting = self.role and self.role.greeting
            if greeting and not (self.closed or self._turn or self._answer):
                say = partial(self.responder.say, greeting)
                request = AnswerRequest(messages=[], voice=self.voice, seed=self.config.seed)
                self._start_answer(say, request, 0)

    def interrupt(self) -> None:
        """Stop the answer that is being given or still playing, if there is one."""
        with self._lock:
            answer, self._answer = self._answer, None
            if answer is None or answer.is_over(self._clock()):
                return
            played_text, seconds = answer.cancel(self._clock())
            if answer.finished:
                self.history.truncate(played_text)
            elif played_text:
                self.history.add(Message("assistant", played_text, interrupted=True))
            self._emit(Interrupted(answer.turn, played_text, seconds))

    def report_playback(self, seconds: float, turn: int | None = None) -> None:
        """Set how much of an answer the player has played; without reports, the clock decides.

        Args:
            seconds: of the answer's audio.
            turn: the turn that is answered; None for the last one.

        """
        with self._lock:
            if self._answer is not None and turn in (None, self._answer.turn):
                self._answer.report_playback(seconds, self._clock())

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield events until `close`, or until there was none for `timeout` seconds."""
        while True:
            try:
                event = self._events.get(timeout=timeout)
            except Empty:
                return
            if event is None:
                return
            yield event

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """End the conversation, and wait `timeout` seconds at most for its threads to end."""
        with self._lock:
            if not self.closed:
                self.interrupt()
                self.closed = True
                self._worker.close()
                self._events.put(None)
            threads = list(self._threads)
        deadline = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(deadline - time.monotonic(), 0.0))

    def __enter__(self) -> "ChatSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- input ---------------------------------------------------------------------------------

    def _process(self, frame: np.ndarray) -> None:
        """Process the next frame [FRAME]."""
        with self._lock:
            answer, now = self._answer, self._clock()
            answering = answer is not None and not answer.is_over(now)
            playback = None if answer is None else answer.playback
            accepted = self._echo_gate.accepts(frame, playback, now)
        probability = self._speech_probability(frame)
        signal = self._detector.push(probability if accepted else 0.0, answering)
        if signal == "start":
            self._begin_turn(frame)
        elif self._user_turn is None:
            self._pre_roll.append(frame)
        else:
            self._continue_turn(self._user_turn, frame, signal)

    def _begin_turn(self, frame: np.ndarray) -> None:
        with self._lock:
            self.interrupt()
            self._turn += 1
            self._user_turn = UserTurn(self._turn)
            self._emit(SpeechStarted(self._turn))
        self._worker.push(self._user_turn, np.concatenate([*self._pre_roll, frame]))
        self._pre_roll.clear()

    def _continue_turn(self, turn: UserTurn, frame: np.ndarray, signal: Signal | None) -> None:
        """Process a frame of a turn; after a pause, silence is transcribed only if speech follows."""
        if signal in ("end", "dropped"):
            self._end_turn(turn, signal == "dropped")
            return
        if signal == "resume":
            self._worker.push(turn, np.concatenate(self._trailing))
            self._trailing.clear()
        if self._trailing:
            self._trailing.append(frame)
        else:
            self._worker.push(turn, frame)
        if signal == "pause":
            self._trailing.append(frame[:0])
            self._worker.settle(turn)

    def _end_turn(self, turn: UserTurn, dropped: bool) -> None:
        self._user_turn = None
        self._pre_roll.extend(self._trailing)
        self._trailing.clear()
        if dropped:
            with self._lock:
                turn.dropped = True
                self._emit(Listening())
            self._worker.drop(turn)
            return
        with self._lock:
            self._emit(SpeechEnded(turn.number, self._detector.length))
            self._emit(Timing(turn.number, "silence", self._detector.silence))
        self._worker.finish(turn)

    def _on_transcript(self, turn: UserTurn, final: bool, elapsed: float) -> None:
        """Emit a transcript; answer the final one, `elapsed` seconds after the end of the turn."""
        with self._lock:
            if not turn.dropped:
                self._emit(Transcript(turn.number, turn.text, final))
            if not final:
                return
            self._emit(Timing(turn.number, "recognition", elapsed))
            if not turn.text and not self.responder.end_to_end:
                self._emit(Listening())
            elif turn.number == self._turn and not self.closed:
                self._answer_turn(turn.number, turn.text, turn.samples, elapsed)
            else:  # the user has continued: one answer to both turns
                self.history.add(Message("user", turn.text))

    def _on_worker_error(self, turn: int, error: Exception) -> None:
        self._emit(Error(turn, "recognition_failed", f"Speech recognition failed: {error}"))

    # -- output --------------------------------------------------------------------------------

    def _answer_turn(
        self, turn: int, text: str, samples: np.ndarray | None, elapsed: float = 0.0
    ) -> None:
        """Answer a turn, `elapsed` seconds after its end."""
        config = self.config
        role, responder = self.role, self.responder
        self.history.system = config.system if role is None else role.system_prompt()
        self.history.add(Message("user", text))
        request = AnswerRequest(
            messages=self.history.messages(config.history_tokens, responder.count_tokens),
            voice=self.voice,
            seed=config.seed + turn,
            samples=samples,
        )
        self._start_answer(responder.answer, request, turn, elapsed)

    def _start_answer(
        self, answer: Answer, request: AnswerRequest, turn: int, elapsed: float = 0.0
    ) -> None:
        """Run `answer` in a thread of its own."""
        lock, clock = self._lock, self._clock
        out = AnswerStream(turn, self.config, self._emit, lock, clock, elapsed)
        self._answer = out
        self._start_thread(partial(self._run_answer, answer, request, out))

    def _run_answer(self, answer: Answer, request: AnswerRequest, out: AnswerStream) -> None:
        try:
            answer(request, out)
        except Exception as error:  # the session continues, whatever the responder raises
            if not out.cancelled:
                self._emit(Error(out.turn, "answer_failed", f"The answer failed: {error}"))
        with self._lock:
            if out.cancelled:
                return
            out.finished = True
            text = out.full_text.strip()
            if text:
                self.history.add(Message("assistant", text))
            self._emit(Finished(out.turn, out.full_text, out.seconds))

    def _start_thread(self, work: Callable[[], object]) -> None:
        """Do `work` in a thread for which `close` waits."""

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _emit(self, event: Event) -> None:
        with self._lock:
            if not self.closed:
                self._events.put(event)


_OPEN_SESSIONS: "WeakSet[ChatSession]" = WeakSet()


@atexit.register
def _close_sessions() -> None:
    """Close all sessions: a thread that is still in torch when Python ends aborts the process."""
    for session in list(_OPEN_SESSIONS):
        session.close()
