"""Word times from pointers, and the files they are written to."""

import json

import numpy as np
import pytest

from vocalmtp.audio.io import Word
from vocalmtp.audio.timestamps import save_timestamps, timestamps_format, word_times
from vocalmtp.errors import InputError

TEXT = "go on, you."
#       0123456789
POINTERS = np.array([0, 0, 1, 2, 3, 4, 5, 7, 8, 9, 10])


def test_a_word_lasts_from_its_first_character_to_the_one_after_it():
    assert word_times(TEXT, POINTERS, 10.0, whole=True) == [
        Word("go", 0.0, 0.3),
        Word("on", 0.4, 0.6),
        Word("you", 0.7, 1.0),
    ]


def test_a_stream_tells_only_what_has_ended():
    assert [w.text for w in word_times(TEXT, POINTERS[:6], 10.0, whole=False)] == ["go"]
    assert [w.text for w in word_times(TEXT, POINTERS[:7], 10.0, whole=False)] == ["go", "on"]
    assert word_times(TEXT, POINTERS[:0], 10.0, whole=False) == []


def test_the_last_word_of_a_cut_utterance_ends_with_it():
    assert word_times(TEXT, POINTERS[:5], 10.0, whole=True) == [
        Word("go", 0.0, 0.3),
        Word("on", 0.4, 0.5),
    ]


def test_a_pointer_may_skip_a_whole_word():
    assert word_times("a b c.", np.array([0, 4, 5]), 10.0, whole=True) == [
        Word("a", 0.0, 0.1),
        Word("b", 0.1, 0.1),
        Word("c", 0.1, 0.2),
    ]


def test_json_and_subtitles(tmp_path):
    words = [Word("go", 0.0, 0.3), Word("on", 3725.5, 3725.75)]
    save_timestamps(words, tmp_path / "w.json")
    assert json.loads((tmp_path / "w.json").read_text()) == {
        "words": [
            {"word": "go", "start": 0.0, "end": 0.3},
            {"word": "on", "start": 3725.5, "end": 3725.75},
        ]
    }
    save_timestamps(words, tmp_path / "w.srt")
    assert (tmp_path / "w.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:00,300\ngo\n\n2\n01:02:05,500 --> 01:02:05,750\non\n"
    )


@pytest.mark.parametrize(
    ("name", "message"), [("w.txt", "must end in .json or .srt"), ("x/w.srt", "exist")]
)
def test_other_files_are_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        timestamps_format(tmp_path / name)
