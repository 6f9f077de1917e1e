"""Audio to codes to audio, through folders."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.errors import raises_input_error
from helpers.tiny_codecs import make_tiny

from vocalmtp.data.manifest import Utterance, read_inputs
from vocalmtp.data.shards import CodeItem, CodeShards, write_shard
from vocalmtp.data.tokenize import _batches, detokenize_shards, tokenize_rows

LONG = (1.0, 2.0, 3.0, 4.0, 250.0, 290.0, 900.0, 1000.0)  # seconds


@pytest.fixture
def recordings(tmp_path):
    """Three recordings in a folder, one of them deeper, at 22,050 Hz, one in stereo."""
    folder, generator = tmp_path / "in", np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    for place, name in enumerate(("a.wav", "b.flac", "deep/c.wav")):
        shape = (22_050 // 4 * (place + 1), 2) if place == 1 else 22_050 // 4 * (place + 1)
        soundfile.write(folder / name, generator.standard_normal(shape) * 0.1, 22_050)
    return folder


@pytest.mark.parametrize("name", ["mini", "dac-16khz", "xcodec2"])
def test_a_folder_of_audio_to_codes_and_back(recordings, tmp_path, name):
    tokenizer, codes, wavs = make_tiny(name), tmp_path / "codes", tmp_path / "wavs"
    assert tokenize_rows(read_inputs([recordings]), codes, tokenizer, batch_size=2) == 3
    assert detokenize_shards(codes, wavs, tokenizer, batch_size=2) == 3
    shards = CodeShards(codes)
    assert sorted(row.id for row in shards.rows) == ["a", "b", "deep/c"]
    for index in range(3):
        item = shards[index]
        audio, rate = soundfile.read(wavs / f"{item.id}.wav")
        assert (
            rate == tokenizer.spec.sample_rate
            and len(audio) == item.codes.shape[1] * tokenizer.spec.hop
        )


def test_what_is_there_is_kept_and_the_rest_made(recordings, tmp_path):
    tokenizer, codes, wavs = make_tiny("mini"), tmp_path / "codes", tmp_path / "wavs"
    tokenize_rows(read_inputs([recordings]), codes, tokenizer)
    detokenize_shards(codes, wavs, tokenizer)
    old = (wavs / "a.wav").stat().st_mtime_ns
    (wavs / "b.wav").unlink()
    steps = []
    detokenize_shards(codes, wavs, tokenizer, progress=lambda *step: steps.append(step))
    assert steps == [(2, 3), (3, 3)]
    assert (wavs / "b.wav").is_file() and (wavs / "a.wav").stat().st_mtime_ns == old


def test_codes_of_another_card_name_both_hashes(recordings, tmp_path):
    mini, dac = make_tiny("mini"), make_tiny("dac-16khz")
    rows, codes, wavs = read_inputs([recordings / "a.wav"]), tmp_path / "codes", tmp_path / "wavs"
    tokenize_rows(rows, codes, mini)
    with raises_input_error("mismatch", key="shards"):
        detokenize_shards(codes, wavs, dac)
    with raises_input_error("other_run", key="output"):
        tokenize_rows(rows, codes, dac)


def test_codes_of_other_recordings_are_not_lost_or_mixed(recordings, tmp_path):
    tokenizer, codes = make_tiny("mini"), tmp_path / "codes"
    tokenize_rows(read_inputs([recordings / "a.wav"]), codes, tokenizer)
    with raises_input_error("other_run", key="output"):
        tokenize_rows(read_inputs([recordings / "b.flac"]), codes, tokenizer)
    assert [row.id for row in CodeShards(codes, "train").rows] == ["a"]
    assert tokenize_rows(read_inputs([recordings]), codes, tokenizer) == 3  # more than before
    (recordings / "a.wav").unlink()
    missing = read_inputs([recordings / "b.flac"])
    (recordings / "b.flac").unlink()
    with raises_input_error("not_found", key="audio"):
        tokenize_rows(missing, tmp_path / "other", tokenizer)


def test_long_recordings_make_small_batches():
    rows = [Utterance(id=str(n), audio=Path("x"), text="", seconds=s) for n, s in enumerate(LONG)]
    batches = list(_batches(rows, 4))
    assert [len(batch) for batch in batches] == [4, 2, 1, 1]
    assert sorted(row.seconds for batch in batches for row in batch) == sorted(LONG)


def test_large_codes_survive_a_shard(tmp_path):
    spec = make_tiny("xcodec2").spec
    codes = torch.tensor([[0, 40_000, 65_535]])
    write_shard(tmp_path / "train-00000", [CodeItem("a", "", "", codes)], "train")
    (tmp_path / "tokenizer_spec.json").write_text(spec.model_dump_json())
    assert torch.equal(CodeShards(tmp_path)[0].codes, codes)


def test_inputs_that_will_not_do_are_one_line(recordings, tmp_path):
    with raises_input_error("invalid_value", key="input"):
        read_inputs([recordings, recordings / "a.wav"])
    with raises_input_error("not_found", key="split"):
        read_inputs([recordings], "test")
    (tmp_path / "empty").mkdir()
    with raises_input_error("empty", key="manifest"):
        read_inputs([tmp_path / "empty"])
    tokenizer = make_tiny("mini")
    tokenize_rows(read_inputs([recordings / "a.wav"]), tmp_path / "codes", tokenizer)
    rows = tmp_path / "codes" / "train-00000.jsonl"
    rows.write_text(rows.read_text().replace('"id": "a"', '"id": "../a"'))
    with raises_input_error("invalid_value", key="utterance"):
        detokenize_shards(tmp_path / "codes", tmp_path / "wavs", tokenizer)
