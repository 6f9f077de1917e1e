"""Judges by name, and tiny random ones of Transformers in the published layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.sounds import buzz

from vocalmtp import optional
from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import find_recogniser, find_speaker_judge

TINY = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
TINY |= {"num_attention_heads": 2, "initializer_range": 1.0}


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", buzz(1.0), 16_000)
    return tmp_path / "a.wav"


def test_wavlm_gives_unit_vectors(sound, tmp_path):
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    config = WavLMConfig(
        **TINY,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(8, 8, 8, 8, 8),
        xvector_output_dim=12,
    )
    WavLMForXVector(config).save_pretrained(tmp_path / "wavlm")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wavlm")
    judge = find_speaker_judge(f"wavlm={tmp_path / 'wavlm'}")
    vector = judge.embed(sound)
    assert vector.shape == (12,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vector, judge.embed(sound)) and "wavlm" in judge.about


def test_whisper_writes_text(sound, tmp_path):
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    vocab = {"<|endoftext|>": 0, "h": 1, "i": 2, "hi": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nh i\n")
    tokenizer = WhisperTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 6
    model.save_pretrained(tmp_path / "tiny")
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(tmp_path / "tiny")
    recogniser = find_recogniser(f"whisper={tmp_path / 'tiny'}")
    heard = dict(recogniser.hear([sound, sound], processes=1))
    assert heard.keys() == {0, 1} and heard[0] == heard[1] and isinstance(heard[0], str)
    assert recogniser.about == "Whisper (tiny)"


def test_the_expecting_recogniser_gives_its_language_to_every_process(tmp_path, monkeypatch):
    pytest.importorskip("pocketsphinx")
    (tmp_path / "answers.txt").write_text("It is ten.\n\n!\nTwo.\n")
    given = []

    def recognise(path: Path, language: Path | None = None) -> str:
        given.append([(language / name).read_text() for name in ("language.arpa", "words.dict")])
        return path.stem

    monkeypatch.setattr("vocalmtp.evaluation.intelligibility.recognise", recognise)
    recogniser = find_recogniser(f"pocketsphinx={tmp_path / 'answers.txt'}")
    assert dict(recogniser.hear([Path("a.wav"), Path("b.wav")], processes=1)) == {0: "a", 1: "b"}
    assert "is ten </s>" in given[0][0] and "two T UW" in given[1][1]
    assert "answers.txt" in recogniser.about and recogniser.name != "pocketsphinx"
    (tmp_path / "answers.txt").write_text("!\n")
    with pytest.raises(InputError, match="no words"):
        find_recogniser(f"pocketsphinx={tmp_path / 'answers.txt'}")


@pytest.mark.parametrize(
    ("find", "asked", "message"),
    [
        (find_recogniser, "pocketspinx", "recogniser 'pocketspinx': unknown; did you mean 'pocket"),
        (find_recogniser, "whisper", "give whisper=FOLDER"),
        (find_recogniser, "pocketsphinx=", "give pocketsphinx=FILE, or pocketsphinx alone"),
        (find_recogniser, "pocketsphinx=x", "recogniser 'pocketsphinx=x': No such file"),
        (find_speaker_judge, "resemblyzer=x", "give resemblyzer alone"),
        (find_recogniser, "whisper=none", "recognizer 'whisper=none': no such folder"),
        (find_speaker_judge, "wavlm=.", "judge 'wavlm=.': cannot be read"),
        (find_speaker_judge, "resemblyser", "did you mean 'resemblyzer'?"),
    ],
)
def test_judges_that_are_not_there(find, asked, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        find(asked)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("find", "name"), [(find_recogniser, "pocketsphinx"), (find_speaker_judge, "resemblyzer")]
)
def test_a_judge_that_is_not_installed_names_the_extra(find, name, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"package '{name}': cannot be imported .*run: pip"):
        find(name)
    assert optional.INSTALL == 'pip install "vocalmtp[eval]"'
