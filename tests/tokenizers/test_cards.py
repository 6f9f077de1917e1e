"""Cards of the catalogue, and how a tokenizer is found by name, folder, or both."""

from pathlib import Path

import pytest
import torch
import yaml
from helpers.errors import raises_input_error
from helpers.tiny_codecs import make_model, make_tiny
from safetensors.torch import load_file, save_file

import vocalmtp
from vocalmtp.fetch.cards import is_fetchable
from vocalmtp.tokenizers import TOKENIZERS, catalogue, find_card, list_cards, load_tokenizer
from vocalmtp.tokenizers.cards import CARDS, PACKAGED, load_card, save_card
from vocalmtp.tokenizers.registry import VARIABLE, how_to_get, weights_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)


@pytest.fixture
def published(tmp_path):
    """A folder of Mimi's weights in the published layout."""
    make_model("mimi-8").save_pretrained(tmp_path / "mimi")
    return tmp_path / "mimi"


# -- cards -----------------------------------------------------------------------------------------


def test_every_card_has_a_registered_type():
    assert len(list_cards()) >= 25
    assert {card.type for card in list_cards().values()} == set(TOKENIZERS)
    assert find_card("mimi-8").used_streams() == ("semantic", *(f"rvq{i}" for i in range(1, 8)))


def test_the_card_of_mini_describes_the_bundled_tokenizer():
    spec = load_tokenizer("mini").spec
    assert find_card("mini").spec(spec.codes) == spec
    assert spec.hash == "0694a5ef38b3"  # of every shard and model made with it


@pytest.mark.parametrize(
    ("change", "code", "name"),
    [
        ({"frame_rates": 5}, "unknown_name", "frame_rates"),
        ({"frame_rate": None}, "invalid_value", "frame_rate"),
        ({"licence": {"code": "MIT"}}, "missing", "licence.weights"),
        ({"use": ["rqv"]}, "invalid_value", "rqv"),
        ({"streams": []}, "invalid_value", "streams"),
        ({"kind": "loose"}, "invalid_value", "kind"),
    ],
)
def test_a_malformed_card_is_refused(tmp_path, change, code, name):
    data = yaml.safe_load((CARDS / "dac-16khz.yaml").read_text())
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(data | change))
    with raises_input_error(code, key="card", names=name):
        load_card(tmp_path / "card.yaml")


def test_a_card_without_a_key_is_refused(tmp_path):
    data = yaml.safe_load((CARDS / "dac-16khz.yaml").read_text())
    del data["paper"]
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(data))
    with raises_input_error("missing", key="card", names="paper"):
        load_card(tmp_path / "card.yaml")


def test_a_written_card_is_read_again(tmp_path):
    for card in list_cards().values():
        save_card(card, tmp_path / "card.yaml")
        assert load_card(tmp_path / "card.yaml") == card


def test_the_names_of_input_rate_and_hop_follow_the_encoder():
    spec = find_card("neucodec").spec()
    assert (spec.sample_rate, spec.hop) == (24_000, 480)
    assert (spec.input_rate, spec.input_hop) == (16_000, 320)
    spec = find_card("mimi-8").spec()
    assert (spec.input_rate, spec.input_hop) == (spec.sample_rate, spec.hop)


# -- finding a tokenizer ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in list_cards() if name != "mini"])
def test_a_card_without_weights_gives_the_command_to_get_them(name):
    card = find_card(name)
    with raises_input_error("not_found", key="tokenizer", names=how_to_get(card)):
        load_tokenizer(name)
    if card.type == "neural":
        assert f"kind={card.kind} model.name={name} corpus=" in how_to_get(card)
    elif is_fetchable(name):
        assert f"vocalmtp get {name}" in how_to_get(card)
    elif card.files:
        command = f"vocalmtp tokenizers convert {name} {' '.join(card.files)} -o "
        assert command in how_to_get(card)
    else:
        assert f"hf download {card.weights}" in how_to_get(card)


@pytest.mark.parametrize(("load", "name"), [(load_tokenizer, "mimi-9"), (find_card, "mimi8")])
def test_an_unknown_name_gets_the_nearest_one(load, name):
    with raises_input_error("not_found", key="tokenizer", names="mimi-8"):
        load(name)


def test_trained_tokenizers_are_found_by_name_and_folder(tmp_path, monkeypatch):
    tiny = make_tiny("mini-coupled")
    tiny.save_pretrained(tmp_path / "mini-coupled")
    assert load_tokenizer(f"mini-coupled={tmp_path / 'mini-coupled'}").spec == tiny.spec
    for other in ("mimi-8", "facodec", "mini-semi-decoupled"):
        with raises_input_error("mismatch", key="tokenizer", names="mini-coupled"):
            load_tokenizer(f"{other}={tmp_path / 'mini-coupled'}")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert load_tokenizer("mini-coupled").spec == tiny.spec
    assert load_tokenizer("mini").spec.kind == "decoupled"


def test_published_folders_are_found_by_name_variable_and_both(published, monkeypatch):
    expected = make_tiny("mimi-8").spec
    assert load_tokenizer(f"mimi-8={published}").spec == expected
    monkeypatch.setenv(VARIABLE, str(published.parent))
    assert weights_folder(find_card("mimi-32")) == published
    assert load_tokenizer("mimi-8").spec == expected
    assert len(load_tokenizer("mimi-32").spec.streams) == 32
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("VOCALMTP_CACHE", str(published.parent))  # of vocalmtp get
    assert load_tokenizer("mimi-8").spec == expected
    with raises_input_error("missing", key="tokenizer", names=f"mimi-8={published}"):
        load_tokenizer(published)


def test_folders_that_hold_no_tokenizer_are_refused(tmp_path):
    with raises_input_error("not_found", key="tokenizer"):
        load_tokenizer(tmp_path)
    with raises_input_error("not_found", key="tokenizer"):
        load_tokenizer(f"mimi-8={tmp_path / 'none'}")
    with raises_input_error("not_found", key="tokenizer", names="convert"):
        load_tokenizer(f"facodec={tmp_path}")
    (tmp_path / "tokenizer.json").write_text('{"type": "neurol"}')
    with raises_input_error("unknown_name", key="tokenizer", names="neural"):
        load_tokenizer(tmp_path)


# -- damaged weights -------------------------------------------------------------------------------


def test_a_folder_with_a_malformed_card_is_refused(tmp_path):
    make_tiny("dac-16khz").save_pretrained(tmp_path / "dac")
    card = tmp_path / "dac" / "card.yaml"
    card.write_text(card.read_text().replace("chunks:", "chunk:"))
    with raises_input_error("unknown_name", key="card", names="chunk"):
        load_tokenizer(tmp_path / "dac")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda tensors: tensors.pop("head.out.bias"), "head.out.bias"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "more"),
        (lambda tensors: tensors.update({"head.out.bias": torch.zeros(3)}), "head.out.bias"),
        (lambda tensors: tensors["head.out.bias"].fill_(torch.nan), "head.out.bias"),
    ],
    ids=["missing", "unknown", "shape", "nan"],
)
def test_a_damaged_converted_folder_is_refused(tmp_path, change, name):
    make_tiny("wavtokenizer-75").save_pretrained(tmp_path / "wav")
    tensors = load_file(tmp_path / "wav" / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "wav" / "model.safetensors")
    with raises_input_error("damaged", key="tokenizer", names=f"'{name}'"):
        load_tokenizer(tmp_path / "wav")


def test_weights_of_another_codec_are_refused(published):
    with raises_input_error("damaged", key="tokenizer", names="encodec-24khz-8"):
        load_tokenizer(f"encodec-24khz-8={published}")


def test_the_first_three_differences_of_weights_are_named(published):
    tensors = load_file(published / "model.safetensors")
    names = sorted(name for name in tensors if "quantizer" in name and "embed_sum" in name)
    for name in names[:2]:
        del tensors[name]
    tensors[names[2]] = torch.zeros(3, 3)
    tensors["nobody.knows"] = torch.zeros(1)
    save_file(tensors, published / "model.safetensors", metadata={"format": "pt"})
    with raises_input_error("damaged", key="tokenizer", names=f"'{names[0]}'") as caught:
        load_tokenizer(f"mimi-8={published}")
    assert f"'{names[1]}'" in str(caught.value) and "1 more" in str(caught.value)


def test_torn_weights_and_pickles_are_refused(published):
    (published / "model.safetensors").write_bytes(b"torn")
    with raises_input_error("damaged", key="tokenizer"):
        load_tokenizer(f"mimi-8={published}")
    (published / "model.safetensors").rename(published / "pytorch_model.bin")
    with raises_input_error("damaged", key="tokenizer", names="model.safetensors"):
        load_tokenizer(f"mimi-8={published}")


def test_weights_that_differ_from_the_card_are_refused(tmp_path):
    make_model("dac-16khz").save_pretrained(tmp_path)
    with raises_input_error("mismatch", key="tokenizer", names="sample_rate"):
        load_tokenizer(f"dac-24khz={tmp_path}")


# -- the page of the catalogue, and where cards are found ------------------------------------------


def test_the_page_of_the_catalogue_is_up_to_date():
    """`python -m vocalmtp.tokenizers.catalogue` writes it."""
    assert catalogue.README.read_text(encoding="utf-8") == catalogue.page()
    rows = [line for line in catalogue.page().splitlines() if line.startswith("| [")]
    assert len(rows) == len(list_cards())


def test_the_wheel_takes_the_cards_into_the_package():
    """In a checkout and an editable install they are in the top-level folder."""
    line = '"tokenizers" = "vocalmtp/tokenizers/cards"'
    project = (ROOT / "pyproject.toml").read_text()
    assert line in project.partition("wheel.force-include]")[2].partition("[")[0]
    installed = Path(vocalmtp.__file__).parent
    assert installed / "tokenizers" / "cards" == PACKAGED
    folder = ROOT / "tokenizers" if installed.parent == ROOT else PACKAGED
    assert folder == CARDS
    assert (CARDS / "mini.yaml").is_file()
