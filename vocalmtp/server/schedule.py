"""The requests of an engine, and whose next sentence gets a row.

Sentences of a request are decoded in turn; of the sentences that wait for a free row, that of the
client who will be out of audio first comes first.
"""

import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from vocalmtp.audio.io import Audio
from vocalmtp.decoding.synthesis import SentenceRequest

MAX_AHEAD = 30.0  # seconds of audio that a client has not taken: no further sentence is decoded

Item = Audio | Exception | None  # what a request yields; None: it is complete
Deliver = Callable[[Item], None]


class Overloaded(Exception):
    """The queue is full.

    Attributes:
        retry_after: seconds after which a request may succeed.

    """

    def __init__(self, retry_after: float):
        super().__init__("the queue is full")
        self.retry_after = retry_after


class SynthesisFailed(Exception):
    """The model has failed on a request, or the engine was closed."""


class EngineObserver(Protocol):
    """Receives the measurements of an engine, from its threads."""

    def batch(self, rows: int, waiting: int, seconds: float) -> None:
        """A step of so many rows took so many seconds, while so many sentences wait for a row."""

    def first_audio(self, seconds: float) -> None:
        """The first chunk of a request was made so many seconds after it was submitted."""

    def chunk(self, gap: float, underrun: float) -> None:
        """A later chunk came `gap` seconds after the one before, `underrun` of them too late."""

    def finished(self, outcome: str, audio: float, seconds: float) -> None:
        """A request is over ("complete", "cancelled" or "failed"): seconds of audio, and of time."""


@dataclass(eq=False)
class Job:
    """One request in the engine."""

    sentences: list[SentenceRequest]
    deliver: Deliver
    submitted: float
    number: int = 0  # of the sentence that is decoded, or that waits for a row
    cancelled: bool = False
    over: bool = False
    parked: bool = False  # the next sentence waits until the client takes audio
    made: float = 0.0  # seconds of audio
    taken: float = 0.0  # seconds of audio that the client has taken
    begun: float | None = None  # when the first chunk was made
    last: float = 0.0  # when the latest chunk was made
    dry: float = 0.0  # when the client is out of audio, if playback began with the first chunk


class Schedule:
    """All requests of an engine, under one lock.

    Args:
        rows: most sentences that are decoded together.
        queue: most requests at a time beyond `rows`; more are refused.
        observer: receives the outcome of every request.

    """

    def __init__(self, rows: int, queue: int, observer: EngineObserver | None):
        self._rows, self._queue, self._observer = rows, queue, observer
        self._lock = threading.Condition()
        self._waiting: list[tuple[float, int, Job]] = []  # a heap
        self._numbers = count()
        self._jobs: set[Job] = set()
        self.closed = False

    @property
    def active(self) -> int:
        """Number of requests that are not complete."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """Number of sentences that wait for a row."""
        return len(self._waiting)

    def add(self, job: Job) -> None:
        """Accept a request. Raises Overloaded or SynthesisFailed."""
        with self._lock:
            if self.closed:
                raise SynthesisFailed("the engine is closed")
            if len(self._jobs) >= self._rows + self._queue:
                raise Overloaded(self._retry_after())
            self._jobs.add(job)
            self._enqueue(job)

    def admit(self, free: int) -> list[Job] | None:
        """Wait for work; return the requests whose next sentence gets a row, None when closed."""
        with self._lock:
            while not (self.closed or self._waiting or free < self._rows):
                self._lock.wait()
            if self.closed:
                return None
            admitted: list[Job] = []
            while self._waiting and len(admitted) < free:
                _, _, job = heapq.heappop(self._waiting)
                if not job.over:
                    admitted.append(job)
            return admitted

    def take(self, job: Job, seconds: float) -> None:
        """Count audio that the client has taken, after which the next sentence may be due."""
        with self._lock:
            job.taken += seconds
            if job.parked and job.made - job.taken < MAX_AHEAD:
                job.parked = False
                self._enqueue(job)

    def next_sentence(self, job: Job) -> bool:
        """Let the next sentence of a request wait; return False if that was the last one."""
        with self._lock:
            job.number += 1
            if job.number == len(job.sentences):
                self._end(job, "complete")
                return False
            if job.made - job.taken < MAX_AHEAD:
                self._enqueue(job)
            else:
                job.parked = True
            return True

    def cancel(self, job: Job) -> None:
        """Drop a request."""
        with self._lock:
            if not job.over:
                job.cancelled = True
                self._end(job, "cancelled")
            self._lock.notify_all()

    def fail(self, job: Job) -> bool:
        """End a request without success; return whether it was not over yet."""
        with self._lock:
            failed = not job.over
            self._end(job, "failed")
            return failed

    def close(self) -> None:
        """Accept no more, and let `admit` return."""
        with self._lock:
            self.closed = True
            self._lock.notify_all()

    def left(self) -> list[Job]:
        """The requests that are not complete."""
        with self._lock:
            return list(self._jobs)

    def _enqueue(self, job: Job) -> None:
        deadline = job.submitted if job.begun is None else job.dry
        heapq.heappush(self._waiting, (deadline, next(self._numbers), job))
        self._lock.notify_all()

    def _end(self, job: Job, outcome: str) -> None:
        if job.over:
            return
        job.over = True
        self._jobs.discard(job)
        if self._observer:
            self._observer.finished(outcome, job.made, time.monotonic() - job.submitted)

    def _retry_after(self) -> float:
        """Seconds until a request is likely to be complete: a tenth of the oldest one's age."""
        now = time.monotonic()
        oldest = min((job.submitted for job in self._jobs), default=now)
        return 1.0 + (now - oldest) / 10
