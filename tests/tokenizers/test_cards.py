"""The catalogue: strict cards, and how a tokenizer is found by name, folder, or both."""

import pytest
import torch
import yaml
from helpers.errors import raises_input_error
from helpers.tiny_codecs import make_model, make_tiny
from safetensors.torch import load_file, save_file

from vocalmtp.errors import InputError
from vocalmtp.tokenizers import TYPES, find_card, list_cards, load_tokenizer
from vocalmtp.tokenizers.cards import CARDS, load_card, save_card
from vocalmtp.tokenizers.registry import VARIABLE, weights_folder


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)


@pytest.fixture
def published(tmp_path):
    """A folder of Mimi's weights, as it is published."""
    make_model("mimi-8").save_pretrained(tmp_path / "mimi")
    return tmp_path / "mimi"


def test_every_card_has_a_class_and_its_files_name():
    assert len(list_cards()) >= 15
    assert all(card.type in TYPES for card in list_cards().values())
    assert set(find_card("mimi-8").used()) == {"semantic", *(f"rvq{i}" for i in range(1, 8))}


def test_the_card_of_mini_is_the_one_its_codes_are_stamped_with():
    card = load_tokenizer("mini").spec
    assert find_card("mini").spec(card.codes) == card
    assert card.hash == "7c8c3375f1eb"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"frame_rates": 5}, "unknown key 'frame_rates'; did you mean 'frame_rate'"),
        ({"frame_rate": None}, "frame_rate"),
        ({"licence": {"code": "MIT"}}, "'licence.weights' is missing"),
        ({"use": ["rqv"]}, "did you mean 'rvq'"),
        ({"streams": []}, "streams"),
        ({"kind": "loose"}, "kind"),
    ],
)
def test_a_bad_card_is_one_line(tmp_path, change, problem):
    data = yaml.safe_load((CARDS / "dac-16khz.yaml").read_text())
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(data | change))
    with pytest.raises(InputError, match=problem) as caught:
        load_card(tmp_path / "card.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path):
    data = yaml.safe_load((CARDS / "dac-16khz.yaml").read_text())
    del data["paper"]
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match="key 'paper' is missing"):
        load_card(tmp_path / "card.yaml")


def test_what_is_written_is_read_again(tmp_path):
    for card in list_cards().values():
        save_card(card, tmp_path / "card.yaml")
        assert load_card(tmp_path / "card.yaml") == card


def test_weights_that_are_not_here_say_how_to_get_them():
    with pytest.raises(InputError, match="run: hf download facebook/encodec_24khz"):
        load_tokenizer("encodec-24khz-8")
    with pytest.raises(
        InputError, match="train it: .* kind=coupled model.name=mini-coupled corpus="
    ):
        load_tokenizer("mini-coupled")
    with pytest.raises(InputError, match="did you mean 'mimi-8'"):
        load_tokenizer("mimi-9")
    with pytest.raises(InputError, match="no such card; did you mean 'mimi-8'"):
        find_card("mimi8")


def test_our_own_kinds_are_found_by_name_and_folder(tmp_path, monkeypatch):
    made = make_tiny("mini-coupled")
    made.save_pretrained(tmp_path / "mini-coupled")
    assert load_tokenizer(f"mini-coupled={tmp_path / 'mini-coupled'}").spec == made.spec
    for other in ("mimi-8", "facodec", "mini-semi-decoupled"):  # it must not pass for another
        with pytest.raises(InputError, match=f"'{other}': .* holds 'mini-coupled', whose"):
            load_tokenizer(f"{other}={tmp_path / 'mini-coupled'}")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert load_tokenizer("mini-coupled").spec == made.spec
    assert load_tokenizer("mini").spec.kind == "decoupled"


@pytest.mark.parametrize(
    "name", [name for name, card in list_cards().items() if card.type != "neural"]
)
def test_every_published_card_says_how_to_get_its_weights(name):
    card = find_card(name)
    with pytest.raises(InputError) as caught:
        load_tokenizer(name)
    said = str(caught.value)
    assert said.startswith(f"tokenizer '{name}': its weights are not here; ")
    assert "\n" not in said and card.weights in said
    command = f"run: vocalmtp tokenizers convert {name} {' '.join(card.files)} -o "
    assert (command if card.files else f"run: hf download {card.weights}") in said


def test_a_folder_with_a_bad_card_is_one_line(tmp_path):
    make_tiny("dac-16khz").save_pretrained(tmp_path / "dac")
    card = tmp_path / "dac" / "card.yaml"
    card.write_text(card.read_text().replace("chunks:", "chunk:"))
    with pytest.raises(InputError, match="card.yaml': unknown key 'chunk'; did you mean 'chunks'"):
        load_tokenizer(tmp_path / "dac")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda tensors: tensors.pop("head.out.bias"), "lacks 'head.out.bias'"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "has an unknown 'more'"),
        (
            lambda tensors: tensors.update({"head.out.bias": torch.zeros(3)}),
            r"'head.out.bias' in model.safetensors is float32 \[3\], not float32 \[1282\]",
        ),
        (lambda tensors: tensors["head.out.bias"].fill_(torch.nan), "not finite"),
    ],
    ids=["missing", "unknown", "shape", "nan"],
)
def test_a_converted_folder_that_was_damaged_is_one_line(tmp_path, change, problem):
    make_tiny("wavtokenizer-75").save_pretrained(tmp_path / "wav")
    tensors = load_file(tmp_path / "wav" / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "wav" / "model.safetensors")
    with pytest.raises(InputError, match=problem) as caught:
        load_tokenizer(tmp_path / "wav")
    assert "\n" not in str(caught.value)


def test_a_published_folder_is_found_by_name_variable_and_both(published, monkeypatch):
    expected = make_tiny("mimi-8").spec
    assert load_tokenizer(f"mimi-8={published}").spec == expected
    monkeypatch.setenv(VARIABLE, str(published.parent))
    assert weights_folder(find_card("mimi-32")) == published
    assert load_tokenizer("mimi-8").spec == expected
    assert len(load_tokenizer("mimi-32").spec.streams) == 32
    with raises_input_error("missing", names=f"mimi-8={published}"):
        load_tokenizer(published)


def test_weights_of_another_codec_are_one_line(published):
    with pytest.raises(InputError, match="the weights do not fit|cannot be loaded"):
        load_tokenizer(f"encodec-24khz-8={published}")


def test_the_first_three_differences_are_named(published):
    tensors = load_file(published / "model.safetensors")
    names = sorted(name for name in tensors if "quantizer" in name and "embed_sum" in name)
    for name in names[:2]:
        del tensors[name]
    tensors[names[2]] = torch.zeros(3, 3)
    tensors["nobody.knows"] = torch.zeros(1)
    save_file(tensors, published / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="do not fit: .* is missing; .* is missing; .* and 1 more"):
        load_tokenizer(f"mimi-8={published}")


def test_torn_weights_and_a_pickle_are_one_line(published):
    (published / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_tokenizer(f"mimi-8={published}")
    (published / "model.safetensors").rename(published / "pytorch_model.bin")
    with pytest.raises(InputError, match="no model.safetensors"):
        load_tokenizer(f"mimi-8={published}")


def test_a_card_and_weights_that_differ_are_one_line(tmp_path):
    make_model("dac-16khz").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="have sample_rate 16000 and the card 24000"):
        load_tokenizer(f"dac-24khz={tmp_path}")
