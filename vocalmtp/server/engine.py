"""The engine of the server: the requests of all clients as rows of one running batch.

One thread decodes steps, a second one converts them to audio.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import count
from math import inf
from queue import PriorityQueue, SimpleQueue

import torch

from vocalmtp.arrays import Array
from vocalmtp.audio.io import Audio
from vocalmtp.decoding.generate import RunningBatch
from vocalmtp.decoding.streaming import SentenceStream, WholeSentence
from vocalmtp.decoding.synthesis import SentenceRequest
from vocalmtp.server.schedule import (
    Deliver,
    EngineObserver,
    Item,
    Job,
    Schedule,
    SynthesisFailed,
)
from vocalmtp.tts import TTS

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Row:
    """A sentence that is being decoded."""

    job: Job
    sentence: SentenceRequest
    spoken: SentenceStream | WholeSentence


_Steps = tuple[_Row, Array, bool]  # tokens of steps, and whether they are the last


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
        self._schedule = Schedule(rows, queue, observer)
        self._numbers = count()
        # Steps to convert: first those of the client that is out of audio soonest.
        self._steps: PriorityQueue[tuple[float, int, _Steps | None]] = PriorityQueue(4 * rows)
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
        job = Job(sentences, deliver, time.monotonic())
        self._schedule.add(job)
        return job

    def cancel(self, job: Job) -> None:
        """Drop a request: nothing more is delivered, and its row leaves the batch."""
        self._schedule.cancel(job)

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
            self._schedule.take(job, item.duration)
        return item

    @property
    def active(self) -> int:
        """Number of requests that are not complete."""
        return self._schedule.active

    def close(self) -> None:
        """Fail all requests, and end the threads."""
        self._schedule.close()
        for thread in self._threads:
            thread.join()

    # -- the threads -------------------------------------------------------------------------------

    def _run(self, work: Callable[[], None], threads: int) -> None:
        torch.set_num_threads(threads)
        try:
            work()
        except Exception:
            logger.exception("a thread of the engine has ended")
            self._schedule.close()
        self._fail(self._schedule.left(), SynthesisFailed("the engine was closed"))

    def _decode(self) -> None:
        """Decode steps until the engine is closed."""
        batch, rows = self._new_batch(), dict[int, _Row]()
        try:
            while (admitted := self._schedule.admit(self.rows - len(rows))) is not None:
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
                    self._observer.batch(len(batch.rows), self._schedule.waiting, seconds)
        finally:
            self._steps.put((inf, next(self._numbers), None))

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
                deadline = row.job.submitted if row.job.begun is None else row.job.dry
                self._steps.put((deadline, next(self._numbers), (row, tokens, finished)))

    def _convert(self) -> None:
        """Convert steps to audio until the engine is closed."""
        while (steps := self._steps.get()[2]) is not None:
            row, tokens, finished = steps
            if row.job.over or self._schedule.closed:
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
            if finished and not self._schedule.next_sentence(row.job) and not row.job.cancelled:
                self._send(row.job, None)

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
            if self._schedule.fail(job):
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
