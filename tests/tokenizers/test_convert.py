"""Published checkpoints become tokenizers of ours; what is wrong with one is named."""

from functools import partial

import pytest
import torch
from published_weights import TINY, buzz, published_keys, scattered, set_weights

from vocalmtp.cli.convert import convert as command
from vocalmtp.errors import InputError
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.convert import CONVERTIBLE, convert

FOUR = TINY["facodec"].model_copy(update={"timbre_layers": 4})  # as many as are published
SIZES = TINY | {"facodec": FOUR}


def checkpoint(name: str, folder) -> list:
    """Files with the published keys, those of training among them, at the size of TINY."""
    model = set_weights(CONVERTIBLE[name](SIZES[name]))
    own = {model.published_key(key): tensor for key, tensor in model.state_dict().items()}
    files: dict[str, dict[str, torch.Tensor]] = {}
    for file, key, shape, training in published_keys(name):
        small = torch.Size(min(size, 4) for size in shape)
        files.setdefault(file, {})[key] = torch.zeros(small) if training else own[key]
    for file, tensors in files.items():
        torch.save(tensors, folder / file)
    return [folder / file for file in files]


@pytest.mark.parametrize("name", list(TINY))
def test_a_checkpoint_becomes_a_folder(name, tmp_path):
    made = convert(name, checkpoint(name, tmp_path)[::-1], SIZES[name])
    made.save_pretrained(tmp_path / "out")
    again = load_tokenizer(tmp_path / "out")
    original = set_weights(CONVERTIBLE[name](SIZES[name]))
    codes, speaker = original.encode(buzz(800)).codes, original.encode(buzz(800)).speaker
    assert torch.equal(again.encode(buzz(800)).codes, codes)
    assert torch.equal(again.decode(codes, speaker), original.decode(codes, speaker))
    assert again.card == made.card and again.card.codes != ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.safetensors",
        "tokenizer.json",
    ]


def test_other_weights_make_other_codes(tmp_path):
    (file,) = checkpoint("speechtokenizer", tmp_path)
    one = convert("speechtokenizer", [file], SIZES["speechtokenizer"])
    tensors = torch.load(file, weights_only=True)
    tensors["decoder.model.0.conv.conv.bias"][0] += 1
    torch.save(tensors, file)
    two = convert("speechtokenizer", [file], SIZES["speechtokenizer"])
    assert one.card.hash != two.card.hash


def test_the_first_three_differences_are_named(tmp_path):
    (file,) = checkpoint("speechtokenizer", tmp_path)
    tensors = torch.load(file, weights_only=True)
    del tensors["decoder.model.0.conv.conv.bias"]
    tensors["decoder.extra"] = torch.zeros(1)
    tensors["encoder.model.0.conv.conv.weight_v"] = torch.zeros(2, 1, 8)
    del tensors["quantizer.vq.layers.7._codebook.embed"]
    torch.save(tensors, file)
    with pytest.raises(InputError) as caught:
        convert("speechtokenizer", [file], SIZES["speechtokenizer"])
    assert str(caught.value) == (
        "tokenizer 'speechtokenizer': the checkpoint differs from the published layout: "
        "'decoder.extra' is unknown; 'decoder.model.0.conv.conv.bias' is missing; "
        "'encoder.model.0.conv.conv.weight_v' is [2, 1, 8], not [2, 1, 7]; and 1 more; "
        "give SpeechTokenizer.pt"
    )


def test_one_of_two_files_is_not_enough(tmp_path):
    encoder, _ = checkpoint("facodec", tmp_path)
    with pytest.raises(InputError, match="is missing.*give ns3_facodec_encoder.bin and ns3_fa"):
        convert("facodec", [encoder], SIZES["facodec"])
    with pytest.raises(InputError, match="give each file once"):
        convert("facodec", [encoder, encoder], SIZES["facodec"])


class Trap:
    """Unpickled without care, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="no checkpoint of tensors alone"):
        convert("facodec", [tmp_path / "bad.pt"])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 torn"])
def test_torn_files(content, tmp_path):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(InputError, match="is torn"):
        convert("facodec", [tmp_path / "bad.pt"])


def test_other_things_that_are_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        convert("facodec", [tmp_path / "none.pt"])
    with pytest.raises(InputError, match="did you mean 'facodec'"):
        convert("facodek", [])
    with pytest.raises(InputError, match="nothing to convert; .*facodec-3, speechtokenizer"):
        convert("mini", [])
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="not a table of tensors"):
        convert("facodec", [tmp_path / "list.pt"])


def test_numbers_that_are_none_are_refused(tmp_path):
    (file,) = checkpoint("speechtokenizer", tmp_path)
    tensors = torch.load(file, weights_only=True)
    tensors["decoder.model.0.conv.conv.bias"] = scattered("a.bias", torch.Size([32])) / 0
    torch.save(tensors, file)
    with pytest.raises(InputError, match="'decoder.model.0.conv.conv.bias' .* not finite"):
        convert("speechtokenizer", [file], SIZES["speechtokenizer"])


def test_the_command_writes_a_folder_that_the_name_finds(tmp_path, monkeypatch):
    files = checkpoint("speechtokenizer", tmp_path)
    small = partial(convert, config=SIZES["speechtokenizer"])
    monkeypatch.setattr("vocalmtp.tokenizers.convert.convert", small)
    monkeypatch.setenv("VOCALMTP_TOKENIZERS", str(tmp_path / "all"))
    with pytest.raises(InputError, match="SpeechTokenizer.pt of fnlp/.* tokenizers convert speech"):
        load_tokenizer("speechtokenizer")
    command("speechtokenizer", files, tmp_path / "all" / "speechtokenizer")
    assert load_tokenizer("speechtokenizer").card.kind == "semi_decoupled"
