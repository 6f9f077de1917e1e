"""A batch on several processes of one machine.

The parent process distributes items and is the only one that writes. A worker that dies is
replaced, and its items are distributed again one by one, so that an item that crashes its worker is
identified and fails alone.
"""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from queue import Empty, SimpleQueue
from threading import Thread

from vocalmtp.batch.items import Item
from vocalmtp.batch.job import Job
from vocalmtp.batch.synthesizer import BatchSynthesizer, Result
from vocalmtp.errors import InputError

MAX_CRASHES = 3  # of workers with the same item, until it fails
MAX_FAILED_STARTS = 3  # consecutive workers that died before they were ready


class _Worker:
    """One process, and its items by line."""

    def __init__(self, job: Job):
        context = get_context("spawn")  # the threads of torch do not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, job), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe closes when the process ends
        self.ready = False
        self.items: dict[int, Item] = {}

    def give(self, item: Item) -> None:
        self.items[item.line] = item
        with suppress(OSError):  # of a dead worker, which the next read reports
            self.connection.send(item)

    def end(self) -> None:
        self.connection.close()  # ends the worker, unless it hangs
        self.process.kill()
        self.process.join()


class Pool:
    """`job.workers` processes that synthesize `items`; iterate over it for the results.

    Raises InputError if the model cannot be loaded, or processes die before they are ready.
    """

    def __init__(self, job: Job, items: Iterable[Item]):
        self.job, self.items = job, iter(items)
        self.more = True  # `items` is not exhausted
        self.retries: deque[Item] = deque()  # items of dead workers
        self.crashes: dict[int, int] = {}  # by line
        self.failed_starts = 0
        self.workers: list[_Worker] = []

    def __iter__(self) -> Iterator[Result]:
        try:
            self.workers = [_Worker(self.job) for _ in range(self.job.workers)]
            while True:
                for worker in self.workers:
                    if worker.ready:
                        self._distribute(worker)
                if not (self.more or self.retries or any(w.items for w in self.workers)):
                    return
                for connection in wait([worker.connection for worker in self.workers]):
                    yield from self._receive_from(connection)
        finally:
            for worker in self.workers:
                worker.end()

    def _distribute(self, worker: _Worker) -> None:
        """Fill the queue of a worker, so that it never waits for the next item."""
        if self.retries and not worker.items:
            worker.give(self.retries.popleft())
        alone = any(line in self.crashes for line in worker.items)
        while self.more and not alone and len(worker.items) < 2 * self.job.rows:
            item = next(self.items, None)
            if item is None:
                self.more = False
            else:
                worker.give(item)

    def _receive_from(self, connection: object) -> Iterator[Result]:
        worker = next(w for w in self.workers if w.connection is connection)
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._replace(worker)
            return
        if isinstance(message, InputError):
            raise message
        if message is None:
            worker.ready, self.failed_starts = True, 0
            return
        del worker.items[message.line]
        self.crashes.pop(message.line, None)
        yield message

    def _replace(self, worker: _Worker) -> Iterator[Result]:
        worker.end()
        if not worker.ready:
            self.failed_starts += 1
        if self.failed_starts == MAX_FAILED_STARTS:
            raise InputError(
                f"workers '{self.job.workers}': {MAX_FAILED_STARTS} died while they loaded the "
                "model; see their output above, or use fewer",
                code="unusable",
            )
        for line, item in worker.items.items():
            self.crashes[line] = self.crashes.get(line, 0) + 1
            if self.crashes[line] < MAX_CRASHES:
                self.retries.append(item)
                continue
            del self.crashes[line]
            yield Result(
                line=line,
                error=f"text: {MAX_CRASHES} workers crashed on it; shorten it, or free some memory",
                code="unusable",
            )
        self.workers[self.workers.index(worker)] = _Worker(self.job)


# -- in the worker ---------------------------------------------------------------------------------


def _work(connection: Connection, job: Job) -> None:
    """Synthesize items until the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    inbox: SimpleQueue[Item] = SimpleQueue()
    Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    try:
        synthesizer = BatchSynthesizer(job)
    except InputError as error:
        connection.send(error)
        return
    connection.send(None)
    while True:
        for result in synthesizer(_waiting(inbox)):
            try:
                connection.send(result)
            except OSError:  # the parent has ended
                return


def _receive(connection: Connection, inbox: "SimpleQueue[Item]") -> None:
    """Receive items at once, so that the parent never blocks; exit when the parent has ended."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _waiting(inbox: "SimpleQueue[Item]") -> Iterator[Item]:
    """Items that have arrived; stops when there are none, so that rows in progress continue."""
    item = inbox.get()
    while True:
        yield item
        try:
            item = inbox.get_nowait()
        except Empty:
            return
