"""Tasks, some of which need others: in turn, or in several processes that do one each and end."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from ctypes import CDLL
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Event, Thread
from typing import Any

from vocalmtp.errors import InputError


@dataclass(frozen=True)
class Task:
    """A call, and the names of the tasks that must have been done before.

    A name that no task of the same run has is not waited for.
    """

    name: str
    call: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()


Outcomes = Iterator[tuple[str, str]]  # of every task: its name, and what went wrong, or ""


def run_tasks(tasks: Sequence[Task], jobs: int = 1) -> Outcomes:
    """Do `tasks`, `jobs` at a time, each after the one that it needs; they come as they finish.

    What a task raises is told as its outcome, and fails those that need it.
    """
    return _in_processes(tasks, jobs) if jobs > 1 else _in_turn(tasks)


def _in_turn(tasks: Sequence[Task]) -> Outcomes:
    told: dict[str, str] = {}
    for task in tasks:
        told[task.name] = _lacks(task, told) or _try(task.call, task.arguments)
        _give_memory_back()
        yield task.name, told[task.name]


def _give_memory_back() -> None:
    """Return what is free to the system: in pieces, glibc keeps gigabytes of it over a grid."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(CDLL(None), "malloc_trim", None)):
        trim(0)


def _in_processes(tasks: Sequence[Task], jobs: int) -> Outcomes:
    """A process that dies fails alone; all end if this one does."""
    context = get_context("spawn")  # threads do not survive a fork, and torch has some
    waiting, running, told = list(tasks), {}, {}
    names = {task.name for task in tasks}
    try:
        while waiting or running:
            for task in list(waiting):
                if problem := _lacks(task, told):
                    waiting.remove(task)
                    told[task.name] = problem
                    yield task.name, problem
                elif len(running) < jobs and told.keys() >= names & set(task.after):
                    waiting.remove(task)
                    ours, theirs = context.Pipe()
                    work = (theirs, task.call, task.arguments)
                    process = context.Process(target=_do, args=work)
                    process.start()
                    theirs.close()  # or the end of the process would not be the end of the pipe
                    running[ours] = (task.name, process)
            for pipe in wait(list(running)):
                name, process = running.pop(pipe)
                told[name] = _result(pipe, process)
                yield name, told[name]
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def _lacks(task: Task, told: dict[str, str]) -> str:
    """Why `task` can never be done."""
    failed = [name for name in task.after if told.get(name)]
    return f"'{failed[0]}' failed, which it needs" if failed else ""


def _try(call: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """Make a call; what went wrong in it."""
    try:
        call(*arguments)
    except Exception as error:
        return one_line(error)
    return ""


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
    problem = _try(call, arguments)
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
