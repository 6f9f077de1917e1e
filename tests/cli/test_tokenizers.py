"""`vocalmtp tokenizers` and the way from audio to codes and back on the command line."""

import re

import numpy as np
import pytest
import soundfile
from helpers.command_line import run
from helpers.errors import error_code
from helpers.published_weights import make_published
from helpers.tiny_codecs import make_model, make_tiny

from vocalmtp.cli.tokenizers import DetokenizeOptions
from vocalmtp.tokenizers import list_cards
from vocalmtp.tokenizers.registry import VARIABLE


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)


def test_the_table_has_a_row_for_every_card(capsys):
    assert run("tokenizers") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split()}
    assert set(list_cards()) <= set(rows)
    for cell in ("semi-decoupled", "24", "12.5", "8 x 2048", "1100", "0 ms", "CC-BY-4.0", "no"):
        assert cell in rows["mimi-8"]
    assert "yes" in rows["mini"].split() and "no audio" in rows["s3-v2"]


def test_the_table_fits_into_a_small_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert run("tokenizers") == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    names = [line.split()[0] for line in lines if line.split()]
    assert all(names.count(name) == 1 for name in list_cards())
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    assert "CC-BY-4.0" not in "".join(lines) and lines[-1].startswith("licences: ")


def test_a_card_is_shown_whole(capsys):
    assert run("tokenizers", "show", "xcodec2") == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("fsq", "65536", "CC-BY-NC-4.0", "2502.04128", "vocalmtp get xcodec2"):
        assert part in said
    assert "no: it decodes whole utterances" in said


def test_a_card_without_a_decoder_says_so(capsys):
    assert run("tokenizers", "show", "s3-v2") == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "decoder no, see the notes",
        "cosyvoice2",
        "not in the codes",
        "convert s3-v2 s3gen.safe",
    ):
        assert part in said
    assert "decodes whole utterances" not in said


def test_codes_without_a_decoder_are_made_and_not_turned_into_audio(tmp_path, capsys):
    make_published("s3-v2").save_pretrained(tmp_path / "s3")
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16_000)
    assert run("tokenize", tmp_path / "a.wav", "-o", tmp_path / "codes", "-t", tmp_path / "s3") == 0
    capsys.readouterr()
    code = run("detokenize", tmp_path / "codes", "-o", tmp_path / "wavs", "-t", tmp_path / "s3")
    error = capsys.readouterr().err
    assert code == 2 and error_code(error) == "unsupported"


def test_audio_of_another_rate_and_in_stereo_is_taken(tmp_path, capsys):
    make_published("bigcodec").save_pretrained(tmp_path / "codec")  # of 16 kHz
    noise = np.random.default_rng(0).standard_normal((24_000, 2)) * 0.1
    soundfile.write(tmp_path / "a.wav", noise, 48_000)
    codes, source = tmp_path / "codes", tmp_path / "codec"
    assert run("tokenize", tmp_path / "a.wav", "-o", codes, "-t", source) == 0
    assert run("detokenize", codes, "-o", tmp_path / "wavs", "-t", source) == 0
    made = soundfile.info(tmp_path / "wavs" / "a.wav")
    assert (made.samplerate, made.frames, made.channels) == (16_000, 8_000, 1)


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
    assert "vocalmtp get mimi-8" in error and error.count("\n") == 1


def test_weights_that_are_not_for_commercial_use_are_announced(tmp_path, capsys):
    for name, warned in (("encodec-32khz", True), ("encodec-24khz-8", False)):
        make_tiny(name).save_pretrained(tmp_path / name)
        options = DetokenizeOptions(
            codes=tmp_path, output=tmp_path, tokenizer=str(tmp_path / name), device="cpu"
        )
        assert options.load().spec.noncommercial == warned
        assert (list_cards()[name].licence.weights in capsys.readouterr().err) == warned
