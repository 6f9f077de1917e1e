"""Batches on several processes, which die now and then."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from helpers import fake_tts
from helpers.batch_checks import check_whole, rows

from vocalmtp.batch import run_batch
from vocalmtp.batch.workers import Pool
from vocalmtp.errors import InputError

pytestmark = pytest.mark.slow  # every process imports Transformers


@pytest.fixture
def workers(monkeypatch) -> set[int]:
    """The ids of the processes that are given something to do."""
    seen: set[int] = set()
    deal = Pool._deal

    def note(self, worker) -> None:
        seen.add(worker.process.pid)
        deal(self, worker)

    monkeypatch.setattr(Pool, "_deal", note)
    return seen


def test_dying_workers_lose_nothing_and_a_deadly_item_fails_alone(make_job, monkeypatch, workers):
    monkeypatch.setenv(fake_tts.DELAY, "0.02")
    texts = [f"This is text {n}" for n in range(60)]
    job = make_job([*texts[:30], "die", *texts[30:], "fail"], workers=2)
    killed: dict[int, int] = {}  # by how many items were there

    def progress(state) -> None:
        if state.made in (10, 40) and state.made not in killed:
            killed[state.made] = next(pid for pid in workers if is_alive(pid))
            os.kill(killed[state.made], signal.SIGKILL)

    state = run_batch(job, progress=progress)
    assert set(killed) == {10, 40}
    assert (state.made, state.failed) == (60, 2)
    bad = [row for row in rows(job.output) if row["status"] == "failed"]
    assert [row["text"] for row in bad] == ["die", "fail"]
    assert "3 workers died of it" in bad[0]["error"]
    assert not any(is_alive(pid) for pid in workers)
    run_batch(make_job(texts[:30] + ["fail"] + texts[30:], output="one", workers=1))
    assert check_whole(job.output) == check_whole(job.output.parent / "one")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_model_says_of_itself_is_one_error(make_job):
    with pytest.raises(InputError, match="asked not to load"):
        run_batch(make_job(["One."], workers=2, load=fake_tts.load_none))


def test_workers_that_never_load_are_given_up(make_job):
    with pytest.raises(InputError, match="3 died while they loaded the model"):
        run_batch(make_job(["One."], workers=2, load=fake_tts.load_dying))


def test_workers_end_with_their_parent(make_job, monkeypatch, workers):
    monkeypatch.setenv(fake_tts.DELAY, "0.02")
    job = make_job([f"This is text {n}" for n in range(60)], workers=2)

    def progress(state) -> None:
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
