"""`vocalmtp eval tokenizer`: any card, and n/a for what its kind does not have."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.tiny_codecs import make_tiny

from vocalmtp.cli import main
from vocalmtp.errors import InputError
from vocalmtp.evaluation import disentanglement
from vocalmtp.evaluation.disentanglement import gather, probe_streams, stream_groups
from vocalmtp.evaluation.items import pick_items
from vocalmtp.evaluation.quality import mel_distance
from vocalmtp.evaluation.tokenizer import (
    codebook_use,
    measure_speed,
    measure_tokenizer,
    probe_groups,
    swapped,
)
from vocalmtp.tokenizers import StreamSpec, TokenizerSpec

TWO = (StreamSpec(name="a", size=8, role="content"), StreamSpec(name="b", size=4, role="acoustic"))
CARD = TokenizerSpec(name="x", kind="coupled", sample_rate=16_000, frame_rate=50, streams=TWO)


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch):
    monkeypatch.setattr(disentanglement, "PROBE_STEPS", 5)


def values(lines) -> dict[tuple[str, str], float]:
    return {(line.what, line.system): line.figure.value for line in lines}


def test_perplexity_is_the_number_of_codes_that_are_equally_frequent():
    codes = torch.stack([torch.arange(400) % 4, torch.zeros(400, dtype=torch.int64)], dim=1)
    found = values(codebook_use(CARD, codes))
    assert found["frames", "perplexity"] == 400
    assert found["a, 8 codes", "perplexity"] == pytest.approx(4)
    assert found["a, 8 codes", "used"] == 0.5
    assert found["b, 4 codes", "perplexity"] == 1 and found["b, 4 codes", "used"] == 0.25


def test_mel_distance_is_the_difference_in_decibels():
    noise = torch.randn(16_000).numpy()
    assert mel_distance(noise, noise) == 0
    assert mel_distance(noise, noise * 0.5) == pytest.approx(6.02, abs=0.01)
    assert mel_distance(noise * 0, noise * 1e-9) == 0


def test_groups_follow_the_roles():
    assert stream_groups(CARD) == {"content": [0], "acoustic": [1]}
    kinds = {
        "mini": {"content": [0, 1, 2], "prosody": [3]},
        "mini-semi-decoupled": {"content": [0], "acoustic": [1, 2, 3]},
        "mini-coupled": {"acoustic": [0, 1, 2, 3]},
    }
    assert {name: stream_groups(make_tiny(name).spec) for name in kinds} == kinds


@pytest.mark.parametrize("name", ["mini-coupled", "mini-semi-decoupled", "mimi-8", "snac-24khz"])
def test_probes_say_na_for_groups_that_a_kind_has_not(name, manifest):
    tokenizer, rows = make_tiny(name), pick_items(manifest, None)
    lines = probe_groups(tokenizer.spec, gather(tokenizer, rows))
    found = values(lines)
    for group in ("content", "prosody", "acoustic"):
        figure = found["phone accuracy, mlp probe", group]
        assert (figure == figure) == (group in stream_groups(tokenizer.spec))
    assert 0 < found["speaker accuracy, mlp probe", "chance"] <= 1
    assert all(line.figure.count == 0 for line in swapped(tokenizer, rows, manifest.parent))


def test_what_the_manifest_does_not_tell_is_na(manifest):
    tokenizer = make_tiny("mini-coupled")
    rows = [replace(row, phones=(), voice="ann") for row in pick_items(manifest)]
    found = values(probe_groups(tokenizer.spec, gather(tokenizer, rows)))
    whats = ("phone accuracy, mlp probe", "speaker accuracy, mlp probe")
    assert all(
        found[what, who] != found[what, who] for what in whats for who in ("acoustic", "chance")
    )
    assert found["F0 correlation, mlp probe", "acoustic"] <= 1
    alone = probe_groups(tokenizer.spec, gather(tokenizer, rows[:1]))
    assert all(line.figure.count == 0 for line in alone)
    with pytest.raises(InputError, match="no phone times"):
        probe_streams(tokenizer, rows)


def test_speed_is_that_of_encoding_and_decoding(manifest):
    tokenizer, rows = make_tiny("mini-coupled"), pick_items(manifest)
    found = measure_speed(tokenizer, rows)
    assert values(found)["bits per second", "mini-coupled"] == 1000
    assert all(line.figure.low > 0 and line.figure.count == 3 for line in found[1:])
    assert measure_speed(tokenizer, rows, decodes=False)[-1].figure.count == 0


def test_a_tokenizer_without_a_decoder_has_no_resynthesis(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("vocalmtp.evaluation.tokenizer.require", None)  # no judge is asked for
    rows = pick_items(manifest)
    sections = measure_tokenizer(make_tiny("s3-v2"), rows, rows, tmp_path / "out")
    assert "Resynthesis" not in sections
    assert values(sections["Use of the codes"])["fsq, 6561 codes", "perplexity"] >= 1


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_a_missing_judge_is_named_before_the_work(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pesq", None)
    make_tiny("mini-coupled").save_pretrained(tmp_path / "codec")
    ask = ["eval", "tokenizer", tmp_path / "codec", "-m", manifest, "-o", tmp_path / "out"]
    assert run(*ask) == 2
    assert "package 'pesq': cannot be imported" in capsys.readouterr().err
    assert not (tmp_path / "out" / "audio").exists()


@pytest.mark.needs_eval
@pytest.mark.usefixtures("quick_ears")
def test_every_figure_of_a_tokenizer_in_one_report(manifest, tmp_path, capsys, monkeypatch):
    # Slow judges, which have tests of their own.
    opinion = {"ovrl": 3.0, "sig": 3.0, "bak": 3.0}
    monkeypatch.setattr("vocalmtp.evaluation.quality.dnsmos", lambda path: opinion)
    monkeypatch.setattr("vocalmtp.evaluation.similarity.embed", lambda path: np.ones(256) / 16)
    make_tiny("mini-coupled").save_pretrained(tmp_path / "codec")
    ask = ["eval", "tokenizer", f"mini-coupled={tmp_path / 'codec'}", "-m", manifest]
    ask += ["-o", tmp_path / "out", "--processes", 1]
    assert run(*ask) == 0
    text = capsys.readouterr().out
    assert "### Use of the codes" in text and "coupled, 4 streams at 25 frames" in text
    rows = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["figures"]
    found = {(row["what"], row["system"]): row["figure"]["value"] for row in rows}
    for what in ("WER", "similarity to the asked voice", "DNSMOS OVRL"):
        assert all(found[what, system] is not None for system in ("natural", "resynthesis"))
    for what in ("STOI", "PESQ-WB", "mel distance"):
        assert isinstance(found[what, "resynthesis"], float)
    assert found["phone accuracy, mlp probe", "content"] is None
    make_tiny("mini-semi-decoupled").save_pretrained(tmp_path / "other")
    ask[2] = tmp_path / "other"
    assert run(*ask) == 2
    assert "choose another folder, or --fresh" in capsys.readouterr().err
