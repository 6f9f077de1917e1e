"""The measurements, their reports and the command line, on a toy model and a toy corpus."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch

from vocalmtp import optional
from vocalmtp.audio.io import read_audio
from vocalmtp.bench import speed
from vocalmtp.bench.speed import (
    cold_start,
    first_audio,
    hardware,
    real_time_factors,
    steps_per_second,
)
from vocalmtp.cli import main
from vocalmtp.errors import InputError
from vocalmtp.evaluation import disentanglement, quality, similarity
from vocalmtp.evaluation.disentanglement import probe, probe_streams, swap_timbre
from vocalmtp.evaluation.items import pick_items
from vocalmtp.evaluation.report import Line, markdown, plot_bars, plot_spectrograms, write_report
from vocalmtp.evaluation.statistics import Estimate

LINES = [
    Line("WER", "natural", Estimate(0.1, 0.05, 0.2, 9), "%", 1),
    Line("WER", "tts", Estimate(0.2, 0.1, 0.3, 9), "%", 1),
    Line("STOI", "tts", Estimate(0.9, 0.8, float("nan"), 9)),
]
OWN = "similarity to the asked voice"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def figures(path) -> dict[tuple[str, str, str], dict]:
    rows = json.loads(path.read_text())["figures"]
    return {(row["section"], row["what"], row["system"]): row["figure"] for row in rows}


def test_report_has_a_column_a_system_and_pictures(manifest, tmp_path):
    text = write_report(tmp_path, "figures", LINES, ["A note."])
    assert text == (tmp_path / "figures.md").read_text().rstrip()
    assert text == markdown(LINES) + "\n\nA note."
    assert "| WER | 10.0 % [5.0, 20.0] | 20.0 % [10.0, 30.0] |" in text
    found = figures(tmp_path / "figures.json")
    assert found["", "STOI", "tts"] == {"value": 0.9, "low": 0.8, "high": None, "count": 9}
    files = [row.audio for row in pick_items(manifest, "test")]
    plot_spectrograms([("a", files[0], files[1])], tmp_path / "s.png")
    plot_bars(LINES, ["WER", "STOI", "not measured"], tmp_path / "b.png")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("s.png", "b.png"))


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_ears")
def test_intelligibility_goes_on_and_minds_its_settings(toy_folder, manifest, tmp_path, capsys):
    ask = ["eval", "intelligibility", "-m", manifest, "--model", toy_folder, "--processes", 1]
    ask += ["-o", tmp_path / "out", "--voices", "ann", "--limit", 1]
    assert run(*ask) == 0
    found = figures(tmp_path / "out" / "intelligibility.json")
    assert {system for _, _, system in found} == {"natural", "resynthesis", "tts"}
    assert found["", "failed", "natural"] == {"value": 0, "low": 0, "high": 0, "count": 1}
    assert "| WER, mean of sentences |" in capsys.readouterr().out
    heard = tmp_path / "out" / "rows" / "heard-natural.jsonl"
    before = heard.stat().st_mtime_ns
    assert run(*ask, "--temperature", 0) == 2
    assert "temperature None, not 0.0; choose another folder" in capsys.readouterr().err
    assert run(*ask, "--temperature", 0, "--fresh") == 0
    assert heard.stat().st_mtime_ns == before  # natural speech stays as it is


@pytest.mark.usefixtures("quick_ears")
def test_a_list_needs_no_recordings_for_our_own_speech(toy_folder, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("Hi.\n")
    ask = ["eval", "intelligibility", "-m", tmp_path / "list.txt", "--model", toy_folder]
    ask += ["-o", tmp_path / "out"]
    assert run(*ask) == 2
    assert "give --natural MANIFEST, or --systems tts" in capsys.readouterr().err
    assert run(*ask, "--systems", "tts", "--top-k", 5) == 0
    assert figures(tmp_path / "out" / "intelligibility.json")["", "WER", "tts"]["count"] == 1
    assert run(*ask, "--systems", "tts,speech") == 2
    assert "system 'speech': unknown" in capsys.readouterr().err


@pytest.mark.needs_eval
def test_similarity_by_the_length_of_the_reference(toy_folder, manifest, tmp_path):
    ask = ["eval", "similarity", "-m", manifest, "--model", toy_folder, "-o", tmp_path / "out"]
    ask += ["--limit", 1, "--speaker-conditioning", "decoder", "--reference-seconds"]
    assert run(*ask, "1,1.5") == 0
    found = figures(tmp_path / "out" / "similarity.json")
    systems = {system for _, what, system in found if what == OWN}
    assert systems == {"voice of 1 s", "voice of 1.5 s"}
    settings = json.loads((tmp_path / "out" / "1.5s" / "settings.json").read_text())
    assert settings["speaker_conditioning"] == "decoder" and settings["seconds"] == 1.5


@pytest.mark.needs_eval
@pytest.mark.usefixtures("quick_ears")
def test_all_figures_in_one_table(toy_folder, manifest, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "SENTENCES", ("Hi.",))
    monkeypatch.setattr("vocalmtp.evaluation.run.FEW", 1)
    monkeypatch.setattr("vocalmtp.evaluation.run.run_bench", lambda model, against: LINES)
    rows = manifest.read_text().replace('"split": "train"', '"split": "rare"', 1)
    manifest.write_text(rows)
    ask = ["eval", "all", "-m", manifest, "--model", toy_folder, "-o", tmp_path / "out"]
    assert run(*ask, "--processes", 1, "--against", toy_folder) == 0
    found = figures(tmp_path / "out" / "figures.json")
    sections = list(dict.fromkeys(section for section, _, _ in found))
    assert [section.split(" (")[0] for section in sections] == [
        "Ordinary sentences",
        "Sound",
        "Sentences with rare words",
        "The next-token twin on ordinary sentences",
        "Speed",
    ]
    ordinary, sound = sections[:2]
    for place in ((ordinary, "WER"), (ordinary, OWN), (sound, "DNSMOS OVRL")):
        systems = {s for *where, s in found if tuple(where) == place}
        assert systems == {"natural", "resynthesis", "tts"}
    out = capsys.readouterr().out
    assert "### Speed" in out and "cores" in out
    assert (tmp_path / "out" / "test" / "spectrograms-tts.png").is_file()


# -- the judges ------------------------------------------------------------------------------------


def test_a_missing_judge_is_named_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    with pytest.raises(InputError, match=r'run: pip install "vocalmtp\[eval\]"'):
        optional.require("resemblyzer")


def test_similarity_is_that_of_the_asked_voice_and_silence_is_like_nobody():
    targets = {"a": np.array([1.0, 0.0]), "b": np.array([0.6, 0.8])}
    vectors = [targets["a"], None, targets["b"]]
    own, other = similarity.compare(vectors, ["a", "a", "unknown"], targets)
    assert own.value == 0.5 and own.count == 2
    assert other.value == pytest.approx(0.3)


@pytest.mark.needs_eval
def test_judges_of_one_recording(manifest):
    files = [row.audio for row in pick_items(manifest)]
    same = quality.against(files[0], files[0])
    assert same["stoi"] > 0.99 and same["pesq"] > 4.5
    assert quality.against(files[0], files[2])["pesq"] < same["pesq"]
    soundfile.write(files[0], read_audio(files[0], 16_000)[:14_880], 16_000)  # 0.93 s
    ours = quality.dnsmos(files[0])
    theirs = optional.require("speechmos.dnsmos").run(read_audio(files[0], 16_000), 16_000)
    assert ours == {name: pytest.approx(theirs[f"{name}_mos"], abs=1e-4) for name in ours}
    vector = similarity.embed(files[0])
    assert vector.shape == (256,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)


# -- probes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", disentanglement.PROBES.values(), ids=disentanglement.PROBES)
def test_a_probe_finds_what_is_there_and_nothing_else(hidden, monkeypatch):
    monkeypatch.setattr(disentanglement, "PROBE_STEPS", 150)
    codes = torch.randint(0, 8, (2000, 2))
    train = torch.arange(2000) % 3 != 0
    told = probe(codes, codes[:, 1] % 4, train, 4, hidden).argmax(-1)
    guess = torch.randint(0, 4, (2000,))
    noise = probe(codes, guess, train, 4, hidden).argmax(-1)
    assert (told == codes[:, 1] % 4)[~train].float().mean() > 0.99
    assert (noise == guess)[~train].float().mean() < 0.35
    value = probe(codes, codes[:, 0].float(), train, None, hidden)
    assert torch.corrcoef(torch.stack([value, codes[:, 0].float()]))[0, 1] > 0.99


def test_probes_are_scored_on_sentences_they_have_not_seen(tts, manifest, monkeypatch):
    monkeypatch.setattr(disentanglement, "PROBE_STEPS", 20)
    rows = pick_items(manifest, "train") + pick_items(manifest, "test")
    frames = disentanglement.gather(tts.tokenizer, rows)
    held = {rows[int(u)].text for u in torch.unique(frames.utterances[frames.held])}
    seen = {rows[int(u)].text for u in torch.unique(frames.utterances[~frames.held])}
    assert held and seen and not held & seen
    lines = {(line.what, line.system): line for line in probe_streams(tts.tokenizer, rows)}
    for probed in ("linear", "mlp"):
        for system in ("content", "prosody", "chance"):
            share = lines[f"phone accuracy, {probed} probe", system].figure
            assert 0 <= share.low <= share.value <= share.high <= 1
        assert -1 <= lines[f"F0 correlation, {probed} probe", "prosody"].figure.value <= 1


@pytest.mark.needs_eval
def test_swapped_timbre_is_compared_with_both_voices(tts, manifest, tmp_path):
    rows = pick_items(manifest, "train") + pick_items(manifest, "test")
    lines = swap_timbre(tts.tokenizer, rows, tmp_path / "swapped", references=2)
    assert len(list((tmp_path / "swapped").glob("ann-as-bob-*.wav"))) == 2
    assert all(line.figure.count == 4 and -1 <= line.figure.value <= 1 for line in lines)
    with pytest.raises(InputError, match="needs two voices"):
        swap_timbre(tts.tokenizer, rows, tmp_path, references=9)


# -- speed -----------------------------------------------------------------------------------------


def test_speed_figures_are_positive_and_ordered(tts):
    factors = real_time_factors(tts, (1, 2), repeats=2, temperature=1.0)
    rates = steps_per_second({"a": tts}, frames=8, repeats=2)["a"]
    wait = first_audio(tts, repeats=2, temperature=1.0)
    for figure in (*factors.values(), *rates.values(), wait):
        assert 0 < figure.low <= figure.value <= figure.high and figure.count == 2
    # 2 frames a step at 25 frames a second
    assert rates["audio"].value == pytest.approx(rates["steps"].value * 2 / 25)
    assert "cores" in hardware()


def test_cold_start_is_of_the_process_alone(toy_folder, tmp_path):
    ballast = np.ones(150_000_000)  # 1.1 GiB here, which must not count there
    seconds, memory = cold_start(toy_folder, repeats=1)
    assert seconds.value > 0 and 0.05 < memory.value < ballast.nbytes / 2**30
    with pytest.raises(InputError, match="'vocalmtp tts' failed"):
        cold_start(tmp_path / "nothing", repeats=1)
