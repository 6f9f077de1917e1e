"""A batch on several processes of one machine.

The parent deals items out as they are asked for and is the only one that writes. Whoever dies is
replaced; what it had is dealt again, one by one, so that an item that kills whoever speaks it is
found out and fails alone.
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

DEATHS = 3  # of workers that were speaking an item, until it is given up
STILLBORN = 3  # workers in a row that died before they were ready, until all is given up


class _Worker:
    """One process, and the items it has by their lines."""

    def __init__(self, job: Job):
        context = get_context("spawn")  # threads do not survive a fork, and torch has some
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, job), daemon=True)
        self.process.start()
        theirs.close()  # or the end of the process would not be the end of the pipe
        self.ready = False
        self.items: dict[int, Item] = {}

    def give(self, item: Item) -> None:
        self.items[item.line] = item
        with suppress(OSError):  # if it has died, the pipe says so when it is read
            self.connection.send(item)

    def end(self) -> None:
        self.connection.close()  # which ends it, unless it is stopped or stuck
        self.process.kill()
        self.process.join()


class Pool:
    """`job.workers` processes that speak `items`; iterate over it for the results.

    Raises InputError if the model cannot be loaded, or processes die before they are ready.
    """

    def __init__(self, job: Job, items: Iterable[Item]):
        self.job, self.items = job, iter(items)
        self.more = True  # whether `items` has some
        self.again: deque[Item] = deque()  # what the dead had: one of them may have killed it
        self.deaths: dict[int, int] = {}  # by line
        self.stillborn = 0
        self.workers: list[_Worker] = []

    def __iter__(self) -> Iterator[Result]:
        try:
            self.workers = [_Worker(self.job) for _ in range(self.job.workers)]
            while True:
                for worker in self.workers:
                    if worker.ready:
                        self._deal(worker)
                if not (self.more or self.again or any(w.items for w in self.workers)):
                    return
                for connection in wait([worker.connection for worker in self.workers]):
                    yield from self._hear(connection)
        finally:
            for worker in self.workers:
                worker.end()

    def _deal(self, worker: _Worker) -> None:
        """Give as much that the next item is there before it is asked for."""
        if self.again and not worker.items:
            worker.give(self.again.popleft())
        alone = any(line in self.deaths for line in worker.items)
        while self.more and not alone and len(worker.items) < 2 * self.job.rows:
            item = next(self.items, None)
            if item is None:
                self.more = False
            else:
                worker.give(item)

    def _hear(self, connection: Connection) -> Iterator[Result]:
        worker = next(w for w in self.workers if w.connection is connection)
        try:
            message = connection.recv()
        except (EOFError, OSError):
            yield from self._bury(worker)
            return
        if isinstance(message, InputError):
            raise message
        if message is None:
            worker.ready, self.stillborn = True, 0
            return
        del worker.items[message.line]
        self.deaths.pop(message.line, None)
        yield message

    def _bury(self, worker: _Worker) -> Iterator[Result]:
        worker.end()
        if not worker.ready:
            self.stillborn += 1
        if self.stillborn == STILLBORN:
            raise InputError(
                f"workers '{self.job.workers}': {STILLBORN} died while they loaded the model; "
                "see what they printed, or try fewer",
                code="unusable",
            )
        for line, item in worker.items.items():
            self.deaths[line] = self.deaths.get(line, 0) + 1
            if self.deaths[line] < DEATHS:
                self.again.append(item)
                continue
            del self.deaths[line]
            yield Result(
                line=line,
                error=f"text: {DEATHS} workers died of it; shorten it, or free some memory",
            )
        self.workers[self.workers.index(worker)] = _Worker(self.job)


# -- in the worker ---------------------------------------------------------------------------------


def _work(connection: Connection, job: Job) -> None:
    """Speak what comes until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    inbox: SimpleQueue[Item] = SimpleQueue()
    Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    try:
        speaker = BatchSynthesizer(job)
    except InputError as error:
        connection.send(error)
        return
    connection.send(None)
    while True:
        for result in speaker(_waiting(inbox)):
            try:
                connection.send(result)
            except OSError:  # nobody is there to hear it
                return


def _receive(connection: Connection, inbox: "SimpleQueue[Item]") -> None:
    """Take what comes at once, so that the parent never waits; and end when the parent has."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _waiting(inbox: "SimpleQueue[Item]") -> Iterator[Item]:
    """The items that are there: when none is, the rows that are begun must go on to their ends."""
    item = inbox.get()
    while True:
        yield item
        try:
            item = inbox.get_nowait()
        except Empty:
            return
