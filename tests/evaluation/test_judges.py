"""Judges by name, and a tiny random WavLM of Transformers in the published layout."""

import pickle
import sys

import numpy as np
import pytest
import torch
from helpers.errors import raises_input_error
from helpers.sounds import buzz

from vocalmtp.evaluation.judges import MOS_JUDGES, SPEAKER_JUDGES, Judges
from vocalmtp.recognizers.base import RECOGNIZERS

TINY = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
TINY |= {"num_attention_heads": 2, "initializer_range": 1.0}


def test_wavlm_gives_unit_vectors(tmp_path):
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    config = WavLMConfig(
        **TINY,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(8, 8, 8, 8, 8),
        xvector_output_dim=12,
    )
    WavLMForXVector(config).save_pretrained(tmp_path / "wavlm")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wavlm")
    judge = Judges([f"wavlm={tmp_path / 'wavlm'}"]).speaker
    vector = judge.embed(buzz(1.0))
    assert vector.shape == (12,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vector, judge.embed(buzz(1.0))) and judge.name.startswith("wavlm-")


def test_every_kind_has_a_default_and_can_be_chosen():
    judges = Judges(["test-three", "test-loudness"])
    assert judges.spec("recognizer") == "pocketsphinx" and judges.spec("mos") == "test-three"
    assert judges.speaker.embed(np.ones(4)) == pytest.approx([0, 1])
    assert judges.mos.score(np.ones(4))["ovrl"] == 3


def test_recognizers_after_the_first_are_further_ones():
    judges = Judges(["test-three", "pocketsphinx", "whisper=x"])
    assert judges.spec("recognizer") == "pocketsphinx" and judges.further == ["whisper=x"]
    copy = pickle.loads(pickle.dumps(judges))
    assert copy.further == ["whisper=x"]


def test_a_fetched_recognizer_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("VOCALMTP_CACHE", str(tmp_path))
    assert Judges().spec("recognizer") == "pocketsphinx"
    monkeypatch.setattr(
        "vocalmtp.evaluation.judges.first_fetched", {"recognizer": "whisper-tiny.en"}.get
    )
    assert Judges().spec("recognizer") == "whisper-tiny.en"
    assert Judges(["pocketsphinx"]).spec("recognizer") == "pocketsphinx"


def test_judges_run_on_the_resolved_device():
    judges = Judges(["test-three", "test-loudness"], device="auto")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert judges.speaker.device == judges.mos.device == expected
    with raises_input_error("unknown_name", "device"):
        _ = Judges(["test-three"], device="gpu").mos


def test_names_of_judges_are_unique_over_all_kinds():
    names = [*RECOGNIZERS, *SPEAKER_JUDGES, *MOS_JUDGES]
    assert len(set(names)) == len(names)


def test_judges_are_pickled_without_their_models():
    judges = Judges(["test-loudness"])
    judges.speaker.unpicklable = lambda: None
    copy = pickle.loads(pickle.dumps(judges))
    assert copy.chosen == judges.chosen and copy.speaker is not judges.speaker


@pytest.mark.parametrize(
    ("specs", "kind", "code", "key"),
    [
        (["pocketspinx"], None, "unknown_name", "judge"),
        (["resemblyser"], None, "unknown_name", "judge"),
        (["resemblyzer", "wavlm=x"], None, "conflict", "judge"),
        (["whisper"], "recognizer", "missing", "recognizer"),
        (["pocketsphinx=x"], "recognizer", "unusable", "recognizer"),
        (["resemblyzer=x"], "speaker", "invalid_value", "speaker judge"),
        (["whisper=none"], "recognizer", "not_found", "recognizer"),
        (["wavlm"], "speaker", "missing", "speaker judge"),
        (["wavlm=."], "speaker", "unusable", "speaker judge"),
        (["dnsmos=x"], "mos", "invalid_value", "MOS judge"),
    ],
)
def test_judges_that_cannot_be_loaded(specs, kind, code, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises_input_error(code, key):
        getattr(Judges(specs), str(kind))


@pytest.mark.parametrize(
    ("kind", "package"),
    [("recognizer", "pocketsphinx"), ("speaker", "resemblyzer"), ("mos", "speechmos")],
)
def test_a_missing_package_is_reported_with_its_extra(kind, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    judges = Judges()
    assert not judges.is_installed(kind)
    with raises_input_error("not_installed", "package", names="pip install"):
        getattr(judges, kind)


@pytest.mark.needs_eval
def test_resemblyzer_and_dnsmos_on_one_recording():
    from vocalmtp import optional

    sound = buzz(0.93)
    judges = Judges()
    ours = judges.mos.score(sound)
    theirs = optional.require("speechmos.dnsmos").run(sound, 16_000)
    assert ours == {name: pytest.approx(theirs[f"{name}_mos"], abs=1e-4) for name in ours}
    assert next(iter(ours)) == "ovrl"
    vector = judges.speaker.embed(sound)
    assert vector.shape == (256,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
