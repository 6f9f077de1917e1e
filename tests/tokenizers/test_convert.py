"""Conversion of published checkpoints, and what is refused in one."""

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.published_weights import (
    TINY,
    buzz,
    published_keys,
    scattered,
    set_weights,
    tiny_config,
)
from safetensors.torch import save_file

from vocalmtp.cli.tokenizers import convert as command
from vocalmtp.tokenizers import TOKENIZERS, find_card, load_tokenizer
from vocalmtp.tokenizers.convert import convert, published_types
from vocalmtp.tokenizers.published.base import PublishedTokenizer

CARDS = ["bigcodec", "cosyvoice2", "facodec", "facodec-v2", "s3-v2", "kanade-25hz-clean"]
CARDS += [
    "mimo-audio-tokenizer",
    "moss-audio-tokenizer",
    "qwen3-tts-12hz",
    "snac-24khz",
    "speechtokenizer",
    "wavtokenizer-75",
]
SIZES = {card: tiny_config(card) for card in CARDS}
IN_TABLES = ("bigcodec", "wavtokenizer-75")  # "a.b" is published as b in the table a


def original(name: str) -> PublishedTokenizer:
    """The tokenizer of card `name` at the size of TINY."""
    return set_weights(TOKENIZERS[find_card(name).type](SIZES[name]))


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
        whole = model.checkpoint_key(Path(file).stem, key)
        if spare or whole in own:  # not a layer beyond the tiny ones
            files.setdefault(file, {})[key] = torch.zeros(small) if spare else own[whole]
    for file, tensors in files.items():
        write_checkpoint(tensors, folder / file, tables=name in IN_TABLES)
    return [folder / file for file in files]


def write_checkpoint(tensors: dict[str, torch.Tensor], path, tables: bool) -> None:
    """Write safetensors or a pickle, as published, with tables and numbers in it if `tables`."""
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        return
    data: dict = {"epoch": 3, "discriminator": {"weight": torch.zeros(2)}} if tables else tensors
    for key, tensor in tensors.items() if tables else ():
        table, rest = key.split(".", 1)
        data.setdefault(table, {})[rest] = tensor
    torch.save(data, path)


def test_every_published_type_is_tested_here():
    assert {find_card(name).type for name in SIZES} == set(published_types()) == set(TINY)


@pytest.mark.parametrize("name", list(SIZES))
def test_a_checkpoint_becomes_a_folder(name, tmp_path):
    converted = convert(name, checkpoint(name, tmp_path)[::-1], SIZES[name])
    converted.save_pretrained(tmp_path / "out")
    again, expected = load_tokenizer(tmp_path / "out"), original(name)
    codes = expected.encode(buzz(800))
    assert torch.equal(again.encode(buzz(800)).codes, codes.codes)
    if find_card(name).decodes:
        wav = expected.decode(codes.codes, codes.speaker)
        assert torch.equal(again.decode(codes.codes, codes.speaker), wav)
    assert again.spec == converted.spec and again.spec.codes != ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.safetensors",
        "tokenizer.json",
    ]


def test_other_weights_have_another_hash(tmp_path):
    (file,) = checkpoint("speechtokenizer", tmp_path)
    one = convert("speechtokenizer", [file], SIZES["speechtokenizer"])
    tensors = torch.load(file, weights_only=True)
    tensors["decoder.model.0.conv.conv.bias"][0] += 1
    torch.save(tensors, file)
    two = convert("speechtokenizer", [file], SIZES["speechtokenizer"])
    assert one.spec.hash != two.spec.hash


def test_the_table_of_the_package_s3tokenizer_converts_as_well(tmp_path):
    tensors = original("s3-v2").state_dict()
    torch.save(dict(tensors), tmp_path / "v2.pt")
    table = convert("s3-v2", [tmp_path / "v2.pt"], SIZES["s3-v2"])
    published = convert("s3-v2", checkpoint("s3-v2", tmp_path), SIZES["s3-v2"])
    assert table.spec == published.spec


def test_the_file_of_chatterbox_has_every_part_of_cosyvoice_2(tmp_path):
    tensors = original("cosyvoice2").state_dict()
    spare = {"tokenizer._mel_filters": torch.zeros(2), "tokenizer.window": torch.zeros(2)}
    save_file({**tensors, **spare}, tmp_path / "s3gen.safetensors")
    config = tiny_config("chatterbox")
    one = convert("chatterbox", [tmp_path / "s3gen.safetensors"], config)
    parts = convert("cosyvoice2", checkpoint("cosyvoice2", tmp_path), SIZES["cosyvoice2"])
    assert one.spec.codes == parts.spec.codes and one.spec.licence == "MIT"
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in one.state_dict().items())


def test_the_vocoder_of_cosyvoice_2_may_be_that_of_its_training(tmp_path):
    files = checkpoint("cosyvoice2", tmp_path)
    hift = tmp_path / "hift.pt"
    tensors = torch.load(hift, weights_only=True)
    torch.save({f"generator.{key}": tensor for key, tensor in tensors.items()}, hift)
    model = convert("cosyvoice2", files, SIZES["cosyvoice2"])
    assert torch.equal(model.mel2wav.conv_pre.bias, tensors["conv_pre.bias"])


def test_the_command_writes_a_folder_that_the_name_finds(tmp_path, monkeypatch):
    files = checkpoint("speechtokenizer", tmp_path)
    small = partial(convert, config=SIZES["speechtokenizer"])
    monkeypatch.setattr("vocalmtp.tokenizers.convert.convert", small)
    monkeypatch.setenv("VOCALMTP_TOKENIZERS", str(tmp_path / "all"))
    with raises_input_error("not_found", key="tokenizer", names="SpeechTokenizer.pt"):
        load_tokenizer("speechtokenizer")
    command("speechtokenizer", files, tmp_path / "all" / "speechtokenizer")
    assert load_tokenizer("speechtokenizer").spec.kind == "semi_decoupled"


# -- what is refused -------------------------------------------------------------------------------


def test_the_first_three_differences_are_named(tmp_path):
    (file,) = checkpoint("speechtokenizer", tmp_path)
    tensors = torch.load(file, weights_only=True)
    del tensors["decoder.model.0.conv.conv.bias"]
    tensors["decoder.extra"] = torch.zeros(1)
    tensors["encoder.model.0.conv.conv.weight_v"] = torch.zeros(2, 1, 8)
    del tensors["quantizer.vq.layers.7._codebook.embed"]
    torch.save(tensors, file)
    with raises_input_error("mismatch", key="tokenizer", names="speechtokenizer") as caught:
        convert("speechtokenizer", [file], SIZES["speechtokenizer"])
    line = str(caught.value)
    named = [
        "decoder.extra",
        "decoder.model.0.conv.conv.bias",
        "encoder.model.0.conv.conv.weight_v",
    ]
    assert all(f"'{key}'" in line for key in named)
    assert "[2, 1, 8]" in line and "[2, 1, 7]" in line and "1 more" in line


def test_one_of_two_files_is_not_enough(tmp_path):
    encoder, _ = checkpoint("facodec", tmp_path)
    with raises_input_error("mismatch", key="tokenizer", names="ns3_facodec_decoder.bin"):
        convert("facodec", [encoder], SIZES["facodec"])
    with raises_input_error("conflict", key="file"):
        convert("facodec", [encoder, encoder], SIZES["facodec"])


class Trap:
    """Unpickled without care, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "bad.pt")
    with raises_input_error("damaged", key="file"):
        convert("facodec", [tmp_path / "bad.pt"])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 torn"])
def test_torn_files_are_refused(content, tmp_path):
    (tmp_path / "bad.pt").write_bytes(content)
    with raises_input_error("damaged", key="file"):
        convert("facodec", [tmp_path / "bad.pt"])


def test_a_torn_safetensors_file_is_refused(tmp_path):
    (tmp_path / "s3gen.safetensors").write_bytes(b"torn")
    with raises_input_error("damaged", key="file", names="s3gen.safetensors"):
        convert("s3-v2", [tmp_path / "s3gen.safetensors"])


def test_unknown_names_and_files_without_tensors_are_refused(tmp_path):
    with raises_input_error("not_found", key="file"):
        convert("facodec", [tmp_path / "none.pt"])
    with raises_input_error("not_found", key="tokenizer", names="'facodec'"):
        convert("facodek", [])
    with raises_input_error("unsupported", key="tokenizer", names="s3-v2, s3-v3"):
        convert("mini", [])
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with raises_input_error("invalid_value", key="file"):
        convert("facodec", [tmp_path / "list.pt"])


def test_tensors_that_are_not_finite_are_refused(tmp_path):
    (file,) = checkpoint("speechtokenizer", tmp_path)
    tensors = torch.load(file, weights_only=True)
    tensors["decoder.model.0.conv.conv.bias"] = scattered("a.bias", torch.Size([32])) / 0
    torch.save(tensors, file)
    with raises_input_error("damaged", names="decoder.model.0.conv.conv.bias"):
        convert("speechtokenizer", [file], SIZES["speechtokenizer"])
