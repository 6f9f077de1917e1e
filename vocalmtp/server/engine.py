"""The engine of the server: the requests of all clients as rows of one running batch.

One thread decodes steps, a second one converts them to audio. Sentences of a request are decoded in
turn; of the sentences that wait for a free row, that of the client who will be out of audio first
comes first.
"""

import asyncio
import heapq
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from dataclasses import dataclass, field
from itertools import count
from queue import Queue, SimpleQueue
from typing import Protocol

import torch

from vocalmtp.arrays import Array
from vocalmtp.audio.io import Audio
from vocalmtp.decoding.generate import RunningBatch
from vocalmtp.decoding.streaming import SentenceStream, WholeSentence
from vocalmtp.decoding.synthesis import SentenceRequest
from vocalmtp.tts import TTS

logger = logging.getLogger(__name__)

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


@dataclass(eq=False)
class _Row:
    """A sentence that is being decoded."""

    job: Job
    sentence: SentenceRequest
    spoken: SentenceStream | WholeSentence


@dataclass
class _Shared:
    """What the threads of an engine share, under one lock."""

    lock: threading.Condition = field(default_factory=threading.Condition)
    waiting: list[tuple[float, int, Job]] = field(default_factory=list)  # a heap
    jobs: set[Job] = field(default_factory=set)
    closed: bool = False


class SpeechEngine:
    """Decodes any number of requests at a time with one model.

    Args:
        tts: the model; its decoding options apply to all requests.
        rows: most sentences that are decoded together.
        queue: most requests at a time beyond `rows`; more are refused.
        observer: receives measurements.

    """

    def __init__(
        self, tts: TTS, rows: int = 16, queue: int = 64, observer: EngineObserver | None = None
    ):
        self.tts, self.rows, self.queue = tts, rows, queue
        self._observer = observer
        self._shared = _Shared()
        self._numbers = count()
        self._steps: Queue[tuple[_Row, Array, bool] | None] = Queue(4 * rows)
        threads = tts.threads or torch.get_num_threads()  # a new thread would use all cores
        self._threads = [
            threading.Thread(target=self._run, args=(work, threads), name=name, daemon=True)
            for name, work in (("decode", self._decode), ("codec", self._convert))
        ]
        for thread in self._threads:
            thread.start()

    # -- for clients -------------------------------------------------------------------------------

    def submit(self, sentences: list[SentenceRequest], deliver: Deliver) -> Job:
        """Queue the sentences of a request.

        Args:
            sentences: of `TTS.plan`, one or more.
            deliver: is called from a thread of the engine with every chunk of audio, and at the end
                with None or an exception. It must not block.

        Raises:
            Overloaded: the queue is full.
            SynthesisFailed: the engine is closed.

        """
        shared = self._shared
        with shared.lock:
            if shared.closed:
                raise SynthesisFailed("the engine is closed")
            if len(shared.jobs) >= self.rows + self.queue:
                raise Overloaded(self._retry_after())
            job = Job(sentences, deliver, time.monotonic())
            shared.jobs.add(job)
            self._enqueue(job)
        return job

    def cancel(self, job: Job) -> None:
        """Drop a request: nothing more is delivered, and its row leaves the batch."""
        with self._shared.lock:
            if not job.over:
                job.cancelled = True
                self._end(job, "cancelled")
            self._shared.lock.notify_all()

    def stream(self, sentences: list[SentenceRequest]) -> Generator[Audio, None, None]:
        """Submit a request and yield its chunks; closing the iterator cancels it.

        Raises:
            Overloaded: the queue is full.
            SynthesisFailed: the model has failed, or the engine is closed.

        """
        items: SimpleQueue[Item] = SimpleQueue()
        job = self.submit(sentences, items.put)
        try:
            while (chunk := self._take(job, items.get())) is not None:
                yield chunk
        finally:
            self.cancel(job)

    async def stream_async(self, sentences: list[SentenceRequest]) -> AsyncGenerator[Audio]:
        """As `stream`, for an event loop."""
        loop, items = asyncio.get_running_loop(), asyncio.Queue[Item]()

        def deliver(item: Item) -> None:
            loop.call_soon_threadsafe(items.put_nowait, item)

        job = self.submit(sentences, deliver)
        try:
            while (chunk := self._take(job, await items.get())) is not None:
                yield chunk
        finally:
            self.cancel(job)

    def _take(self, job: Job, item: Item) -> Audio | None:
        """Return a chunk that the client takes, or raise what it was sent instead."""
        if isinstance(item, Exception):
            raise item
        if item is not None:
            with self._shared.lock:
                job.taken += item.duration
                if job.parked and job.made - job.taken < MAX_AHEAD:
                    job.parked = False
                    self._enqueue(job)
        return item

    @property
    def active(self) -> int:
        """Number of requests that are not complete."""
        return len(self._shared.jobs)

    def close(self) -> None:
        """Fail all requests, and end the threads."""
        with self._shared.lock:
            self._shared.closed = True
            self._shared.lock.notify_all()
        for thread in self._threads:
            thread.join()

    # -- under the lock ----------------------------------------------------------------------------

    def _enqueue(self, job: Job) -> None:
        """Let the next sentence of a job wait for a row."""
        deadline = job.submitted if job.begun is None else job.dry
        heapq.heappush(self._shared.waiting, (deadline, next(self._numbers), job))
        self._shared.lock.notify_all()

    def _end(self, job: Job, outcome: str) -> None:
        if job.over:
            return
        job.over = True
        self._shared.jobs.discard(job)
        if self._observer:
            self._observer.finished(outcome, job.made, time.monotonic() - job.submitted)

    def _retry_after(self) -> float:
        """Seconds until a request is likely to be complete: a tenth of the oldest one's age."""
        now = time.monotonic()
        oldest = min((job.submitted for job in self._shared.jobs), default=now)
        return 1.0 + (now - oldest) / 10

    def _admit(self, free: int) -> list[Job] | None:
        """Wait for work; return the jobs whose next sentence gets a row, None when closed."""
        shared = self._shared
        with shared.lock:
            while not (shared.closed or shared.waiting or free < self.rows):
                shared.lock.wait()
            if shared.closed:
                return None
            admitted: list[Job] = []
            while shared.waiting and len(admitted) < free:
                _, _, job = heapq.heappop(shared.waiting)
                if not job.over:
                    admitted.append(job)
            return admitted

    # -- the threads -------------------------------------------------------------------------------

    def _run(self, work: Callable[[], None], threads: int) -> None:
        torch.set_num_threads(threads)
        try:
            work()
        except Exception:
            logger.exception("a thread of the engine has ended")
            with self._shared.lock:
                self._shared.closed = True
        with self._shared.lock:
            left = list(self._shared.jobs)
        self._fail(left, SynthesisFailed("the engine was closed"))

    def _decode(self) -> None:
        """Decode steps until the engine is closed."""
        batch, rows = self._new_batch(), dict[int, _Row]()
        try:
            while (admitted := self._admit(self.rows - len(rows))) is not None:
                batch.remove([number for number, row in rows.items() if row.job.cancelled])
                rows = {number: row for number, row in rows.items() if not row.job.cancelled}
                rows |= self._begin(batch, admitted)
                begin = time.monotonic()
                try:
                    self._step(batch, rows)
                except Exception:
                    logger.exception("a step of the batch has failed")
                    self._fail([row.job for row in rows.values()], _failure())
                    batch, rows = self._new_batch(), {}
                if self._observer:
                    seconds = time.monotonic() - begin
                    self._observer.batch(len(batch.rows), len(self._shared.waiting), seconds)
        finally:
            self._steps.put(None)

    def _new_batch(self) -> RunningBatch:
        return RunningBatch(self.tts.model, self.tts.decoding.strategy(self.tts.statistics))

    def _begin(self, batch: RunningBatch, jobs: list[Job]) -> dict[int, _Row]:
        """Add the next sentences of jobs to the batch; return the rows by number."""
        rows: dict[int, _Row] = {}
        try:
            for job in jobs:
                sentence = job.sentences[job.number]
                row = _Row(job, sentence, self.tts.open_stream(sentence))
                rows[next(self._numbers)] = row
            batch.add({number: self.tts.prompt(row.sentence) for number, row in rows.items()})
        except Exception:
            logger.exception("a prompt has failed")
            self._fail(jobs, _failure())
            return {}
        return rows

    def _step(self, batch: RunningBatch, rows: dict[int, _Row]) -> None:
        """Run a forward pass, and pass the steps on; rows that have ended leave `rows`."""
        for event in batch.step():
            ready = zip(event.rows, event.tokens, event.finished, strict=True)
            for number, tokens, finished in ready:
                row = rows.pop(number) if finished else rows[number]
                self._steps.put((row, tokens, finished))

    def _convert(self) -> None:
        """Convert steps to audio until the engine is closed."""
        while (entry := self._steps.get()) is not None:
            row, tokens, finished = entry
            if row.job.over:
                continue
            try:
                with torch.inference_mode(), self.tts.statistics.timed("tokenizer"):
                    chunk = row.spoken.push(tokens)
                    parts = [] if chunk is None else [chunk]
                    if finished:
                        parts.append(row.spoken.finish())
            except Exception:
                logger.exception("the tokenizer has failed")
                self._fail([row.job], _failure())
                continue
            for part in parts:
                self._deliver(row.job, part)
            if finished:
                self._next_sentence(row.job)

    def _next_sentence(self, job: Job) -> None:
        """Queue the next sentence of a job, or end it."""
        with self._shared.lock:
            job.number += 1
            more = job.number < len(job.sentences)
            if not more:
                self._end(job, "complete")
            elif job.made - job.taken < MAX_AHEAD:
                self._enqueue(job)
            else:
                job.parked = True
        if not more and not job.cancelled:
            self._send(job, None)

    def _deliver(self, job: Job, audio: Audio) -> None:
        """Measure a chunk and send it."""
        now = time.monotonic()
        if job.begun is None:
            job.begun = job.dry = now
            if self._observer:
                self._observer.first_audio(now - job.submitted)
        elif self._observer:
            self._observer.chunk(now - job.last, max(0.0, now - job.dry))
        job.last, job.dry = now, max(now, job.dry) + audio.duration
        job.made += audio.duration
        self._send(job, audio)

    def _send(self, job: Job, item: Item) -> None:
        try:
            job.deliver(item)
        except Exception:  # in whatever way the client is gone
            self.cancel(job)

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        for job in jobs:
            with self._shared.lock:
                over = job.over
                self._end(job, "failed")
            if not over:
                self._send(job, error)


def _failure() -> SynthesisFailed:
    return SynthesisFailed("the model has failed on this request")


class EngineTTS(TTS):
    """A TTS whose streams are rows of an engine's batch; `engine.tts` is the model behind it."""

    def __init__(self, engine: SpeechEngine):
        tts = engine.tts
        super().__init__(
            tts.full_model,
            tts.tokenizer,
            tts.voices,
            tts.card,
            tts.encode_text,
            tts.speaker_conditioning,
            tts.decoding,
            tts.decode_text,
            tts.threads,
            tts.reader,
            tts.prompt_format,
        )
        self.engine = engine

    def stream_sentences(
        self, sentences: Iterable[SentenceRequest]
    ) -> Generator[Audio, None, None]:
        """Yield the chunks of the sentences, see `SpeechEngine.stream`.

        Sentences that arrive one by one are requests of their own.
        """
        if isinstance(sentences, list):
            yield from self.engine.stream(sentences)
            return
        for sentence in sentences:
            yield from self.engine.stream([sentence])
