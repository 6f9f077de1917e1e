"""`vocalmtp tokenizers` and the way from audio to codes and back on the command line."""

import numpy as np
import pytest
import soundfile
from tiny_codecs import make_model

from vocalmtp.cli import main
from vocalmtp.tokenizers import list_entries
from vocalmtp.tokenizers.registry import VARIABLE


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)


def test_the_table_has_a_row_for_every_card(capsys):
    assert run("tokenizers") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split()}
    assert set(list_entries()) <= set(rows)
    for cell in ("semi-decoupled", "24000", "12.5", "8 x 2048", "1100", "0 ms", "CC-BY-4.0", "no"):
        assert cell in rows["mimi-8"]
    assert rows["mini"].rstrip().endswith("yes")


def test_a_card_is_shown_whole(capsys):
    assert run("tokenizers", "show", "xcodec2") == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("fsq", "65536", "CC-BY-NC-4.0", "2502.04128", "hf download hf-audio/xcodec2"):
        assert part in said
    assert "not possible" in said


def test_an_unknown_card_names_the_nearest(capsys):
    assert run("tokenizers", "show", "mimi8") == 2
    assert "did you mean 'mimi-8'" in capsys.readouterr().err


def test_audio_to_codes_and_back_with_a_published_folder(tmp_path, capsys):
    make_model("dac-16khz").save_pretrained(tmp_path / "weights")
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).standard_normal(8_000) * 0.1
    soundfile.write(tmp_path / "in" / "a.wav", noise, 16_000)
    source = f"dac-16khz={tmp_path / 'weights'}"
    codes, wavs = tmp_path / "codes", tmp_path / "wavs"
    assert run("tokenize", tmp_path / "in", "-o", codes, "-t", source) == 0
    assert "codes of 1 utterances by dac-16khz" in capsys.readouterr().out
    assert run("detokenize", codes, "-o", wavs, "-t", source) == 0
    assert soundfile.info(wavs / "a.wav").frames == 8_000
    assert run("detokenize", codes, "-o", wavs, "-t", "mini") == 2
    assert "are of dac-16khz" in capsys.readouterr().err


def test_weights_that_are_not_here_are_one_line(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16_000)
    assert run("tokenize", tmp_path / "a.wav", "-o", tmp_path / "codes", "-t", "mimi-8") == 2
    error = capsys.readouterr().err
    assert "hf download kyutai/mimi" in error and error.count("\n") == 1
