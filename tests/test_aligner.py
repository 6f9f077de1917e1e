"""The aligner: its search, its states, and a short training on tones."""

import json
from itertools import combinations_with_replacement

import numpy as np
import pytest
import soundfile
import torch

from vocalmtp.config import parse
from vocalmtp.errors import InputError
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
from vocalmtp.training.aligner import AlignerRecipe, frame_characters, train_aligner

TONES = {"a": 400.0, "b": 1000.0, "c": 2500.0}


def best_by_trying(emitted, silent, sounding):
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
def test_the_search_finds_the_best_of_all_paths(seed):
    generator = np.random.default_rng(seed)
    frames, count = 5, 4
    emitted = generator.normal(size=(frames, count)) * 2
    chance = generator.uniform(0.05, 0.95, count)
    silent, sounding = np.log(chance), np.log1p(-chance)
    path = viterbi(emitted, silent, sounding)
    assert tuple(path) == best_by_trying(emitted, silent, sounding)


def test_states_are_letters_and_the_first_mark_of_a_row():
    columns, owners = states("it's, so.")
    assert [ALPHABET[c] for c in columns] == list(" its so ")
    assert owners == [0, 0, 1, 3, 4, 6, 7, 8]
    with pytest.raises(InputError, match="no letters"):
        states("?!")
    with pytest.raises(InputError, match="not in the alphabet"):
        states("One")


def test_words_begin_where_the_pause_before_them_ends():
    ends = [0.1, 0.2, 0.5, 0.6, 0.7, 0.9]
    assert word_ends("ab cd.", ends) == [("ab", 0.0, 0.2), ("cd", 0.5, 0.7)]


def tone_speech(text, generator):
    """Samples, character ends and phones of a text that is said in tones; marks are silent."""
    parts, ends, phones = [], [], []
    for character in text:
        seconds = generator.uniform(0.08, 0.2)
        time = np.arange(round(seconds * 16_000)) / 16_000
        parts.append(0.3 * np.sin(2 * np.pi * TONES.get(character, 0.0) * time))
        ends.append(round(sum(map(len, parts)) / 16_000, 4))
        phones.append((character if character in TONES else "pau", ends[-1]))
    return np.concatenate(parts).astype(np.float32), ends, phones


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """An aligner that was trained on tones for a few seconds, and its corpus."""
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    rows = []
    for index in range(40):
        text = "".join(generator.choice(list("abc "), 8)).strip() + "a."
        samples, ends, phones = tone_speech(text, generator)
        soundfile.write(folder / f"{index}.wav", samples, 16_000)
        row = {"id": str(index), "audio": f"{index}.wav", "text": text, "split": "train"}
        row |= {"seconds": ends[-1], "chars": ends, "phones": phones}
        rows.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(rows))
    recipe = {
        "corpus": folder,
        "output": folder / "aligner",
        "model": {"dim": 32, "layers": 2, "kernel": 5},
        "steps": 60,
        "seconds": 1.0,
        "warp": 0.0,
        "noisy": 0.2,
        "reverberated": 0.1,
    }
    train_aligner(parse(AlignerRecipe, recipe))
    return folder


def test_it_learns_to_align(tones):
    aligner = Aligner.from_pretrained(tones / "aligner")
    samples, ends, _ = tone_speech("ab ca cb.", np.random.default_rng(5))
    found = aligner.align(samples, "ab ca cb.")
    assert np.abs(found.ends - ends).max() < 0.03
    assert found.heard == 1.0
    wrong = aligner.align(samples, "cc bb ac.")
    assert wrong.misfit > found.misfit + 0.5
    louder = aligner.align(samples * 0.01, "ab ca cb.")
    assert np.abs(louder.ends - found.ends).max() < 0.011


def test_a_run_that_is_over_goes_on_from_its_state(tones):
    before = (tones / "aligner" / "log.jsonl").read_text()
    data = {"corpus": tones, "output": tones / "aligner", "steps": 60}
    data["model"] = {"dim": 32, "layers": 2, "kernel": 5}
    train_aligner(parse(AlignerRecipe, data))
    assert (tones / "aligner" / "log.jsonl").read_text() == before
    data["model"] = {"dim": 16}
    with pytest.raises(InputError, match="another recipe"):
        train_aligner(parse(AlignerRecipe, data))


def test_pauses_are_not_labelled_with_letters(tones):
    from vocalmtp.data.manifest import read_manifest

    row = read_manifest(tones)[0]
    labels = frame_characters(row, AlignerConfig())
    last = int(row.chars[-2] * 100) + 1
    assert (labels[last:] == PAUSE).all() and labels[0] == ALPHABET.index(row.text[0])


def test_what_is_no_aligner_is_one_line(tmp_path):
    with pytest.raises(InputError, match="aligner.json is missing"):
        Aligner.from_pretrained(tmp_path)
    (tmp_path / "aligner.json").write_text("{")
    with pytest.raises(InputError, match="aligner.json is not valid JSON"):
        Aligner.from_pretrained(tmp_path)


def test_the_one_of_the_package_is_small_and_keeps_its_contract():
    aligner = load_aligner()
    assert sum(p.numel() for p in aligner.parameters()) * 2 < 2e6
    torch.manual_seed(0)
    samples = torch.randn(16_000).numpy() * 0.1
    text = "what is it, then?"
    found = aligner.align(samples, text)
    assert found.ends.shape == (len(text),) and found.ends[-1] == 1.0
    assert (np.diff(found.ends) >= 0).all() and found.misfit > 1
    with pytest.raises(InputError, match="too long"):
        aligner.align(samples[:800], text * 10)
