"""The measurements on a toy model and a toy corpus: files, resume, failures, reports."""

import json

import numpy as np
import pytest
import soundfile
import torch
from toy_model import save_toy_model

from vocalmtp.audio import Audio
from vocalmtp.errors import InputError
from vocalmtp.eval.disentanglement import probe
from vocalmtp.eval.measure import measure_intelligibility
from vocalmtp.eval.report import Line, markdown, plot_spectrograms, write_report
from vocalmtp.eval.speed import first_audio, hardware, real_time_factors, steps_per_second
from vocalmtp.eval.statistics import Figure
from vocalmtp.eval.systems import SYSTEMS, pick_items, pick_references, speak, voices_of
from vocalmtp.synthesis import load


@pytest.fixture(scope="module")
def tts(tmp_path_factory):
    return load(save_toy_model(tmp_path_factory.mktemp("model") / "toy"))


@pytest.fixture
def manifest(tmp_path):
    random, lines = np.random.default_rng(0), []
    for i, voice in enumerate(("ann", "ann", "bob")):
        soundfile.write(tmp_path / f"{i}.wav", random.standard_normal(16_000) * 0.1, 16_000)
        row = {"id": f"t/{i}", "audio": f"{i}.wav", "text": "hi there.", "voice": voice}
        lines.append(json.dumps(row | {"split": "test", "seconds": 1.0}) + "\n")
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(lines))
    return path


def test_items_are_picked_by_voice_and_number(manifest):
    assert [row.id for row in pick_items(manifest, "test", ["ann"], 1)] == ["t/0"]
    assert len(pick_items(manifest, "test")) == 3
    with pytest.raises(InputError, match="voices 'eve'"):
        pick_items(manifest, "test", ["eve"])


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_spoken_once(tts, manifest, tmp_path, system):
    items = pick_items(manifest, "test")
    first = speak(system, items, tts, tmp_path / "out", temperature=1.0)
    assert [s.id for s in first] == ["t/0", "t/1", "t/2"] and all(s.audio.is_file() for s in first)
    before = first[0].audio.stat().st_mtime_ns
    assert speak(system, items, tts, tmp_path / "out", temperature=1.0) == first
    assert first[0].audio.stat().st_mtime_ns == before


def test_a_voice_the_model_lacks_is_made_from_a_recording(tts, manifest):
    text = manifest.read_text().replace('"bob"', '"eve"')
    manifest.write_text(text)
    items = pick_items(manifest, "test")
    voices = voices_of(items, tts)
    assert voices["ann"] is tts.voices["ann"] and "2.wav" in voices["eve"].origin
    rows = pick_references(manifest, ["ann", "eve"], items, limit=1)
    assert [(row.voice, row.id) for row in rows] == [("ann", "t/0"), ("eve", "t/2")]


def test_failures_are_named_and_score_everything(tts, manifest, tmp_path, monkeypatch):
    made = iter(
        [
            Audio(np.zeros(16_000, np.float32), 16_000),
            Audio(np.full(100, 0.1, np.float32), 16_000),
            Audio(np.full(32_000, 0.1, np.float32), 16_000),
        ]
    )
    monkeypatch.setattr(tts, "batch", lambda *args, **kwargs: made)
    spoken = speak("tts", pick_items(manifest, "test"), tts, tmp_path / "out")
    assert [s.failure for s in spoken] == ["empty", "cut off", "runaway"]
    lines = {(x.what, x.system): x for x in measure_intelligibility({"tts": spoken}, tmp_path, 1)}
    assert lines["failed", "tts"].figure.value == 1.0 and lines["WER", "tts"].figure.value == 1.0


def test_a_probe_finds_what_is_there_and_nothing_else():
    torch.manual_seed(0)
    codes = torch.randint(0, 8, (2000, 2))
    train = torch.arange(2000) % 3 != 0
    told = probe(codes, codes[:, 1] % 4, train, 4).argmax(-1)
    noise = probe(codes, torch.randint(0, 4, (2000,)), train, 4).argmax(-1)
    assert (told == codes[:, 1] % 4)[~train].float().mean() > 0.99
    assert (noise == torch.randint(0, 4, (2000,)))[~train].float().mean() < 0.35
    value = probe(codes, codes[:, 0].float(), train, None)
    assert torch.corrcoef(torch.stack([value, codes[:, 0].float()]))[0, 1] > 0.99


def test_speed_figures_are_positive_and_ordered(tts):
    factors = real_time_factors({"a": tts, "b": tts}, 2, repeats=2, temperature=1.0)
    rates = steps_per_second({"a": tts}, steps=4, repeats=2)["a"]
    wait = first_audio(tts, repeats=2, temperature=1.0)
    for figure in (*factors.values(), *rates.values(), wait):
        assert 0 < figure.low <= figure.value <= figure.high and figure.count == 2
    # 2 frames a step at 25 frames a second
    assert rates["audio"].value == pytest.approx(rates["steps"].value * 2 / 25)
    assert "cores" in hardware()


def test_report_has_a_column_a_system_and_pictures(manifest, tmp_path):
    lines = [
        Line("WER", "natural", Figure(0.1, 0.05, 0.2, 9), "%", 1),
        Line("WER", "tts", Figure(0.2, 0.1, 0.3, 9), "%", 1),
        Line("STOI", "tts", Figure(0.9, 0.8, 1.0, 9)),
    ]
    text = write_report(tmp_path, "figures", lines, ["A note."])
    assert text == markdown(lines, ["A note."]) == (tmp_path / "figures.md").read_text().rstrip()
    assert "| WER | 10.0 % [5.0, 20.0] | 20.0 % [10.0, 30.0] |" in text
    assert json.loads((tmp_path / "figures.json").read_text())["figures"][2]["what"] == "STOI"
    files = [row.audio for row in pick_items(manifest, "test")]
    plot_spectrograms([("a", files[0], files[1])], tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000
