"""Parts of a grid: logs, groups over seeds, processes, alignment, the smoke corpus."""

import json
import os

import pytest
import torch

from vocalmtp.ablation.evaluate import loss_curve, text_speech_similarity, training_seconds
from vocalmtp.ablation.parallel import Task, run_tasks
from vocalmtp.ablation.report import groups, markdown
from vocalmtp.ablation.smoke import letter_times, sentences
from vocalmtp.audio.io import Audio, Word
from vocalmtp.training.run_files import read_log


def test_training_seconds_are_summed_over_resumed_parts(tmp_path):
    rows = [{"seconds": s} for s in (3.0, 9.0, 2.0, 4.0, 1.5)]
    assert training_seconds(rows) == 9.0 + 4.0 + 1.5
    assert training_seconds([]) == 0.0
    (tmp_path / "log.jsonl").write_text(json.dumps(rows[0]) + '\n{"seconds": 9.')
    assert read_log(tmp_path / "log.jsonl") == rows[:1]
    assert read_log(tmp_path / "none.jsonl") == []


def test_loss_curve_is_the_mean_over_codec_slots():
    early = {"step": 2, "eval_loss": 9.0, "eval_advance": 7.0, "eval_a.0": 1.0, "eval_b.11": 3.0}
    again = early | {"eval_a.0": 2.0, "eval_runtime": 5.0}  # the same update after a resumption
    flat = {"step": 4, "eval_loss": 9.0, "eval_flat": 1.5}
    assert loss_curve([{"step": 1, "loss": 4.0, "a.0": 1.0}, early, again, flat]) == {
        2: 2.5,
        4: 1.5,
    }


def row(seed, **metrics):
    own = {"tokenizer": "apart", "kind": "decoupled", "tokens_per_step": 3, "backbone": "toy"}
    shown = {key: {"value": v, "low": v, "high": v, "count": 1} for key, v in metrics.items()}
    return {**own, "arm": "track", "seed": seed, "name": f"s{seed}", "metrics": shown}


def test_groups_are_means_with_the_range_over_seeds():
    (group,) = groups([row(0, wer=0.2, rtf=None), row(1, wer=0.4, rtf=0.1), row(2)])
    assert group["metrics"]["wer"] == pytest.approx(
        {"value": 0.3, "low": 0.2, "high": 0.4, "count": 2}
    )
    assert group["metrics"]["rtf"]["value"] == 0.1
    assert group["seeds"] == [0, 1]  # the third has not been measured
    cells = [row(0, wer=None) | {"state": "done"}, row(1) | {"state": "not run"}]
    references = [{"name": "natural", "metrics": {}}]
    text = markdown(
        {"references": references, "groups": groups(cells), "cells": cells}
        | {"failures": {"s1": "no memory"}, "notes": []}
    )
    assert "| apart, 3 per step, track, toy | n/a |" in text
    assert "1 of 2 cells have not been run" in text and "- failed: s1: no memory" in text


def test_failing_processes_do_not_affect_others():
    tasks = [Task("good", print), Task("bad", int, ("x",)), Task("dead", os._exit, (3,))]
    problems = dict(run_tasks(tasks, 2))
    assert problems["good"] == ""
    assert problems["bad"].startswith("ValueError: ")
    assert "status 3" in problems["dead"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_tasks_wait_for_their_dependencies(tmp_path, jobs):
    path = tmp_path / "made"
    tasks = [
        Task("bad", int, ("x",)),
        Task("made", os.mkdir, (path,)),
        Task("needs bad", os.rmdir, (tmp_path,), after=("bad",)),
        Task("removed", os.rmdir, (path,), after=("made", "of another run")),
    ]
    outcomes = list(run_tasks(tasks, jobs))
    assert sorted(name for name, _ in outcomes) == sorted(task.name for task in tasks)
    assert dict(outcomes)["removed"] == "" and not path.exists()
    assert "'bad'" in dict(outcomes)["needs bad"]


def test_the_last_task_may_be_blocked():
    tasks = [Task("bad", int, ("x",)), Task("needs bad", print, after=("bad",))]
    assert list(dict(run_tasks(tasks, 2))) == ["bad", "needs bad"]


@pytest.mark.parametrize("text", ["track", "prompt"])
@pytest.mark.parametrize("flat", [False, True])
def test_alignment_is_the_cosine_of_mean_hidden_states(make_model, make_rows, text, flat):
    model = make_model(text=text, flat=flat)
    rows = make_rows(model, (7, 4, 9))
    own, other = text_speech_similarity(model, rows).values()
    assert own.count == other.count == 3
    assert -1 <= own.low <= own.value <= own.high <= 1
    # Padding has no influence, in one batch or in three.
    alone = [text_speech_similarity(model, [row])["alignment"].value for row in rows]
    assert own.value == pytest.approx(sum(alone) / 3, abs=1e-5)
    twice, same = text_speech_similarity(model, [rows[0], rows[0]]).values()
    assert twice.value == pytest.approx(same.value, abs=1e-5)  # its text is the other's
    assert other.value != pytest.approx(own.value, abs=1e-5)
    torch.testing.assert_close(twice.value, alone[0], atol=1e-5, rtol=0)


def test_smoke_sentences_are_all_different():
    texts = list(sentences())
    assert len(set(texts)) == len(texts) > 100


def test_letter_times_are_interpolated_within_words():
    words = [Word("hi", 0.0, 0.2), Word("you", 0.4, 1.0)]
    times = letter_times("hi you.", Audio([0.0] * 16_000, 16_000, words))
    assert times == [0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
