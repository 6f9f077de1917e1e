"""Work in several processes, each of which has one thing to do and ends."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Event, Thread
from typing import Any

from vocalmtp.errors import InputError

Work = tuple[str, Callable[..., None], tuple[Any, ...]]  # name, function, arguments


def run_in_processes(work: Sequence[Work], jobs: int) -> Iterator[tuple[str, str]]:
    """Do `work`, `jobs` at a time: the name of each and what went wrong ("" if nothing did).

    They come as they finish. A process that dies fails alone; all end if this one does.
    """
    context = get_context("spawn")  # threads do not survive a fork, and torch has some
    waiting, running = deque(work), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, call, arguments = waiting.popleft()
                ours, theirs = context.Pipe()
                process = context.Process(target=_do, args=(theirs, call, arguments))
                process.start()
                theirs.close()  # or the end of the process would not be the end of the pipe
                running[ours] = (name, process)
            for pipe in wait(list(running)):
                name, process = running.pop(pipe)
                yield name, _result(pipe, process)
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def _result(pipe: Connection, process: Any) -> str:
    """What a process that is ending has to say."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode
        how = f"signal {-code}" if code < 0 else f"status {code}"
        return f"its process died ({how}); if memory was short, run fewer at once"
    finally:
        pipe.close()
        process.join()


def _do(pipe: Connection, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and ends us
    over = Event()
    Thread(target=_end_with_parent, args=(pipe, over), daemon=True).start()
    problem = ""
    try:
        call(*arguments)
    except Exception as error:
        problem = one_line(error)
    over.set()
    pipe.send(problem)


def _end_with_parent(pipe: Connection, over: Event) -> None:
    """End this process when the other end of `pipe` has gone before the work was `over`."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        if not over.is_set():
            os._exit(1)


def one_line(error: Exception) -> str:
    """An error as one line; of one that no user made, with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"[:300]
