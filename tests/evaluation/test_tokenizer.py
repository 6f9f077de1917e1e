"""`vocalmtp eval tokenizer`: any kind of tokenizer, with n/a for what its kind does not have."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.command_line import run
from helpers.errors import error_code, raises_input_error
from helpers.tiny_codecs import make_tiny

from vocalmtp.evaluation import probes
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import Evaluators
from vocalmtp.evaluation.probes import gather, probe_streams, stream_groups
from vocalmtp.evaluation.sentences import pick_items
from vocalmtp.evaluation.tokenizer import (
    codebook_use,
    measure_speed,
    measure_tokenizer,
    probe_groups,
    swap_timbre,
)
from vocalmtp.tokenizers import StreamSpec, TokenizerSpec

TWO = (StreamSpec(name="a", size=8, role="content"), StreamSpec(name="b", size=4, role="acoustic"))
SPEC = TokenizerSpec(name="x", kind="coupled", sample_rate=16_000, frame_rate=50, streams=TWO)
JUDGES = ["test-loudness", "test-three"]


@pytest.fixture(autouse=True)
def short_probes(monkeypatch):
    monkeypatch.setattr(probes, "PROBE_STEPS", 5)


def values(metrics) -> dict[tuple[str, str], float]:
    return {(metric.name, metric.system): metric.estimate.value for metric in metrics}


def test_perplexity_is_the_number_of_equally_frequent_codes():
    codes = torch.stack([torch.arange(400) % 4, torch.zeros(400, dtype=torch.int64)], dim=1)
    found = values(codebook_use(SPEC, codes))
    assert found["frames", "perplexity"] == 400
    assert found["a, 8 codes", "perplexity"] == pytest.approx(4)
    assert found["a, 8 codes", "used"] == 0.5
    assert found["b, 4 codes", "perplexity"] == 1 and found["b, 4 codes", "used"] == 0.25


def test_groups_follow_the_roles_of_streams():
    assert stream_groups(SPEC) == {"content": [0], "acoustic": [1]}
    kinds = {
        "mini": {"content": [0, 1, 2], "prosody": [3]},
        "mini-semi-decoupled": {"content": [0], "acoustic": [1, 2, 3]},
        "mini-coupled": {"acoustic": [0, 1, 2, 3]},
    }
    assert {name: stream_groups(make_tiny(name).spec) for name in kinds} == kinds


@pytest.mark.parametrize("name", ["mini-coupled", "mini-semi-decoupled", "mimi-8", "snac-24khz"])
def test_probes_of_missing_groups_are_not_measured(name, manifest):
    tokenizer, rows = make_tiny(name), pick_items(manifest, None)
    found = values(probe_groups(tokenizer.spec, gather(tokenizer, rows)))
    for group in ("content", "prosody", "acoustic"):
        value = found["phone accuracy, mlp probe", group]
        assert (value == value) == (group in stream_groups(tokenizer.spec))
    assert 0 < found["speaker accuracy, mlp probe", "chance"] <= 1


def test_labels_that_the_manifest_lacks_are_not_measured(manifest):
    tokenizer = make_tiny("mini-coupled")
    rows = [replace(row, phones=(), voice="ann") for row in pick_items(manifest)]
    found = values(probe_groups(tokenizer.spec, gather(tokenizer, rows)))
    names = ("phone accuracy, mlp probe", "speaker accuracy, mlp probe")
    assert all(
        found[name, system] != found[name, system]
        for name in names
        for system in ("acoustic", "chance")
    )
    assert found["F0 correlation, mlp probe", "acoustic"] <= 1
    alone = probe_groups(tokenizer.spec, gather(tokenizer, rows[:1]))
    assert all(metric.estimate.count == 0 for metric in alone)
    with raises_input_error("missing", "manifest"):
        probe_streams(tokenizer, rows)


def test_speed_is_measured_for_encoding_and_decoding(manifest):
    tokenizer, rows = make_tiny("mini-coupled"), pick_items(manifest)
    found = measure_speed(tokenizer, rows)
    assert values(found)["bits per second", "mini-coupled"] == 1000
    assert all(m.estimate.low > 0 and m.estimate.count == 3 for m in found[1:])
    assert measure_speed(tokenizer, rows, decodes=False)[-1].estimate.count == 0


def test_timbre_is_swapped_between_voices_that_have_references(tts, manifest, tmp_path):
    references = pick_items(manifest, "train")
    evaluators = Evaluators(Judges(JUDGES), references, tmp_path)
    found = swap_timbre(tts.tokenizer, pick_items(manifest), evaluators, tmp_path)
    assert all(estimate.count == 3 and -1 <= estimate.value <= 1 for estimate in found.values())
    assert len(list((tmp_path / "audio" / "swapped-resynthesis").glob("*.wav"))) == 3
    one_voice = Evaluators(Judges(JUDGES), references[:1], tmp_path)
    assert swap_timbre(tts.tokenizer, pick_items(manifest), one_voice, tmp_path) == {}


def test_tokenizer_without_a_decoder_has_no_resynthesis(manifest, tmp_path):
    rows = pick_items(manifest)
    tokenizer = make_tiny("s3-v2")
    sections = measure_tokenizer(tokenizer, rows, rows, Judges(JUDGES), tmp_path / "out")
    assert "Resynthesis" not in sections
    assert values(sections["Codebook use"])["fsq, 6561 codes", "perplexity"] >= 1
    assert all(metric.estimate.count == 0 for metric in sections["Speaker vector"])


def test_missing_package_is_reported_before_the_work(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pesq", None)
    make_tiny("mini-coupled").save_pretrained(tmp_path / "codec")
    command = ["eval", "tokenizer", tmp_path / "codec", "-m", manifest, "-o", tmp_path / "out"]
    assert run(*command) == 2
    assert error_code(capsys.readouterr().err) == "not_installed"
    assert not (tmp_path / "out" / "audio").exists()


@pytest.mark.usefixtures("hi_there")
def test_all_metrics_of_a_tokenizer_are_in_one_report(manifest, tmp_path, capsys):
    pytest.importorskip("pesq")
    make_tiny("mini-coupled").save_pretrained(tmp_path / "codec")
    command = ["eval", "tokenizer", f"mini-coupled={tmp_path / 'codec'}", "-m", manifest]
    command += ["-o", tmp_path / "out", "--processes", 1]
    command += [part for name in JUDGES for part in ("--judge", name)]
    assert run(*command) == 0
    assert "### Codebook use" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["metrics"]
    found = {(row["name"], row["system"]): row["estimate"]["value"] for row in rows}
    for name in ("WER", "similarity to the target voice", "MOS OVRL"):
        assert all(found[name, system] is not None for system in ("natural", "resynthesis"))
    for name in ("STOI", "PESQ-WB", "mel distance"):
        assert isinstance(found[name, "resynthesis"], float)
    assert found["phone accuracy, mlp probe", "content"] is None
    make_tiny("mini-semi-decoupled").save_pretrained(tmp_path / "other")
    command[2] = tmp_path / "other"
    capsys.readouterr()
    assert run(*command) == 2
    assert error_code(capsys.readouterr().err) == "other_run"


def test_disentanglement_has_probes_and_swapped_timbre(tts, toy_folder, manifest, tmp_path):
    pytest.importorskip("jiwer")
    command = ["eval", "disentanglement", "-m", manifest, "--model", toy_folder]
    command += ["-o", tmp_path / "out", "--judge", "test-loudness"]
    assert run(*command) == 0
    rows = json.loads((tmp_path / "out" / "disentanglement.json").read_text())["metrics"]
    assert {"content", "prosody", "chance", "swapped timbre"} == {row["system"] for row in rows}
    assert np.isfinite([r["estimate"]["value"] for r in rows if r["system"] == "content"]).all()
