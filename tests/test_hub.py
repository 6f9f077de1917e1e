"""Finding models by name and folder."""

import json

import pytest

from vocalmtp import hub as catalogue
from vocalmtp.errors import InputError
from vocalmtp.models.config import read_card


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Two models that "came with the package", and one folder of somebody's own."""
    for name in ("mini", "maxi"):
        (tmp_path / "pretrained" / name / "tokenizer").mkdir(parents=True)
        (tmp_path / "pretrained" / name / "config.json").write_text("{}")
        (tmp_path / "pretrained" / name / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(catalogue, "PRETRAINED", tmp_path / "pretrained")
    return tmp_path


def test_models_by_name_and_by_folder(shelf):
    assert catalogue.list_models() == ["maxi", "mini"]
    assert catalogue.model_folder("mini") == shelf / "pretrained" / "mini"
    assert catalogue.model_folder(shelf / "pretrained" / "maxi") == shelf / "pretrained" / "maxi"
    with pytest.raises(InputError, match="'minj': no such model or folder; did you mean 'mini'"):
        catalogue.model_folder("minj")
    with pytest.raises(InputError, match="no config.json in that folder"):
        catalogue.model_folder(shelf / "own")


def test_tokenizers_by_model_and_by_folder(shelf):
    inside = shelf / "pretrained" / "mini" / "tokenizer"
    assert catalogue.tokenizer_folder("mini") == inside
    assert catalogue.tokenizer_folder(inside) == inside
    assert catalogue.tokenizer_folder(inside.parent) == inside
    with pytest.raises(InputError, match="did you mean 'mini'"):
        catalogue.tokenizer_folder("mimi")


def test_cards(shelf):
    assert read_card(shelf / "own") == {}
    (shelf / "own" / "card.json").write_text(json.dumps({"licence": "Apache-2.0"}))
    assert read_card(shelf / "own") == {"licence": "Apache-2.0"}
    for text, message in [("{", "not valid JSON"), ("[]", "must be a JSON object")]:
        (shelf / "own" / "card.json").write_text(text)
        with pytest.raises(InputError, match=message):
            read_card(shelf / "own")
