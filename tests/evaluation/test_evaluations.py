"""The evaluations of `vocalmtp eval`, on a toy model, a toy corpus and fast judges."""

import json

import numpy as np
import pytest
from helpers.command_line import run
from helpers.errors import error_code

from vocalmtp.audio.io import read_audio
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import Evaluators, compare, fidelity, mel_distance
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.run import recognition_metrics
from vocalmtp.evaluation.sentences import pick_items
from vocalmtp.evaluation.statistics import single
from vocalmtp.evaluation.systems import CodecOnly, synthesize
from vocalmtp.recognizers.base import Recognizer

OWN = "similarity to the target voice"
JUDGES = ["--judge", "test-loudness", "--judge", "test-three"]


def metrics_of(path) -> dict[tuple[str, str, str], dict]:
    rows = json.loads(path.read_text())["metrics"]
    return {(row["section"], row["name"], row["system"]): row["estimate"] for row in rows}


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hi_there")
def test_intelligibility_continues_and_refuses_other_settings(
    toy_folder, manifest, tmp_path, capsys
):
    command = ["eval", "intelligibility", "-m", manifest, "--model", toy_folder, "--processes", 1]
    command += ["-o", tmp_path / "out", "--voices", "ann", "--limit", 1]
    assert run(*command) == 0
    found = metrics_of(tmp_path / "out" / "intelligibility.json")
    assert {system for _, _, system in found} == {"natural", "resynthesis", "tts"}
    assert found["", "success", "natural"] == {"value": 1, "low": 1, "high": 1, "count": 1}
    assert found["", "WER", "natural"]["value"] == 0
    rows = tmp_path / "out" / "rows" / "transcripts-pocketsphinx-natural.jsonl"
    before = rows.stat().st_mtime_ns
    capsys.readouterr()
    assert run(*command, "--temperature", 0) == 2
    assert error_code(capsys.readouterr().err) == "other_run"
    assert run(*command, "--temperature", 0, "--fresh") == 0
    assert rows.stat().st_mtime_ns == before  # natural speech is the same


@pytest.mark.usefixtures("hi_there")
def test_a_list_of_sentences_needs_recordings_only_for_natural_speech(toy_folder, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("Hi.\n")
    command = ["eval", "intelligibility", "-m", tmp_path / "list.txt", "--model", toy_folder]
    command += ["-o", tmp_path / "out"]
    assert run(*command) == 2
    assert error_code(capsys.readouterr().err) == "missing"
    assert run(*command, "--systems", "tts", "--top-k", 5) == 0
    assert metrics_of(tmp_path / "out" / "intelligibility.json")["", "WER", "tts"]["count"] == 1
    capsys.readouterr()
    assert run(*command, "--systems", "tts,speech") == 2
    assert error_code(capsys.readouterr().err) == "unknown_name"


def test_similarity_by_the_length_of_the_reference(toy_folder, manifest, tmp_path):
    command = ["eval", "similarity", "-m", manifest, "--model", toy_folder, "-o", tmp_path / "out"]
    command += ["--limit", 1, "--speaker-conditioning", "decoder", "--reference-seconds"]
    assert run(*command, "1,1.5", *JUDGES) == 0
    found = metrics_of(tmp_path / "out" / "similarity.json")
    systems = {system for _, name, system in found if name == OWN}
    assert systems == {"voice of 1 s", "voice of 1.5 s"}
    settings = json.loads((tmp_path / "out" / "1.5s" / "settings.json").read_text())
    assert settings["speaker_conditioning"] == "decoder" and settings["seconds"] == 1.5


@pytest.mark.usefixtures("hi_there")
def test_all_metrics_are_in_one_report(toy_folder, manifest, tmp_path, capsys, monkeypatch):
    pytest.importorskip("pesq")
    monkeypatch.setattr("vocalmtp.evaluation.run.MOS_ITEMS", 1)
    speed = [Metric("RTF", "tts", single(0.5))]
    monkeypatch.setattr("vocalmtp.bench.run.run_bench", lambda *_, **__: speed)
    rows = manifest.read_text().replace('"split": "train"', '"split": "rare"', 1)
    manifest.write_text(rows)
    command = ["eval", "all", "-m", manifest, "--model", toy_folder, "-o", tmp_path / "out"]
    command += ["--limit", 1, "--processes", 1, "--against", toy_folder, *JUDGES]
    assert run(*command) == 0
    found = metrics_of(tmp_path / "out" / "metrics.json")
    sections = list(dict.fromkeys(section for section, _, _ in found))
    assert [section.split(" (")[0] for section in sections] == [
        "Ordinary sentences",
        "Quality",
        "Sentences with rare words",
        "The next-token model on ordinary sentences",
        "Speed",
    ]
    ordinary, quality = sections[:2]
    for place in ((ordinary, "WER"), (ordinary, OWN), (quality, "MOS OVRL")):
        systems = {s for *where, s in found if tuple(where) == place}
        assert systems == {"natural", "resynthesis", "tts"}
    assert (quality, "STOI", "resynthesis") in found
    assert "### Speed" in capsys.readouterr().out
    assert (tmp_path / "out" / "test" / "spectrograms-tts.png").is_file()


class Constant(Recognizer):
    """A recognizer that always returns the same word, and counts its calls."""

    name = description = "constant"

    def __init__(self) -> None:
        self.calls = 0

    def transcribe(self, samples: np.ndarray) -> str:
        self.calls += 1
        return "hi"


def test_recognizer_has_a_word_error_rate_for_every_voice(manifest, tmp_path):
    recognizer, items = Constant(), pick_items(manifest, "test")
    metrics = recognition_metrics(recognizer, items, tmp_path)
    found = {metric.system: metric.estimate.value for metric in metrics}
    assert found == {"all": 4 / 6, "ann": 3 / 4, "bob": 1 / 2}
    assert recognition_metrics(recognizer, items, tmp_path) == metrics
    assert recognizer.calls == 3  # transcripts are kept


@pytest.mark.usefixtures("hi_there")
def test_recognition_refuses_the_rows_of_another_recognizer(manifest, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("Hi there.\n")
    command = ["eval", "recognition", "-m", manifest, "-o", tmp_path / "out", "--split", "test"]
    command += ["--judge", f"pocketsphinx={tmp_path / 'texts.txt'}"]
    row = {"id": "x", "transcript": ""}
    (tmp_path / "out" / "rows").mkdir(parents=True)
    (tmp_path / "out" / "settings.json").write_text('{"recognizer": "pocketsphinx"}')
    (tmp_path / "out" / "rows" / "recognition.jsonl").write_text(json.dumps(row) + "\n")
    assert run(*command) == 2
    assert error_code(capsys.readouterr().err) == "other_run"


# -- metrics ---------------------------------------------------------------------------------------


def test_similarity_is_that_of_the_target_voice_and_zero_for_silence():
    targets = {"a": np.array([1.0, 0.0]), "b": np.array([0.6, 0.8])}
    vectors = [targets["a"], None, targets["b"]]
    own, other = compare(vectors, ["a", "a", "unknown"], targets)
    assert own.value == 0.5 and own.count == 2
    assert other.value == pytest.approx(0.3)


def test_swapped_speech_is_compared_with_both_voices(manifest, tmp_path):
    references = pick_items(manifest, "train")
    evaluators = Evaluators(Judges(["test-loudness"]), references, tmp_path)
    spoken = synthesize("natural", pick_items(manifest, "test"), CodecOnly(), tmp_path)
    found = evaluators.swapped("natural", spoken, tmp_path)
    assert found["swapped_to_vector"].count == found["swapped_to_codes"].count == 3


def test_opinion_scores_put_the_overall_one_first(manifest, tmp_path):
    evaluators = Evaluators(Judges(["test-three"]), [], tmp_path)
    spoken = synthesize("natural", pick_items(manifest, "test"), CodecOnly(), tmp_path)
    found = evaluators.opinion("natural", spoken, tmp_path)
    assert {name: estimate.value for name, estimate in found.items()} == {
        "MOS OVRL": 3.0,
        "MOS SIG": 3.5,
    }


def test_mel_distance_is_the_difference_in_decibels():
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert mel_distance(noise, noise) == 0
    assert mel_distance(noise, noise * 0.5) == pytest.approx(6.02, abs=0.01)
    assert mel_distance(noise * 0, noise * 1e-9) == 0


@pytest.mark.needs_eval
def test_fidelity_is_highest_for_the_recording_itself(manifest):
    files = [row.audio for row in pick_items(manifest, "test")]
    same, other = fidelity(files[0], files[0]), fidelity(files[0], files[2])
    assert same["stoi"] > 0.99 and same["pesq"] > 4.5 and same["mel"] == 0
    assert other["pesq"] < same["pesq"] and other["mel"] > 0
    assert len(read_audio(files[0], 16_000)) == 16_000
