"""Tasks with dependencies, one after another or in several processes.

Each process runs one task and ends, which returns its memory; a process that dies fails its task
alone, where a pool of `concurrent.futures` would fail as a whole.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from ctypes import CDLL
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

from vocalmtp.errors import InputError


@dataclass(frozen=True)
class Task:
    """A call, and the names of the tasks that must be completed before it.

    Names that no task of the run has are ignored.
    """

    name: str
    call: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()


Outcomes = Iterator[tuple[str, str]]  # name of a task, and its problem or ""


def run_tasks(tasks: Sequence[Task], jobs: int = 1) -> Outcomes:
    """Run `tasks`, `jobs` at a time, and yield their outcomes in order of completion.

    An exception is the problem of its task, and fails the tasks after it.
    """
    return _in_processes(tasks, jobs) if jobs > 1 else _in_turn(tasks)


def _in_turn(tasks: Sequence[Task]) -> Outcomes:
    problems: dict[str, str] = {}
    for task in tasks:
        problems[task.name] = _blocked(task, problems) or _try(task.call, task.arguments)
        _release_memory()
        yield task.name, problems[task.name]


def _release_memory() -> None:
    """Return free memory to the system; glibc would keep gigabytes over a grid."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(CDLL(None), "malloc_trim", None)):
        trim(0)


def _in_processes(tasks: Sequence[Task], jobs: int) -> Outcomes:
    context = get_context("spawn")  # threads, which torch has, do not survive a fork
    waiting, names = list(tasks), {task.name for task in tasks}
    running: dict[Connection, tuple[str, Any]] = {}
    problems: dict[str, str] = {}
    try:
        while waiting or running:
            for task in list(waiting):
                if problem := _blocked(task, problems):
                    waiting.remove(task)
                    problems[task.name] = problem
                    yield task.name, problem
                elif len(running) < jobs and problems.keys() >= names & set(task.after):
                    waiting.remove(task)
                    ours, theirs = context.Pipe(duplex=False)
                    arguments = (theirs, task.call, task.arguments)
                    process = context.Process(target=_work, args=arguments)
                    process.start()
                    theirs.close()  # so that the pipe ends with the process
                    running[ours] = (task.name, process)
            # `wait` for nothing would never return.
            for pipe in wait(list(running)) if running else ():
                assert isinstance(pipe, Connection)
                name, process = running.pop(pipe)
                problems[name] = _outcome(pipe, process)
                yield name, problems[name]
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def _blocked(task: Task, problems: dict[str, str]) -> str:
    """Why `task` can never run, or ""."""
    failed = [name for name in task.after if problems.get(name)]
    return f"needs '{failed[0]}', which failed" if failed else ""


def _try(call: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """Make a call; returns its problem, or ""."""
    try:
        call(*arguments)
    except Exception as error:
        return one_line(error)
    return ""


def _outcome(pipe: Connection, process: Any) -> str:
    """The problem that an ending process sends, or that it died."""
    try:
        problem: str = pipe.recv()
        return problem
    except (EOFError, OSError):
        process.join()
        code = process.exitcode
        how = f"signal {-code}" if code < 0 else f"status {code}"
        return f"its process died ({how}); if memory was short, run fewer jobs"
    finally:
        pipe.close()
        process.join()


def _work(pipe: Connection, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the parent terminates this process
    Thread(target=_exit_with_parent, daemon=True).start()
    pipe.send(_try(call, arguments))


def _exit_with_parent() -> None:
    """End this process when its parent has died."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def one_line(error: Exception) -> str:
    """The message of an error on one line, with its type unless it is a user error."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"[:300]
