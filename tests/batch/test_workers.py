"""Batches on several processes, some of which crash."""

import os
import signal
import threading
import time
from dataclasses import replace
from multiprocessing import active_children

import pytest
from helpers import fake_tts
from helpers.batch_checks import check_whole, rows
from helpers.errors import raises_input_error

from vocalmtp.batch import run_batch

pytestmark = pytest.mark.slow  # every process imports Transformers


def test_crashed_workers_lose_nothing_and_an_item_that_crashes_them_fails_alone(
    make_job, monkeypatch
):
    monkeypatch.setenv(fake_tts.DELAY, "0.02")
    texts = [f"This is text {n}" for n in range(60)]
    job = make_job([*texts[:30], "die", *texts[30:], "fail"], workers=2)
    killed: dict[int, int] = {}  # process ids by the number of items that were made
    workers: set[int] = set()

    def progress(state) -> None:
        workers.update(child.pid for child in active_children())
        if state.made in (10, 40) and state.made not in killed:
            killed[state.made] = next(child.pid for child in active_children())
            os.kill(killed[state.made], signal.SIGKILL)

    state = run_batch(job, progress=progress)
    assert set(killed) == {10, 40}
    assert (state.made, state.failed) == (60, 2)
    bad = [row for row in rows(job.output) if row["status"] == "failed"]
    assert [row["text"] for row in bad] == ["die", "fail"]
    assert [row["code"] for row in bad] == ["unusable", "invalid_value"]
    assert not any(is_alive(pid) for pid in workers)
    run_batch(make_job(texts[:30] + ["fail"] + texts[30:], output="one", workers=1))
    assert check_whole(job.output) == check_whole(job.output.parent / "one")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_error_of_loading_the_model_reaches_the_caller(make_job):
    with raises_input_error("invalid_value", key="model"):
        run_batch(make_job(["One."], workers=2, load=fake_tts.load_none))


def test_workers_that_crash_while_loading_end_the_batch(make_job):
    with raises_input_error("unusable", key="workers"):
        run_batch(make_job(["One."], workers=2, load=fake_tts.load_dying))


def test_workers_end_with_their_parent(make_job, monkeypatch):
    monkeypatch.setenv(fake_tts.DELAY, "0.02")
    job = make_job([f"This is text {n}" for n in range(60)], workers=2)

    workers: set[int] = set()

    def progress(state) -> None:
        workers.update(child.pid for child in active_children())
        if state.made == 5:
            threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,)).start()

    with pytest.raises(KeyboardInterrupt):
        run_batch(job, progress=progress)
    time.sleep(0.1)
    assert workers and not any(is_alive(pid) for pid in workers)
    made = len(rows(job.output))
    assert 5 <= made < 60
    assert run_batch(replace(job, workers=1)).kept == made
    assert len(check_whole(job.output)) == 60
