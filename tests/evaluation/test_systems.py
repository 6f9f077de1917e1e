"""Test sentences and references, and the audio of every system."""

import numpy as np
import pytest
from helpers.errors import raises_input_error

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import Evaluators, success
from vocalmtp.evaluation.sentences import (
    NO_AUDIO,
    cut_references,
    first_of_each_voice,
    parse_seconds,
    pick_items,
    pick_references,
)
from vocalmtp.evaluation.systems import (
    SYSTEMS,
    SwappedTTS,
    next_names,
    swapped_codec,
    synthesize,
    voices_of,
)

# -- sentences -------------------------------------------------------------------------------------


def test_items_are_selected_by_voice_and_number(manifest):
    assert [row.id for row in pick_items(manifest, "test", ["ann"], 1)] == ["t/0"]
    items = pick_items(manifest, "test")
    assert len(items) == 3
    assert [row.id for row in first_of_each_voice(items, 1)] == ["t/0", "t/2"]
    with raises_input_error("empty", "voices", names="eve"):
        pick_items(manifest, "test", ["eve"])


def test_list_is_spoken_by_every_voice_or_found_among_recordings(manifest, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("Hi there\n\nIt is 5.\n")
    items = pick_items(path, voices=["ann", "bob"])
    assert [(i.id, i.text, i.audio) for i in items[:2]] == [
        ("ann-0001", "hi there.", NO_AUDIO),
        ("ann-0002", "it is five.", NO_AUDIO),
    ]
    assert [i.voice for i in items] == ["ann", "ann", "bob", "bob"]
    found = pick_items(path, voices=["ann", "bob"], natural=manifest)
    assert [i.id for i in found] == ["t/0", "t/2"]


@pytest.mark.parametrize(
    ("content", "code", "names"),
    [
        (None, "not_found", "list.txt"),
        (b"\n", "empty", "list.txt"),
        ("hi.\n\u65e5\u672c\n".encode(), "unsupported", "line 2"),
        (b"hi.\n\xff\n", "invalid_value", "line 2"),
    ],
)
def test_unusable_lists_are_refused(tmp_path, content, code, names):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with raises_input_error(code, names=names):
        pick_items(tmp_path / "list.txt")


def test_references_are_of_other_sentences_if_there_are_any(manifest):
    items = pick_items(manifest, "train")
    assert {row.id for row in pick_references(manifest, ["ann"], items)} == {"t/0", "t/1"}
    everything = items + pick_items(manifest, "test")
    assert len(pick_references(manifest, ["ann"], everything)) == 4


def test_references_are_joined_and_cut_to_a_length(manifest, tmp_path):
    rows = pick_items(manifest, "train")
    cut = cut_references(rows, 1.5, tmp_path / "references")
    assert [(row.voice, row.audio.name) for row in cut] == [("ann", "ann.wav"), ("bob", "bob.wav")]
    assert all(len(read_audio(row.audio, 16_000)) == 1.6 * 16_000 for row in cut)
    with raises_input_error("wrong_length", "voice", names="ann"):
        cut_references(rows, 3.0, tmp_path / "references")


@pytest.mark.parametrize("text", ["x", "0.5", "nan", "99"])
def test_reference_lengths_that_make_no_voice_are_refused(text):
    with raises_input_error("out_of_range", "reference_seconds", names=text):
        parse_seconds(text)


# -- systems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_synthesized_once(tts, manifest, tmp_path, system):
    items = pick_items(manifest, "test")
    first = synthesize(system, items, tts, tmp_path / "out", temperature=1.0)
    assert [s.id for s in first] == ["t/0", "t/1", "t/2"] and all(s.audio.is_file() for s in first)
    before = first[0].audio.stat().st_mtime_ns
    assert synthesize(system, items, tts, tmp_path / "out", temperature=1.0) == first
    assert first[0].audio.stat().st_mtime_ns == before


def test_voice_that_the_model_lacks_is_made_from_a_recording(tts, manifest):
    manifest.write_text(manifest.read_text().replace('"bob"', '"eve"'))
    items = pick_items(manifest, "test")
    voices = voices_of(items, tts)
    assert voices["ann"] is tts.voices["ann"] and "2.wav" in voices["eve"].origin
    references = pick_references(manifest, ["ann", "eve"], items, limit=2)
    assert [(row.voice, row.text) for row in references] == [
        ("ann", "one."),
        ("ann", "two."),
        ("eve", "one."),
        ("eve", "two."),
    ]
    assert "4.wav" in voices_of(items, tts, references)["eve"].origin


def test_failures_are_classified_and_lose_all_words(tts, manifest, tmp_path, monkeypatch):
    loud = np.full(48_000, 0.1, np.float32)
    made = [Audio(loud[:1], 16_000), Audio(loud[:100], 16_000), Audio(loud[:32_000], 16_000)]
    made += [Audio(loud[:0], 16_000), Audio(loud[:16_000], 16_000, truncated=True)]
    made[0].samples[:] = 0.0
    monkeypatch.setattr(tts, "batch", lambda *args, **kwargs: iter(made))
    items = pick_items(manifest, "train")
    spoken = synthesize("tts", items, tts, tmp_path / "out")
    assert [s.failure for s in spoken] == ["empty", "cut off", "runaway", "empty", "truncated"]
    assert [s.silent for s in spoken] == [True, False, False, True, False]
    assert success(spoken)["success"].value == 0 and success(spoken)["empty"].value == 0.4
    scores = Evaluators(Judges(), [], tmp_path).intelligibility("tts", spoken, tmp_path)
    assert scores["wer"].value == scores["wer_sentences"].value == 1.0


# -- swapped speaker vectors -----------------------------------------------------------------------


def test_the_next_name_is_another_one():
    assert next_names(["b", "a", "c"]) == {"a": "b", "b": "c", "c": "a"}


def test_swapped_model_decodes_with_the_vector_of_the_next_voice(tts):
    swapped = SwappedTTS(tts, tts.voices)
    options = {"temperature": 1.0, "seed": 3}
    own = tts("Hi there.", voice="ann", **options)
    other = swapped("Hi there.", voice="ann", **options)
    assert own.samples.shape == other.samples.shape  # the codes are the same
    assert not np.array_equal(own.samples, other.samples)


def test_swapped_resynthesis_differs_in_the_speaker_vector_alone(tts, manifest, tmp_path):
    items, references = pick_items(manifest, "test"), pick_items(manifest, "train")
    codec = swapped_codec(tts.tokenizer, references)
    plain = synthesize("resynthesis", items, tts, tmp_path)
    swapped = synthesize("resynthesis", items, codec, tmp_path, label="swapped")
    for one, other in zip(plain, swapped, strict=True):
        assert one.seconds == other.seconds and other.audio.parent.name == "swapped"
        assert not np.array_equal(read_audio(one.audio, 16_000), read_audio(other.audio, 16_000))
