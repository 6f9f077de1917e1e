"""A model knows which version of the text front end it was exported with."""

import json

import pytest
from helpers.toy_model import save_toy_model

from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.text import VERSION
from vocalmtp.training.export import export_model


def test_an_exported_model_has_the_version(tmp_path):
    toy = save_toy_model(tmp_path / "toy")
    assert SpeechLMConfig.from_pretrained(toy).text_version == 0
    row = {
        "id": "a",
        "audio": "a.wav",
        "text": "a.",
        "voice": "ann",
        "split": "train",
        "seconds": 1,
    }
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row))
    parts = {"manifest": tmp_path / "manifest.jsonl", "origins": {}, "card": {"name": "toy"}}
    export_model(toy, toy / "tokenizer", tmp_path / "out", **parts)
    assert SpeechLMConfig.from_pretrained(tmp_path / "out").text_version == VERSION


@pytest.mark.parametrize("settings", [{}, {"text_version": 3}])
def test_configurations_of_before_load(settings):
    config = SpeechLMConfig.from_dict(SpeechLMConfig().to_diff_dict() | settings)
    assert config.text_version == settings.get("text_version", 0)
