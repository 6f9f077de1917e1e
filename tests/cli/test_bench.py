"""`vocalmtp bench` on the toy model: every figure is there, and shares are shares."""

import json

import pytest
from toy_model import save_toy_model

from vocalmtp.cli import main
from vocalmtp.eval import bench, shares, speed


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    model = save_toy_model(folder / "toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "SENTENCES", ("Hi.", "No."))
        patch.setattr(bench, "BATCHES", (1, 4))
        patch.setattr(bench, "cold_start", lambda model: speed.cold_start(model, repeats=1))
        patch.setattr(shares, "FRAMES", 20)
        patch.setattr(shares, "BANDWIDTH_BYTES", 2**20)
        with pytest.raises(SystemExit) as stop:
            main(["bench", str(model), "--json", str(folder / "speed.json")])
    assert stop.value.code == 0
    data = json.loads((folder / "speed.json").read_text())
    assert "threads" in " ".join(data["notes"])
    return {(line["what"], line["system"] == "next-token"): line for line in data["figures"]}


def test_every_figure_is_there(figures):
    names = {what for what, _ in figures}
    for part in ("real-time factor, batch 1", "throughput of batch 4 over batch 1", "first audio"):
        assert part in names
    assert "... peak memory" in names and "decode loop, batch 8: over next-token" in names
    for line in figures.values():
        figure = line["figure"]
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"]


def test_the_ratio_is_that_of_both_loops(figures):
    ours = figures["decode loop, batch 1: audio seconds a second", False]["figure"]["value"]
    twin = figures["decode loop, batch 1: audio seconds a second", True]["figure"]["value"]
    ratio = figures["decode loop, batch 1: over next-token", False]["figure"]["value"]
    assert ratio == pytest.approx(ours / twin)


def test_shares_sum_to_one(figures):
    found = [
        line["figure"]["value"]
        for (what, _), line in figures.items()
        if what.startswith("share of") and "Python" not in what
    ]
    assert len(found) == 6 and sum(found) == pytest.approx(1)
    share = figures["share of Python and dispatch in the loop, batch 1", False]["figure"]["value"]
    assert 0 < share < 1


def test_timing_leaves_no_trace(tmp_path):
    from vocalmtp.synthesis import load

    tts = load(save_toy_model(tmp_path / "toy"))
    before = dict(vars(tts.model.runner)), shares.RulePicker.all
    shares.time_shares(tts, repeats=1)
    assert (dict(vars(tts.model.runner)), shares.RulePicker.all) == before
    assert "propose" not in vars(tts.model.head)
