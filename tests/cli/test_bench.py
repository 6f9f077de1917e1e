"""`vocalmtp bench` on the toy model: every figure is there, and shares are shares."""

import json

import pytest
from helpers.errors import error_code
from helpers.toy_model import save_toy_model

from vocalmtp.bench import methods, shares, speed
from vocalmtp.bench import table as bench
from vocalmtp.cli import main
from vocalmtp.heads import DRAFTS


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
    from vocalmtp.tts import load

    tts = load(save_toy_model(tmp_path / "toy"))
    before = dict(vars(tts.model.runner)), shares.ConstrainedSampler.all
    shares.time_shares(tts, repeats=1)
    assert (dict(vars(tts.model.runner)), shares.ConstrainedSampler.all) == before
    assert "propose" not in vars(tts.model.head)


# -- methods side by side ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "SENTENCES", ("Hi.", "No."))
        patch.setattr(methods, "FRAMES", 6)
        patch.setattr(methods, "PASSES", 2)
        patch.setattr(methods, "BATCHES", (1, 2))
        toy = str(save_toy_model(folder / "toy"))
        with pytest.raises(SystemExit) as stop:
            main(["bench", toy, "--methods", "--json", str(folder / "methods.json")])
    assert stop.value.code == 0
    return json.loads((folder / "methods.json").read_text())


def test_every_head_and_draft_head_stands_beside_next_token(side_by_side):
    assert "random" in side_by_side["notes"][0]
    assert any(note.startswith("Machine:") for note in side_by_side["notes"])
    rows = {}
    for line in side_by_side["figures"]:
        rows.setdefault(line["section"], {}).setdefault(line["what"], {})[line["system"]] = line
    grouped, *drafting = rows.values()
    heads = {"linear", "mlp", "transformer", "depth", "elastic"}
    assert {name.partition(",")[0] for name in grouped} == {"next-token", *heads}
    assert len(grouped) == 1 + 3 * len(heads) and len(drafting) == 2
    assert {c["name"] for c in methods.DRAFTS.values()} == set(DRAFTS)
    for found in drafting:
        assert {"no drafts", "recursive, joint", "recursive, seed", "sequential, all"} <= set(found)
    for batch in (1, 2):
        base = grouped["next-token"][f"audio s/s, batch {batch}"]["figure"]["value"]
        for figures in grouped.values():
            ratio = figures[f"over next-token, batch {batch}"]["figure"]["value"]
            rate = figures[f"audio s/s, batch {batch}"]["figure"]["value"]
            assert ratio == pytest.approx(rate / base)


def test_what_does_not_go_together_is_one_line(run, model, capsys):
    assert run("bench", model, "--methods", "--drafts", "2") == 2
    assert error_code(capsys.readouterr().err) == "conflict"
    assert run("bench", model, "--methods", "--chat") == 2
    assert error_code(capsys.readouterr().err) == "conflict"
