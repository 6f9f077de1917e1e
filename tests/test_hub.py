"""Models and tokenizers by name and by folder, and model cards."""

import json
from pathlib import Path

import pytest
from helpers.errors import raises_input_error

from vocalmtp import hub
from vocalmtp.model_card import read_card


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bundled models, and another folder."""
    for name in ("mini", "maxi"):
        (tmp_path / "pretrained" / name / "tokenizer").mkdir(parents=True)
        (tmp_path / "pretrained" / name / "config.json").write_text("{}")
        (tmp_path / "pretrained" / name / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(hub, "PRETRAINED", tmp_path / "pretrained")
    return tmp_path


def test_models_by_name_and_by_folder(root: Path) -> None:
    assert hub.list_models() == ["maxi", "mini"]
    assert hub.model_folder("mini") == root / "pretrained" / "mini"
    assert hub.model_folder(root / "pretrained" / "maxi") == root / "pretrained" / "maxi"
    with raises_input_error("not_found", key="model", names="did you mean 'mini'"):
        hub.model_folder("minj")
    with raises_input_error("not_found", key="model", names="config.json"):
        hub.model_folder(root / "own")


def test_tokenizers_by_model_and_by_folder(root: Path) -> None:
    inside = root / "pretrained" / "mini" / "tokenizer"
    assert hub.tokenizer_folder("mini") == inside
    assert hub.tokenizer_folder(inside) == inside
    assert hub.tokenizer_folder(inside.parent) == inside
    with raises_input_error("not_found", key="tokenizer", names="did you mean 'mini'"):
        hub.tokenizer_folder("mimi")


def test_folder_without_a_part_of_transformers(root: Path) -> None:
    from transformers import AutoTokenizer

    with raises_input_error("unusable", key="llm", names="no config.json"):
        hub.load_pretrained(AutoTokenizer, root / "own", "llm")


def test_model_cards(root: Path) -> None:
    assert read_card(root / "own") == {}
    (root / "own" / "card.json").write_text(json.dumps({"licence": "Apache-2.0"}))
    assert read_card(root / "own") == {"licence": "Apache-2.0"}
    for text in ("{", "[]"):
        (root / "own" / "card.json").write_text(text)
        with raises_input_error("damaged", names="card.json"):
            read_card(root / "own")
