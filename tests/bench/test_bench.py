"""`vocalmtp bench` on the toy model: complete reports, ratios and profile."""

import json
from functools import partial

import pytest
from helpers.errors import error_code, raises_input_error
from helpers.toy_model import save_toy_model

from vocalmtp.bench import methods, profile, speed
from vocalmtp.bench import run as bench
from vocalmtp.cli import main
from vocalmtp.evaluation.statistics import single
from vocalmtp.heads import DRAFTS
from vocalmtp.loading import load


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """The metrics of a report by name, and whether they are of the next-token model."""
    folder = tmp_path_factory.mktemp("bench")
    model = save_toy_model(folder / "toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "SENTENCES", ("Hi.", "No."))
        patch.setattr(bench, "BATCHES", (1, 4))
        patch.setattr(bench, "cold_start", lambda *_: (single(2.0), single(0.5)))
        patch.setattr(bench, "steps_per_second", partial(speed.steps_per_second, frames=8))
        patch.setattr(profile, "FRAMES", 8)
        patch.setattr(profile, "BANDWIDTH_BYTES", 2**20)
        with pytest.raises(SystemExit) as stop:
            main(["bench", str(model), "--quick", "--json", str(folder / "speed.json")])
    assert stop.value.code == 0
    data = json.loads((folder / "speed.json").read_text())
    assert "threads" in " ".join(data["notes"])
    return {
        (row["name"], row["system"] == "next-token"): row["estimate"] for row in data["metrics"]
    }


def test_report_is_complete(metrics):
    names = {name for name, _ in metrics}
    for part in ("real-time factor, batch 1", "throughput of batch 4 over batch 1", "first audio"):
        assert part in names
    assert "... peak memory" in names and "decode loop, batch 8: over next-token" in names
    for estimate in metrics.values():
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"]


def test_graphs_have_no_decode_loop_to_time(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(speed, "SENTENCES", ("Hi.", "No."))
    monkeypatch.setattr(bench, "BATCHES", (1, 4))
    monkeypatch.setattr(bench, "cold_start", lambda *_: (single(2.0), single(0.5)))
    found = [
        metric.name for metric in bench.run_bench("mini", runtime={"engine": "onnx"}, quick=True)
    ]
    assert found[0] == "real-time factor, batch 1" and found[-1] == "... peak memory"
    with raises_input_error("unsupported"):
        methods.random_model(load("mini", engine="onnx"), {})


def test_gain_over_next_token_is_the_ratio_of_both_loops(metrics):
    ours = metrics["decode loop, batch 1: audio s/s", False]["value"]
    twin = metrics["decode loop, batch 1: audio s/s", True]["value"]
    ratio = metrics["decode loop, batch 1: over next-token", False]["value"]
    assert ratio == pytest.approx(ours / twin)


def test_shares_of_time_sum_to_one(metrics):
    found = [
        estimate["value"]
        for (name, _), estimate in metrics.items()
        if name.startswith("share of") and "Python" not in name
    ]
    assert len(found) == 6 and sum(found) == pytest.approx(1)
    assert 0 < metrics["share of Python and dispatch, batch 1", False]["value"] < 1


def test_timing_restores_what_it_replaces(tmp_path):
    from vocalmtp.loading import load

    tts = load(save_toy_model(tmp_path / "toy"))
    before = dict(vars(tts.model.runner)), profile.ConstrainedSampler.all
    profile.time_shares(tts, repeats=1)
    assert (dict(vars(tts.model.runner)), profile.ConstrainedSampler.all) == before
    assert "propose" not in vars(tts.model.head)


# -- methods side by side ------------------------------------------------------------------------


def test_methods_cover_every_head_and_draft_head():
    grouped = [method.name for method in methods.grouped_methods(streams=3)]
    heads = {
        "linear",
        "mlp",
        "slot_mlp",
        "slot_transformer",
        "normed",
        "transformer",
        "depth",
        "depth_decoder",
        "patch_decoder",
        "elastic",
    }
    assert {name.partition(",")[0] for name in grouped} == {"next-token", *heads}
    assert len(grouped) == 1 + 3 * len(heads)
    assert {settings["name"] for settings in methods.DRAFTS.values()} == set(DRAFTS)
    drafting = {method.name for method in methods.drafting_methods(frames=0)}
    assert {"no drafts", "recursive, joint", "recursive, seed", "sequential, all"} <= drafting


def test_methods_are_measured_beside_next_token_decoding(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "SENTENCES", ("Hi.", "No."))
    monkeypatch.setattr(speed, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(methods, "FRAMES", 6)
    monkeypatch.setattr(methods, "PASSES", 2)
    toy = str(save_toy_model(tmp_path / "toy"))
    with pytest.raises(SystemExit) as stop:
        main(["bench", toy, "--methods", "--quick", "--json", str(tmp_path / "methods.json")])
    assert stop.value.code == 0
    report = json.loads((tmp_path / "methods.json").read_text())
    rows = {}
    for row in report["metrics"]:
        metrics = rows.setdefault(row["section"], {}).setdefault(row["name"], {})
        metrics[row["system"]] = row["estimate"]["value"]
    grouped, *drafting = rows.values()
    assert len(grouped) == 11 and len(drafting) == 2 and len(drafting[0]) == 1 + 2 * len(DRAFTS) + 2
    base = grouped["next-token"]["audio s/s, batch 1"]
    for found in grouped.values():
        ratio = found["over next-token, batch 1"]
        assert ratio == pytest.approx(found["audio s/s, batch 1"] / base)
    progress = [line for line in capsys.readouterr().err.splitlines() if "linear" in line]
    assert len(progress) == 3  # the first turn and two that are timed


@pytest.mark.parametrize(
    "options",
    [("--methods", "--drafts", "2"), ("--methods", "--chat"), ("--chat", "--drafts", "2")],
)
def test_options_that_exclude_each_other_are_refused(options, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", str(tmp_path / "none"), *options])
    assert stop.value.code == 2 and error_code(capsys.readouterr().err) == "conflict"


@pytest.mark.parametrize("address", ["me.wav", "http://127.0.0.1:9", "http://[", "http://x y"])
def test_address_without_a_server_is_refused(address, capsys):
    pytest.importorskip("httpx", reason="needs httpx")
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--serve", address])
    assert stop.value.code == 2 and error_code(capsys.readouterr().err) == "unusable"
