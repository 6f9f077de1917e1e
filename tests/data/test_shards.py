import json

import numpy as np
import pytest
import soundfile
import torch
from helpers.errors import raises_input_error
from helpers.toy_model import tokenizer_config

from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.shards import CodeItem, CodeShards, write_shard, write_spec
from vocalmtp.data.tokenize import tokenize_manifest
from vocalmtp.tokenizers.neural import NeuralTokenizer

TINY = tokenizer_config("tiny")


@pytest.fixture
def corpus(tmp_path):
    """Five utterances of 0.5 to 0.9 s, one of them for validation."""
    folder = tmp_path / "corpus"
    (folder / "shards").mkdir(parents=True)
    rows, generator = [], np.random.default_rng(0)
    for i in range(5):
        seconds = 0.5 + 0.1 * i
        wav = generator.standard_normal(round(seconds * 16_000)) * 0.1
        soundfile.write(folder / f"shards/{i}.wav", wav, 16_000)
        rows.append(
            {
                "id": f"u{i}",
                "audio": f"shards/{i}.wav",
                "text": "hi.",
                "voice": "v",
                "split": "valid" if i == 4 else "train",
                "seconds": seconds,
                "phones": [["hh", 0.2], ["ay", seconds]],
                "chars": [0.2, 0.4, seconds],
                "an_unknown_field": 1,
            }
        )
    (folder / "shards/0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_manifest_reads_a_corpus_folder_and_filters(corpus):
    assert [row.id for row in read_manifest(corpus, "train")] == ["u0", "u1", "u2", "u3"]
    row = read_manifest(corpus)[4]
    assert row.audio.is_file() and row.phones[1] == ("ay", 0.9) and row.chars == (0.2, 0.4, 0.9)


@pytest.mark.parametrize("line", ["{", '{"id": "a"}', '{"id": "a", "audio": "b.wav"}'])
def test_manifest_names_the_bad_line(tmp_path, line):
    path = tmp_path / "manifest.jsonl"
    path.write_text(line + "\n")
    with raises_input_error("damaged"):
        read_manifest(path)


def test_missing_manifest_and_empty_split_are_one_line(corpus, tmp_path):
    with raises_input_error("not_found", key="manifest"):
        read_manifest(tmp_path / "nowhere")
    with raises_input_error("empty", key="manifest"):
        read_manifest(corpus, "rare")


def test_rows_of_some_voices(tmp_path):
    path = tmp_path / "manifest.jsonl"
    row = {"audio": "a.wav", "text": "hi"}
    rows = [row | {"id": f"u{i}", "voice": voice} for i, voice in enumerate("aba")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row.id for row in read_manifest(path, voices=["a"])] == ["u0", "u2"]
    assert [row.id for row in read_manifest(path, "train", ["b", "a"])] == ["u0", "u1", "u2"]
    with raises_input_error("empty", key="voices"):
        read_manifest(path, voices=["a", "c"])


def test_tokenized_shards_hold_what_encode_gives(corpus, tmp_path):
    tokenizer = NeuralTokenizer(TINY).eval()
    output = tmp_path / "codes"
    seen = []
    count = tokenize_manifest(corpus, output, tokenizer, progress=lambda *at: seen.append(at))
    assert count == 5 and seen[-1] == (5, 5)
    data = CodeShards(output, "train")
    assert data.spec == tokenizer.spec
    items = {item.id: item for item in (data[i] for i in range(len(data)))}
    assert sorted(items) == ["u0", "u1", "u2", "u3"]
    wav, _ = soundfile.read(corpus / "shards/2.wav", dtype="float32")
    alone = tokenizer.encode(torch.from_numpy(wav)[None])
    assert torch.equal(items["u2"].codes, alone.codes[0])  # batched = alone
    assert torch.allclose(items["u2"].speaker, alone.speaker[0], atol=1e-3)
    assert torch.allclose(items["u2"].char_ends, torch.tensor([0.2, 0.4, 0.7]))
    assert len(CodeShards(output, "valid")) == 1


def test_tokenizing_again_keeps_whole_shards(corpus, tmp_path):
    tokenizer, output = NeuralTokenizer(TINY).eval(), tmp_path / "codes"
    tokenize_manifest(corpus, output, tokenizer)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.safetensors")}
    (output / "valid-00000.jsonl").unlink()  # as if killed before this shard was whole
    tokenize_manifest(corpus, output, tokenizer)
    after = {path: path.stat().st_mtime_ns for path in output.glob("*.safetensors")}
    assert after[output / "train-00000.safetensors"] == before[output / "train-00000.safetensors"]
    assert after[output / "valid-00000.safetensors"] > before[output / "valid-00000.safetensors"]


def test_a_grown_manifest_is_tokenized_to_its_end(corpus, tmp_path):
    tokenizer, output = NeuralTokenizer(TINY).eval(), tmp_path / "codes"
    rows = (corpus / "shards/0.jsonl").read_text().splitlines(keepends=True)
    (corpus / "shards/0.jsonl").write_text("".join(rows[:3]))
    tokenize_manifest(corpus, output, tokenizer)
    (corpus / "shards/0.jsonl").write_text("".join(rows))
    tokenize_manifest(corpus, output, tokenizer)
    assert len(CodeShards(output, "train")) == 4


def test_codes_of_two_tokenizers_never_mix(corpus, tmp_path):
    tokenize_manifest(corpus, tmp_path / "codes", NeuralTokenizer(TINY).eval())
    other = NeuralTokenizer(TINY.model_copy(update={"name": "other"})).eval()
    with raises_input_error("other_run", key="output"):
        tokenize_manifest(corpus, tmp_path / "codes", other)


def test_shards_survive_without_speaker_and_times(tmp_path):
    spec = NeuralTokenizer(TINY).spec
    (tmp_path / "tokenizer_spec.json").write_text(spec.model_dump_json())
    write_shard(tmp_path / "train-0", [CodeItem("a", "hi.", "v", torch.ones(4, 7).long())], "train")
    item = CodeShards(tmp_path)[0]
    assert item.codes.shape == (4, 7) and item.speaker is None and item.char_ends is None


def test_a_folder_without_shards_is_refused(tmp_path):
    with raises_input_error("not_found"):
        CodeShards(tmp_path)


def test_shards_whose_spec_has_the_former_file_name_are_read(tmp_path):
    spec = NeuralTokenizer(TINY).spec
    (tmp_path / "card.json").write_text(spec.model_dump_json())
    write_shard(tmp_path / "train-0", [CodeItem("a", "hi.", "v", torch.ones(4, 7).long())], "train")
    assert CodeShards(tmp_path).spec == spec
    write_spec(tmp_path, spec)
    assert not (tmp_path / "tokenizer_spec.json").exists()
    with raises_input_error("other_run", key="output"):
        write_spec(tmp_path, spec.model_copy(update={"name": "other"}))
