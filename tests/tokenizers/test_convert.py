"""Published checkpoints become tokenizers of ours; what is wrong with one is named."""

from functools import partial

import pytest
import torch
from helpers.published_weights import TINY, buzz, published_keys, scattered, set_weights
from safetensors.torch import save_file

from vocalmtp.cli.convert import convert as command
from vocalmtp.errors import InputError
from vocalmtp.tokenizers import find_card, load_tokenizer
from vocalmtp.tokenizers.convert import CONVERTIBLE, convert
from vocalmtp.tokenizers.published.base import PublishedTokenizer

SIZES = {card: TINY[find_card(card).type] for card in ("bigcodec", "facodec", "s3-v2")}
SIZES |= {"snac-24khz": TINY["snac"], "speechtokenizer": TINY["speechtokenizer"]}
SIZES |= {"wavtokenizer-75": TINY["wavtokenizer"]}
IN_TABLES = ("bigcodec", "wavtokenizer-75")  # "a.b" is published as b in the table a


def original(name: str) -> PublishedTokenizer:
    """The tokenizer of card `name` at the size of TINY."""
    return set_weights(CONVERTIBLE[find_card(name).type](SIZES[name]))


def checkpoint(name: str, folder) -> list:
    """Files with the published keys, those of training among them, at the size of TINY."""
    model = original(name)
    own = {
        model.PREFIX + model.published_key(key): tensor
        for key, tensor in model.state_dict().items()
    }
    files: dict[str, dict[str, torch.Tensor]] = {}
    for file, key, shape, spare in published_keys(name):
        small = torch.Size(min(size, 4) for size in shape)
        if spare or key in own:  # not a layer beyond the tiny ones
            files.setdefault(file, {})[key] = torch.zeros(small) if spare else own[key]
    for file, tensors in files.items():
        write_checkpoint(tensors, folder / file, tables=name in IN_TABLES)
    return [folder / file for file in files]


def write_checkpoint(tensors: dict[str, torch.Tensor], path, tables: bool) -> None:
    """As it is published: safetensors, or a pickle, with tables and numbers in it if need be."""
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        return
    data: dict = {"epoch": 3, "discriminator": {"weight": torch.zeros(2)}} if tables else tensors
    for key, tensor in tensors.items() if tables else ():
        table, rest = key.split(".", 1)
        data.setdefault(table, {})[rest] = tensor
    torch.save(data, path)


def test_every_type_that_can_be_converted_is_here():
    assert {find_card(name).type for name in SIZES} == set(CONVERTIBLE) == set(TINY)


@pytest.mark.parametrize("name", list(SIZES))
def test_a_checkpoint_becomes_a_folder(name, tmp_path):
    made = convert(name, checkpoint(name, tmp_path)[::-1], SIZES[name])
    made.save_pretrained(tmp_path / "out")
    again = load_tokenizer(tmp_path / "out")
    whole = original(name)
    codes, speaker = whole.encode(buzz(800)).codes, whole.encode(buzz(800)).speaker
    assert torch.equal(again.encode(buzz(800)).codes, codes)
    if find_card(name).decodes:
        assert torch.equal(again.decode(codes, speaker), whole.decode(codes, speaker))
    assert again.spec == made.spec and again.spec.codes != ""
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
    assert one.spec.hash != two.spec.hash


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
    with pytest.raises(InputError, match="nothing to convert, .*facodec-3, s3-v2"):
        convert("mini", [])
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="not a table of tensors"):
        convert("facodec", [tmp_path / "list.pt"])


def test_what_the_package_s3tokenizer_makes_of_the_onnx_file_converts_as_well(tmp_path):
    tensors = original("s3-v2").state_dict()
    torch.save(dict(tensors), tmp_path / "v2.pt")
    made = convert("s3-v2", [tmp_path / "v2.pt"], SIZES["s3-v2"])
    published = convert("s3-v2", checkpoint("s3-v2", tmp_path), SIZES["s3-v2"])
    assert made.spec == published.spec


def test_a_torn_safetensors_file_is_one_line(tmp_path):
    (tmp_path / "s3gen.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="s3gen.safetensors is torn or damaged"):
        convert("s3-v2", [tmp_path / "s3gen.safetensors"])


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
    assert load_tokenizer("speechtokenizer").spec.kind == "semi_decoupled"
