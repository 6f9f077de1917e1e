"""The thread in which a session's ear hears, so that taking in sound never waits for it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Literal

import numpy as np

from vocalmtp.recognizers.base import Recognizer, RecognizerStream

Command = Literal["push", "settle", "finish", "drop"]


@dataclass
class UserTurn:
    """A turn of the user, as it is heard."""

    number: int
    text: str = ""
    parts: list[np.ndarray] = field(default_factory=list)  # float32 [n], one after the other
    hearing: RecognizerStream | None = None  # until it is closed
    failed: bool = False  # the ear has: nothing more is asked of it
    dropped: bool = False  # it was a noise

    @property
    def samples(self) -> np.ndarray:
        """All of it, float32 [N]."""
        return np.concatenate(self.parts)


class TranscriptionWorker:
    """Hears the turns of one session in order, with an ear or, for who hears by himself, without.

    In its thread it calls `report(heard, final, seconds)` with what is new, and at the end of a
    turn, with how long after the turn's end that is; and `failed(number, error)` if the ear fails.
    """

    def __init__(
        self,
        ear: Recognizer | None,
        report: Callable[[UserTurn, bool, float], object],
        failed: Callable[[int, Exception], object],
    ):
        self._ear, self._report, self._failed = ear, report, failed
        self._commands: SimpleQueue[tuple[Command, UserTurn, np.ndarray | float] | None] = (
            SimpleQueue()
        )
        threading.Thread(target=self._run, daemon=True).start()

    def push(self, heard: UserTurn, samples: np.ndarray) -> None:
        """More of a turn."""
        self._commands.put(("push", heard, samples))

    def settle(self, heard: UserTurn) -> None:
        """The user is silent: what was heard may be all."""
        self._commands.put(("settle", heard, 0.0))

    def finish(self, heard: UserTurn) -> None:
        """The turn is over."""
        self._commands.put(("finish", heard, time.perf_counter()))

    def drop(self, heard: UserTurn) -> None:
        """It was no turn."""
        self._commands.put(("drop", heard, 0.0))

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._commands.put(None)

    def _run(self) -> None:
        heard = None
        while (item := self._commands.get()) is not None:
            command, heard, value = item
            try:
                text = self._hear(command, heard, value)
            except Exception as error:  # the session lives, whatever the ear does
                heard.failed, heard.hearing = True, None
                self._failed(heard.number, error)
                text = heard.text
            final = command == "finish"
            if final or text != heard.text:
                heard.text = text
                late = time.perf_counter() - value if final else 0.0
                self._report(heard, final, late)
        if heard is not None and heard.hearing is not None:
            heard.hearing.close()

    def _hear(self, command: Command, heard: UserTurn, value: np.ndarray | float) -> str:
        """Do as the command says; what was said so far."""
        if command == "push":
            heard.parts.append(value)
        if self._ear is None or heard.failed:
            return heard.text
        if heard.hearing is None:
            heard.hearing = self._ear.open_stream()
        if command == "push":
            heard.hearing.push(value)
        text = heard.text
        # While it lags behind, to ask what it has heard so far would only make it lag more.
        if command != "drop" and (command != "push" or self._commands.empty()):
            text = heard.hearing.text(settled=command != "push")
        if command in ("finish", "drop"):
            heard.hearing.close()
            heard.hearing = None
        return text
