"""One conversation: audio in, events out."""

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakSet

import numpy as np

from vocalmtp.audio.vad import SAMPLE_RATE
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
from vocalmtp.chat.responders import AnswerOptions, AnswerRequest, Responder
from vocalmtp.chat.turn_input import TurnInput
from vocalmtp.chat.turns import TranscriptionWorker, UserTurn
from vocalmtp.config import parse
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.roles import Role
from vocalmtp.voices import AnyVoice

CLOSE_TIMEOUT = 10.0  # seconds that `close` waits for the session's threads

Answer = Callable[[AnswerRequest, AnswerSink], None]  # a method of a responder


class ChatSession:
    """A conversation with a responder, which other sessions may use as well.

    `feed` it audio from one thread and read `events` in another one. `responder`, `voice`, `role` and
    `tools` (functions that the language model may call, in the form of OpenAI's chat completions) may
    be assigned at any time, and count from the next answer on.

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
        self.tools: tuple[dict[str, Any], ...] = ()
        self.role = role
        self.voice = role if voice is None else voice
        self.closed = False
        self._clock = clock
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._listener: Callable[[Event], None] = self._events.put
        self.lock = threading.RLock()  # guards the following, and the order of events
        self._turn = 0  # number of the user's last turn
        self._untranscribed = 0  # turns that have ended
        self._requested: tuple[int, AnswerOptions] | None = None  # answer that waits for them
        self._answer: AnswerStream | None = None  # the last one, which may still be playing
        self._last_answer: AnswerStream | None = None  # also after it was interrupted
        self._threads: set[threading.Thread] = set()
        self._feed_lock = threading.Lock()  # guards the following, which only `feed` uses
        self._input = AudioInput()
        self._echo_gate = EchoGate(self.config.echo)
        self._worker = TranscriptionWorker(recognizer, self._on_transcript, self._on_worker_error)
        self._turns = TurnInput(self.config, self._worker, self._begin_turn, self._end_turn)
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
        with self.lock:
            if self.closed:
                return
            self.interrupt()
            self._turn += 1
            self._emit(Transcript(self._turn, text, final=True))
            self.history.add(Message("user", text))
            self._answer_history(self._turn, AnswerOptions())

    def respond(self, options: AnswerOptions | None = None) -> int:
        """Answer the history as it is, as soon as all turns of it are transcribed.

        Returns:
            The number of the answer's turn.

        """
        with self.lock:
            self._turn += 1
            options = AnswerOptions() if options is None else options
            if self._untranscribed:
                self._requested = self._turn, options
            else:
                self._answer_history(self._turn, options)
            return self._turn

    def end_turn(self) -> bool:
        """End the user's turn now; return whether there was one."""
        with self._feed_lock:
            return self._turns.end_turn()

    def drop_turn(self) -> None:
        """Discard the turn that the user has begun."""
        with self._feed_lock:
            self._turns.drop_turn()

    def configure(self, **settings: Any) -> None:
        """Change settings, fields of `ChatConfig`. Raises InputError if one is invalid."""
        config = parse(ChatConfig, self.config.model_dump() | settings, "chat")
        with self._feed_lock:
            self.config = config
            self._turns.configure(config)

    def played_text(self, turn: int, seconds: float) -> str | None:
        """Return the text of the last answer until `seconds`; None if `turn` is another one."""
        with self.lock:
            last = self._last_answer
            return last.text_until(seconds) if last and last.turn == turn else None

    def greet(self) -> None:
        """Speak the role's greeting, if it has one and the conversation has not begun."""
        with self.lock:
            greeting = self.role and self.role.greeting
            if greeting and not (self.closed or self._turn or self._answer):
                say = partial(self.responder.say, greeting)
                request = AnswerRequest(messages=[], voice=self.voice, seed=self.config.seed)
                self._start_answer(say, request, 0)

    def interrupt(self) -> None:
        """Stop the answer that is being given or still playing, if there is one."""
        with self.lock:
            if self._requested is not None:
                self._emit(Interrupted(self._requested[0], "", 0.0))
                self._requested = None
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
        with self.lock:
            if self._answer is not None and turn in (None, self._answer.turn):
                self._answer.report_playback(seconds, self._clock())

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every further event, under `lock`, in place of `events`."""
        self._listener = listener

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
        with self.lock:
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
        with self.lock:
            answer, now = self._answer, self._clock()
            answering = answer is not None and not answer.is_over(now)
            playback = None if answer is None else answer.playback
            accepted = self._echo_gate.accepts(frame, playback, now)
        self._turns.push(frame, accepted, answering)

    def _begin_turn(self, start: float) -> UserTurn:
        with self.lock:
            if self.config.interruptible:
                self.interrupt()
            self._turn += 1
            self._emit(SpeechStarted(self._turn, start))
            return UserTurn(self._turn, start)

    def _end_turn(self, turn: UserTurn, end: float, dropped: bool) -> None:
        with self.lock:
            turn.dropped = dropped
            if dropped:
                self._emit(Listening())
                return
            self._untranscribed += 1
            self._emit(SpeechEnded(turn.number, end - turn.start, end))
            if self.config.detect_turns:
                self._emit(Timing(turn.number, "silence", self._turns.silence))

    def _on_transcript(self, turn: UserTurn, final: bool, elapsed: float) -> None:
        """Emit a transcript; answer the final one, `elapsed` seconds after the end of the turn."""
        with self.lock:
            if not turn.dropped:
                self._emit(Transcript(turn.number, turn.text, final))
            if not final:
                return
            self._emit(Timing(turn.number, "recognition", elapsed))
            self._untranscribed -= 1
            if turn.text or self.responder.end_to_end:
                self.history.add(Message("user", turn.text, spoken=True))
            if self._requested is not None and not self._untranscribed:
                (number, options), self._requested = self._requested, None
                self._answer_history(number, options, turn.samples, elapsed)
            elif not (turn.text or self.responder.end_to_end):
                self._emit(Listening())
            elif turn.number == self._turn and self.config.answer_turns:
                self._answer_history(turn.number, AnswerOptions(), turn.samples, elapsed)
            # else: the user has continued, and both turns get one answer

    def _on_worker_error(self, turn: int, error: Exception) -> None:
        self._emit(Error(turn, "recognition_failed", f"Speech recognition failed: {error}"))

    # -- output --------------------------------------------------------------------------------

    def _answer_history(
        self,
        turn: int,
        options: AnswerOptions,
        samples: np.ndarray | None = None,
        elapsed: float = 0.0,
    ) -> None:
        """Answer the last message, `elapsed` seconds after the end of its turn."""
        if self.closed:
            return
        self.interrupt()
        config, role, responder = self.config, self.role, self.responder
        system = config.system if role is None else role.system_prompt()
        self.history.system = system if options.system is None else options.system
        request = AnswerRequest(
            messages=self.history.messages(config.history_tokens, responder.count_tokens),
            voice=self.voice,
            seed=config.seed + turn,
            samples=samples,
            spoken=options.spoken,
            filler=config.filler,
            speed=config.speed,
        )
        self._start_answer(responder.answer, request, turn, elapsed)

    def _start_answer(
        self, answer: Answer, request: AnswerRequest, turn: int, elapsed: float = 0.0
    ) -> None:
        """Run `answer` in a thread of its own."""
        lock, clock = self.lock, self._clock
        out = AnswerStream(turn, self.config, self._emit, lock, clock, elapsed, self.tools)
        self._answer = self._last_answer = out
        self._start_thread(partial(self._run_answer, answer, request, out))

    def _run_answer(self, answer: Answer, request: AnswerRequest, out: AnswerStream) -> None:
        try:
            answer(request, out)
        except Exception as error:  # the session continues, whatever the responder raises
            if not out.cancelled:
                self._emit(Error(out.turn, "answer_failed", f"The answer failed: {error}"))
        with self.lock:
            if out.cancelled:
                return
            out.finished = True
            text = out.full_text.strip()
            if text or out.calls:
                self.history.add(Message("assistant", text, calls=tuple(out.calls)))
            self._emit(Finished(out.turn, out.full_text, out.seconds))

    def _start_thread(self, work: Callable[[], object]) -> None:
        """Do `work` in a thread for which `close` waits."""

        def run() -> None:
            try:
                work()
            finally:
                with self.lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        with self.lock:
            self._threads.add(thread)
        thread.start()

    def _emit(self, event: Event) -> None:
        with self.lock:
            if not self.closed:
                self._listener(event)


_OPEN_SESSIONS: "WeakSet[ChatSession]" = WeakSet()


@atexit.register
def _close_sessions() -> None:
    """Close all sessions: a thread that is still in torch when Python ends aborts the process."""
    for session in list(_OPEN_SESSIONS):
        session.close()
