"""Batches in one process: what is written, what is kept, what is refused."""

import os
import random
import signal
import threading
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from helpers import fake_tts
from helpers.batch_checks import check_whole, rows
from helpers.errors import raises_input_error
from helpers.waiting import wait_until

from vocalmtp.batch import plan_batch, run_batch
from vocalmtp.batch.items import Item
from vocalmtp.batch.run import longest_first
from vocalmtp.batch.synthesizer import BatchSynthesizer
from vocalmtp.errors import InputError

SIXTY = [f"This is text {n}" + " and more" * (n % 5) for n in range(60)]


def test_every_item_has_a_file_and_a_row(make_job):
    items = [
        {"id": "a", "text": "One."},
        {"id": "b", "text": "Two.", "voice": "ann", "seed": 3, "temperature": 0.5, "book": [1]},
        {"text": "fail", "status": "mine"},
        "{",
        {"id": "../x", "text": "Three."},
        {"id": "a", "text": "Four."},
        {"id": "c", "text": "\ud800", "voice": "cid"},
    ]
    job = make_job(items, format="flac", seed=9)
    state = run_batch(job)
    assert (state.total, state.made, state.failed, state.kept) == (7, 2, 5, 0)
    found = rows(job.output)
    assert found[0] == {
        "id": "a",
        "status": "ok",
        "audio": "a.flac",
        "seconds": 0.025,
        "voice": "bob",
        "seed": 9,
        "error": None,
        "code": None,
        "line": 1,
        "text": "One.",
    }
    assert found[1] == found[0] | {
        "id": "b",
        "audio": "b.flac",
        "voice": "ann",
        "seed": 3,
        "text": "Two.",
        "line": 2,
        "temperature": 0.5,
        "book": [1],
    }
    assert found[2]["status"] == "failed" and found[2]["audio"] is None
    assert [row["code"] for row in found[2:]] == [*["invalid_value"] * 4, "not_found"]
    assert "line 4: " in found[3]["error"] and found[3]["id"] == "000004"
    assert "line 5: id '../x'" in found[4]["error"] and found[4]["text"] == "Three."
    assert found[6]["text"] == "\ud800"
    assert set(check_whole(job.output)) == {"a.flac", "b.flac"}


def test_audio_depends_on_text_voice_options_and_seed_only(make_job):
    items = [{"id": text, "text": text, "seed": n % 3} for n, text in enumerate(SIXTY)]
    run_batch(make_job(items, batch_size=1))
    run_batch(make_job(items[::-1], output="other", batch_size=7))
    one, other = (check_whole(make_job(items, output=name).output) for name in ("out", "other"))
    assert one == other and len(set(one.values())) > 30


def test_items_have_languages_and_instructions_of_their_own(make_job):
    items = [
        {"text": "One."},
        {"text": "One.", "language": "english"},
        {"text": "One.", "instructions": "Whisper."},
        {"text": "One.", "language": "german", "instructions": "Slowly."},
    ]
    job = make_job(items, language="german", instructions="Slowly.")
    assert run_batch(job).made == 4
    made = check_whole(job.output)
    names = sorted(made)
    assert made[names[0]] == made[names[3]] and len(set(made.values())) == 3
    found = rows(job.output)
    assert [row.get("language") for row in found] == [None, "english", None, "german"]
    assert found[2]["instructions"] == "Whisper."
    for changed in (replace(job, language="english"), replace(job, instructions=None)):
        with raises_input_error("other_run", "output"):
            run_batch(changed)


def test_the_language_of_a_job_is_checked_before_its_items(make_job):
    with raises_input_error("unknown_name", "language"):
        BatchSynthesizer(make_job(["One."], language="klingon"))


def test_a_plan_knows_the_languages_of_the_model(make_job):
    items = [{"text": "One."}, {"text": "One.", "language": "german"}]
    plan = plan_batch(make_job(items, load=None))  # a toy model, which takes none
    assert (plan.to_make, plan.invalid) == (1, 1)
    assert "line 2: language 'german'" in plan.problems[0]


def test_the_batch_is_kept_full_and_the_list_is_read_as_needed(make_job):
    speaker = BatchSynthesizer(make_job(SIXTY, batch_size=4))
    items = (Item(line=n, id=str(n), text=text) for n, text in enumerate(SIXTY))
    results = speaker(items)
    next(results)
    assert speaker.tts.read <= 8
    assert len(list(results)) == 59
    assert sum(size < 4 for size in speaker.tts.sizes) <= 12  # the rounds of the longest one


def test_a_window_is_sorted_and_the_next_one_waits():
    items = (Item(line=n, id=str(n), text="x" * (n % 100)) for n in range(1000))
    ordered = longest_first(items)
    lengths = [len(next(ordered).text) for _ in range(256)]
    assert lengths == sorted(lengths, reverse=True)
    assert next(items).line == 256


def test_what_is_done_is_kept_and_failures_are_tried_again(make_job, monkeypatch):
    job = make_job(["One.", "fail", "Two."])
    assert run_batch(job).failed == 1
    before = {path: path.stat().st_mtime_ns for path in job.output.glob("*.wav")}
    monkeypatch.setattr(
        fake_tts.FakeTTS, "_speak", lambda *_: InputError("still", code="invalid_value")
    )
    state = run_batch(job)
    assert (state.kept, state.made, state.failed) == (2, 0, 1)
    assert [row["status"] for row in rows(job.output)] == ["ok", "failed", "ok"]
    assert rows(job.output)[1]["error"] == "still"
    assert {path: path.stat().st_mtime_ns for path in job.output.glob("*.wav")} == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda out: (out / "manifest.jsonl").open("ab").write(b'{"id": "000003", "sta'),
        lambda out: (out / "manifest.jsonl").write_text("nonsense\n[1]\n{}\n"),
        lambda out: (out / "manifest.jsonl").unlink(),
        lambda out: (out / "000001.wav").unlink(),
        lambda out: (out / ".000009.wav.1.part").write_bytes(b"half"),
        lambda out: (out / "job.json").write_text("{"),
    ],
    ids="torn nonsense no-manifest no-audio partial no-job".split(),
)
def test_a_damaged_folder_is_mended(make_job, damage):
    job = make_job(["One.", "Two.", "Three."])
    run_batch(job)
    before = check_whole(job.output)
    damage(job.output)
    if (job.output / "job.json").read_text() == "{":
        with raises_input_error("damaged", key="output"):
            run_batch(job)
        (job.output / "manifest.jsonl").unlink()
    assert run_batch(job).failed == 0
    assert check_whole(job.output) == before


def test_other_options_need_another_folder(make_job, monkeypatch, tmp_path):
    job = make_job(["One.", "Two."])
    run_batch(job)
    before = check_whole(job.output)
    others = {
        "with seed": replace(job, seed=1),
        "with voice": replace(job, voice="ann"),
        "with format": replace(job, format="ogg"),
        "with sampling": replace(job, sampling={"top_k": 5}),
        "with model": replace(job, model="mini"),
        "with list": make_job(["One.", "Three."], name="other.txt"),
    }
    for named, other in others.items():
        for call in (run_batch, plan_batch):
            with raises_input_error("other_run", key="output", names=named) as error:
                call(other)
            assert "--overwrite" in str(error.value)
    assert check_whole(job.output) == before
    assert run_batch(replace(job, batch_size=1)).kept == 2


def test_overwrite_starts_anew_and_removes_only_what_was_made(make_job):
    job = make_job(["One.", "Two.", "Three."])
    run_batch(job)
    (job.output / "mine.wav").write_bytes(b"mine")
    other = make_job(["Other."], name="other.txt")
    state = run_batch(other, overwrite=True)
    assert (state.made, state.kept) == (1, 0)
    assert (job.output / "mine.wav").read_bytes() == b"mine"
    (job.output / "mine.wav").unlink()
    assert set(check_whole(job.output)) == {"000001.wav"}


def test_a_killed_overwrite_goes_on(make_job):
    job = make_job(["One.", "Two.", "Three."])
    run_batch(job)
    (job.output / "manifest.jsonl").rename(job.output / ".manifest.old")
    (job.output / "000001.wav").unlink()
    run_batch(make_job(["Other."], name="other.txt"))
    assert set(check_whole(job.output)) == {"000001.wav"}


def test_folders_that_hold_something_else_are_refused(make_job, tmp_path):
    for name in ("a.wav", "manifest.jsonl"):
        (tmp_path / name).write_text("mine")
        with raises_input_error("other_run", key="output"):
            run_batch(make_job(["One."], output="."))
        (tmp_path / name).unlink()
    (tmp_path / "file").write_text("mine")
    with raises_input_error("invalid_value", key="output"):
        run_batch(make_job(["One."], output="file"))
    with raises_input_error("unusable", key="output"):
        run_batch(make_job(["One."], output="file/out"))


def test_the_second_process_on_a_folder_is_refused(make_job, monkeypatch):
    monkeypatch.setenv(fake_tts.DELAY, "0.02")
    job = make_job(SIXTY)
    first = get_context("fork").Process(target=run_batch, args=(job,))
    first.start()
    wait_until(lambda: (job.output / "000001.wav").exists() or any(job.output.glob("*.wav")))
    with raises_input_error("unusable", key="output"):
        run_batch(job)
    first.join()
    assert first.exitcode == 0 and len(check_whole(job.output)) == 60


def test_a_dry_run_counts_and_writes_nothing(make_job):
    job = make_job(["One.", "\u3053", "Two."] + ["{"] + [{"text": "Three."}])
    plan = plan_batch(job)
    assert (plan.completed, plan.to_make, plan.invalid) == (0, 1, 4)
    assert not job.output.exists()
    job = make_job(["One.", "\u3053", "Two."])
    plan = plan_batch(job)
    assert (plan.completed, plan.to_make, plan.invalid) == (0, 2, 1)
    assert "items.txt line 2: " in plan.problems[0]
    assert 0.2 < plan.seconds < 2
    run_batch(job)
    (job.output / "000001.wav").unlink()
    before = sorted((path, path.stat().st_mtime_ns) for path in job.output.iterdir())
    plan = plan_batch(job)
    assert (plan.completed, plan.to_make, plan.invalid) == (2, 1, 0)  # the fake speaks anything
    assert sorted((path, path.stat().st_mtime_ns) for path in job.output.iterdir()) == before
    assert plan_batch(job, overwrite=True).completed == 0


def test_one_that_raises_fails_alone(make_job):
    job = make_job(["One.", "raise", "Two.", "silent", "Three and four."])
    state = run_batch(job)
    assert (state.made, state.failed) == (3, 2)
    codes = [row["code"] for row in rows(job.output)]
    assert codes == [None, "unusable", None, "empty", None]


def test_a_full_disk_stops_the_batch_and_not_an_item(make_job, monkeypatch):
    job = make_job(SIXTY)
    write = Path.write_bytes

    def full(self, data):
        if self.name.startswith(".000030"):
            raise OSError(28, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with raises_input_error("unusable", key="output"):
            run_batch(job)
    assert all(row["status"] == "ok" for row in rows(job.output))
    assert run_batch(job).failed == 0
    assert len(check_whole(job.output)) == 60


@pytest.mark.parametrize(
    ("settings", "code", "key"),
    [
        ({"batch_size": 0}, "out_of_range", "batch_size"),
        ({"workers": 0}, "out_of_range", "workers"),
        ({"executor": "rays"}, "unknown_name", "executor"),
        ({"ray_address": "x"}, "conflict", "ray_address"),
        ({"seed": -1}, "out_of_range", "seed"),
        ({"format": "tape"}, "unsupported", "format"),
        ({"sampling": {"temperature": float("nan")}}, "out_of_range", "temperature"),
        ({"sampling": {"temprature": 1}}, "unknown_name", "option"),
        ({"model": "none"}, "not_found", "model"),
        ({"voice": "cid"}, "not_found", "voice"),
    ],
)
def test_an_invalid_job_is_refused(make_job, settings, code, key):
    with raises_input_error(code, key=key):
        run_batch(make_job(["One."], **settings))


def test_a_job_that_failed_as_a_whole_does_not_bind_the_folder(make_job):
    with raises_input_error("not_found", key="voice"):
        run_batch(make_job(["One."], voice="cid"))
    assert run_batch(make_job(["One."], voice="ann")).made == 1


def test_rows_are_as_many_as_the_machine_takes(make_job, monkeypatch):
    job = make_job(["One."], batch_size=None)
    memory = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": (1 << 31) // 4096}
    monkeypatch.setattr(os, "sysconf", memory.get)
    assert (job.rows, replace(job, workers=4).rows, replace(job, workers=99).rows) == (8, 2, 1)
    memory["SC_PHYS_PAGES"] *= 100
    assert job.rows == 16


@pytest.mark.parametrize("seed", range(3))
def test_killed_five_times_at_random_nothing_is_lost_torn_or_doubled(make_job, monkeypatch, seed):
    monkeypatch.setenv(fake_tts.DELAY, "0.01")
    job, chance = make_job([*SIXTY, "fail"]), random.Random(seed)
    kept = {}
    for _ in range(5):
        process = get_context("fork").Process(target=run_batch, args=(job,))
        process.start()
        there = len(kept) + chance.randrange(10)
        wait_until(lambda n=there: len(list(job.output.glob("*.wav"))) >= n)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        now = {path.name: path.stat().st_mtime_ns for path in job.output.glob("*.wav")}
        assert set(kept) <= set(now)
        kept = now
    state = run_batch(job)
    assert (state.kept + state.made, state.failed) == (60, 1) and state.kept > 0
    run_batch(replace(job, output=job.output.parent / "whole"))
    assert check_whole(job.output) == check_whole(job.output.parent / "whole")


def test_an_interrupt_keeps_what_is_done(make_job, monkeypatch):
    monkeypatch.setenv(fake_tts.DELAY, "0.01")
    job = make_job(SIXTY)
    done = []

    def progress(state) -> None:
        done[:] = [state.made]
        if state.made == 7:
            threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,)).start()

    with pytest.raises(KeyboardInterrupt):
        run_batch(job, progress=progress)
    made = len(rows(job.output))
    assert 7 <= made < 60 and made - done[0] in (0, 1)  # it may come before the count goes up
    assert run_batch(job).kept == made
    assert len(check_whole(job.output)) == 60
