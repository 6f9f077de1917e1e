"""The small parts: figures, groups over seeds, logs, processes, alignment."""

import json
import math
import os

import pytest
import torch

from vocalmtp.ablation.alignment import text_speech_similarity
from vocalmtp.ablation.cell import curve_of, read_log, training_seconds
from vocalmtp.ablation.figures import JUDGES, MetricSet
from vocalmtp.ablation.parallel import Task, run_tasks
from vocalmtp.ablation.report import groups, markdown
from vocalmtp.ablation.state import begin, check_begun
from vocalmtp.errors import InputError
from vocalmtp.evaluation.statistics import Estimate, once
from vocalmtp.evaluation.swapped import next_names


def test_figures_come_back_with_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(JUDGES, "words", ("no_such_judge",))
    made = MetricSet({"a": Estimate(1.0, 0.5, 2.0, 3), "b": once(math.nan)})
    made.judge("words", lambda: pytest.fail("it is not installed"))
    made.save(tmp_path)
    again = MetricSet.load(tmp_path)
    assert again.figures["a"] == made.figures["a"] and math.isnan(again.figures["b"].value)
    assert "pip install" in again.missing["words"] and again.whole
    monkeypatch.setitem(JUDGES, "words", ("json",))
    assert not again.whole  # it has been installed since
    again.judge("words", lambda: {"c": once(2.0)})
    assert again.figures["c"].value == 2.0
    (tmp_path / "figures.json").write_text('{"figures": {"a": 3}}')
    with pytest.raises(InputError, match="damaged"):
        MetricSet.load(tmp_path)


def test_two_settings_never_share_a_folder(tmp_path):
    begin(tmp_path, {"recipe": {"optim": {"max_steps": 4}}, "corpus": "x"})
    check_begun(tmp_path, "cell 'a'", {"recipe": {"optim": {"max_steps": 4}}, "corpus": "x"})
    with pytest.raises(InputError, match="cell 'a': was begun with recipe.optim.max_steps 4, not"):
        check_begun(tmp_path, "cell 'a'", {"recipe": {"optim": {"max_steps": 5}}, "corpus": "x"})


def test_seconds_of_all_parts_of_a_training_count(tmp_path):
    rows = [{"seconds": s} for s in (3.0, 9.0, 2.0, 4.0, 1.5)]
    assert training_seconds(rows) == 9.0 + 4.0 + 1.5
    assert training_seconds([]) == 0.0
    (tmp_path / "log.jsonl").write_text(json.dumps(rows[0]) + '\n{"seconds": 9.')
    assert read_log(tmp_path / "log.jsonl") == rows[:1]
    assert read_log(tmp_path / "none.jsonl") == []


def test_curves_are_of_codec_tokens_alone():
    early = {"step": 2, "eval_loss": 9.0, "eval_advance": 7.0, "eval_a.0": 1.0, "eval_b.11": 3.0}
    again = early | {"eval_a.0": 2.0, "eval_runtime": 5.0}  # the same update after a resumption
    flat = {"step": 4, "eval_loss": 9.0, "eval_flat": 1.5}
    assert curve_of([{"step": 1, "loss": 4.0, "a.0": 1.0}, early, again, flat]) == {2: 2.5, 4: 1.5}


def row(seed, **figures):
    own = {"tokenizer": "apart", "kind": "decoupled", "tokens_per_step": 3, "backbone": "toy"}
    shown = {key: {"value": v, "low": v, "high": v, "count": 1} for key, v in figures.items()}
    return {**own, "arm": "track", "seed": seed, "name": f"s{seed}", "figures": shown}


def test_groups_are_means_with_the_least_and_the_most_over_seeds():
    (group,) = groups([row(0, wer=0.2, rtf=None), row(1, wer=0.4, rtf=0.1), row(2)])
    assert group["figures"]["wer"] == pytest.approx(
        {"value": 0.3, "low": 0.2, "high": 0.4, "count": 2}
    )
    assert group["figures"]["rtf"]["value"] == 0.1
    assert group["seeds"] == [0, 1]  # the third has not been measured
    cells = [row(0, wer=None) | {"state": "done"}, row(1) | {"state": "not run"}]
    references = [{"name": "natural", "figures": {}}]
    text = markdown(
        {"references": references, "groups": groups(cells), "cells": cells}
        | {"failures": {"s1": "no memory"}, "notes": []}
    )
    assert "| apart, 3 a step, track, toy | n/a |" in text
    assert "1 of 2 cells have not been run" in text and "- failed: s1: no memory" in text


def test_the_next_voice_is_another_one():
    assert next_names(["b", "a", "c"]) == {"a": "b", "b": "c", "c": "a"}


def test_processes_fail_alone():
    tasks = [Task("good", print), Task("bad", int, ("x",)), Task("dead", os._exit, (3,))]
    told = dict(run_tasks(tasks, 2))
    assert told["good"] == ""
    assert told["bad"].startswith("ValueError: invalid literal")
    assert "its process died (status 3)" in told["dead"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_tasks_wait_for_what_they_need(tmp_path, jobs):
    path = tmp_path / "made"
    tasks = [
        Task("bad", int, ("x",)),
        Task("made", os.mkdir, (path,)),
        Task("needs bad", os.rmdir, (tmp_path,), after=("bad",)),
        Task("removed", os.rmdir, (path,), after=("made", "of another run")),
    ]
    told = list(run_tasks(tasks, jobs))
    assert sorted(name for name, _ in told) == sorted(task.name for task in tasks)
    assert dict(told)["removed"] == "" and not path.exists()
    assert dict(told)["needs bad"] == "'bad' failed, which it needs"


@pytest.mark.parametrize("text", ["track", "prompt"])
@pytest.mark.parametrize("flat", [False, True])
def test_alignment_is_the_cosine_of_mean_states(make_model, make_rows, text, flat):
    model = make_model(text=text, flat=flat)
    rows = make_rows(model, (7, 4, 9))
    own, other = text_speech_similarity(model, rows)
    assert own.count == other.count == 3
    assert -1 <= own.low <= own.value <= own.high <= 1
    # In one batch or in three, padding takes no part.
    alone = [text_speech_similarity(model, [row])[0].value for row in rows]
    assert own.value == pytest.approx(sum(alone) / 3, abs=1e-5)
    twice, same = text_speech_similarity(model, [rows[0], rows[0]])
    assert twice.value == pytest.approx(same.value, abs=1e-5)  # its text is the other's
    assert other.value != pytest.approx(own.value, abs=1e-5)
    torch.testing.assert_close(twice.value, alone[0], atol=1e-5, rtol=0)
