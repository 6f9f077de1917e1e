"""The aligner: its search, its states, and a short training on tones."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tones import tiny_aligner_recipe, tone_speech, write_tone_corpus

from vocalmtp.models.aligner import (
    PAUSE,
    Aligner,
    AlignerConfig,
    load_aligner,
    states,
    viterbi,
    word_ends,
)
from vocalmtp.text import ALPHABET
from vocalmtp.training.aligner import frame_labels, train_aligner

SETTINGS = {"steps": 60, "warp": 0.0, "noise_prob": 0.2, "reverb_prob": 0.1}


def best_path_by_enumeration(emitted, silent, sounding):
    """The best path among all of them."""
    frames, count = emitted.shape

    def score(path):
        passed = set(range(count)) - set(path)
        return (
            sum(emitted[f, s] for f, s in enumerate(path))
            + sum(silent[s] for s in passed)
            + sum(sounding[s] for s in set(path))
        )

    return max(combinations_with_replacement(range(count), frames), key=score)


@pytest.mark.parametrize("seed", range(8))
def test_viterbi_finds_best_of_all_paths(seed):
    generator = np.random.default_rng(seed)
    frames, count = 5, 4
    emitted = generator.normal(size=(frames, count)) * 2
    chance = generator.uniform(0.05, 0.95, count)
    silent, sounding = np.log(chance), np.log1p(-chance)
    path = viterbi(emitted, silent, sounding)
    assert tuple(path) == best_path_by_enumeration(emitted, silent, sounding)


def test_states_are_letters_and_first_mark_of_each_run():
    columns, owners = states("it's, so.")
    assert [ALPHABET[c] for c in columns] == list(" its so ")
    assert owners == [0, 0, 1, 3, 4, 6, 7, 8]
    with raises_input_error("empty", "text"):
        states("?!")
    with raises_input_error("invalid_value", "text"):
        states("One")


def test_words_begin_after_pause():
    ends = [0.1, 0.2, 0.5, 0.6, 0.7, 0.9]
    assert word_ends("ab cd.", ends) == [("ab", 0.0, 0.2), ("cd", 0.5, 0.7)]


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A corpus of tones, and in its folder "aligner" one trained on it for a few seconds."""
    folder = write_tone_corpus(tmp_path_factory.mktemp("tones"))
    train_aligner(tiny_aligner_recipe(folder, **SETTINGS))
    return folder


def test_trained_aligner_finds_character_ends(tones):
    aligner = Aligner.from_pretrained(tones / "aligner")
    samples, ends, _ = tone_speech("ab ca cb.", np.random.default_rng(5))
    found = aligner.align(samples, "ab ca cb.")
    assert np.abs(found.ends - ends).max() < 0.03
    assert found.coverage == 1.0
    wrong = aligner.align(samples, "cc bb ac.")
    assert wrong.nll > found.nll + 0.5
    louder = aligner.align(samples * 0.01, "ab ca cb.")
    assert np.abs(louder.ends - found.ends).max() < 0.011


def test_finished_run_stays_as_it_is(tones):
    before = (tones / "aligner" / "log.jsonl").read_text()
    train_aligner(tiny_aligner_recipe(tones, **SETTINGS))
    assert (tones / "aligner" / "log.jsonl").read_text() == before


@pytest.mark.parametrize("change", [{"model": {"dim": 16}}, {"learning_rate": 1e-3}])
def test_output_of_another_recipe_is_refused(tones, change):
    with raises_input_error("other_run", "output"):
        train_aligner(tiny_aligner_recipe(tones, **SETTINGS | change))


def test_pauses_are_labelled_as_pause(tones):
    from vocalmtp.data.manifest import read_manifest

    row = read_manifest(tones)[0]
    labels = frame_labels(row, AlignerConfig())
    last = int(row.chars[-2] * 100) + 1
    assert (labels[last:] == PAUSE).all() and labels[0] == ALPHABET.index(row.text[0])


def test_incomplete_aligner_folder_is_refused(tmp_path):
    with raises_input_error("damaged", "aligner"):
        Aligner.from_pretrained(tmp_path)
    (tmp_path / "aligner.json").write_text("{")
    with raises_input_error("damaged", "aligner"):
        Aligner.from_pretrained(tmp_path)


def test_packaged_aligner_is_small_and_aligns():
    aligner = load_aligner()
    assert sum(p.numel() for p in aligner.parameters()) * 2 < 2e6
    torch.manual_seed(0)
    samples = torch.randn(16_000).numpy() * 0.1
    text = "what is it, then?"
    found = aligner.align(samples, text)
    assert found.ends.shape == (len(text),) and found.ends[-1] == 1.0
    assert (np.diff(found.ends) >= 0).all() and found.nll > 1
    with raises_input_error("wrong_length", "text"):
        aligner.align(samples[:800], text * 10)
