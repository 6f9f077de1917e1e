"""What is evaluated, and what every system makes of it."""

import numpy as np
import pytest

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.errors import InputError
from vocalmtp.evaluation.items import NO_AUDIO, pick_items, pick_references
from vocalmtp.evaluation.measure import measure_intelligibility
from vocalmtp.evaluation.references import cut_references, parse_seconds
from vocalmtp.evaluation.systems import SYSTEMS, speak, voices_of


def test_items_are_picked_by_voice_and_number(manifest):
    assert [row.id for row in pick_items(manifest, "test", ["ann"], 1)] == ["t/0"]
    assert len(pick_items(manifest, "test")) == 3
    with pytest.raises(InputError, match="voices 'eve'"):
        pick_items(manifest, "test", ["eve"])


def test_a_list_is_spoken_by_every_voice_or_found_among_recordings(manifest, tmp_path):
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
    ("text", "what"), [("hi.\n\u65e5\u672c\n", "list.txt:2"), ("\n", "is empty")]
)
def test_a_bad_list_is_named(tmp_path, text, what):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=what):
        pick_items(tmp_path / "list.txt")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_spoken_once(tts, manifest, tmp_path, system):
    items = pick_items(manifest, "test")
    first = speak(system, items, tts, tmp_path / "out", temperature=1.0)
    assert [s.id for s in first] == ["t/0", "t/1", "t/2"] and all(s.audio.is_file() for s in first)
    before = first[0].audio.stat().st_mtime_ns
    assert speak(system, items, tts, tmp_path / "out", temperature=1.0) == first
    assert first[0].audio.stat().st_mtime_ns == before


def test_a_voice_the_model_lacks_is_made_from_a_recording(tts, manifest):
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


def test_references_are_of_other_sentences_if_there_are_any(manifest):
    items = pick_items(manifest, "train")
    assert {row.id for row in pick_references(manifest, ["ann"], items)} == {"t/0", "t/1"}
    everything = items + pick_items(manifest, "test")
    assert len(pick_references(manifest, ["ann"], everything)) == 4


def test_failures_are_named_and_score_everything(tts, manifest, tmp_path, monkeypatch):
    loud = np.full(48_000, 0.1, np.float32)
    made = [Audio(loud[:1], 16_000), Audio(loud[:100], 16_000), Audio(loud[:32_000], 16_000)]
    made += [Audio(loud[:0], 16_000), Audio(loud[:16_000], 16_000, truncated=True)]
    made[0].samples[:] = 0.0
    monkeypatch.setattr(tts, "batch", lambda *args, **kwargs: iter(made))
    items = pick_items(manifest, "train")
    spoken = speak("tts", items, tts, tmp_path / "out")
    assert [s.failure for s in spoken] == ["empty", "cut off", "runaway", "empty", "truncated"]
    assert [s.silent for s in spoken] == [True, False, False, True, False]
    lines = {(x.what, x.system): x for x in measure_intelligibility({"tts": spoken}, tmp_path, 1)}
    assert lines["failed", "tts"].figure.value == 1.0 and lines["WER", "tts"].figure.value == 1.0
    assert lines["... empty", "tts"].figure.value == pytest.approx(0.4)


def test_references_are_joined_and_cut_to_a_length(manifest, tmp_path):
    rows = pick_items(manifest, "train")
    cut = cut_references(rows, 1.5, tmp_path / "references")
    assert [(row.voice, row.audio.name) for row in cut] == [("ann", "ann.wav"), ("bob", "bob.wav")]
    assert all(len(read_audio(row.audio, 16_000)) == 1.6 * 16_000 for row in cut)
    with pytest.raises(InputError, match="voice 'ann': 2.0 s of recordings, not 3; ask for less"):
        cut_references(rows, 3.0, tmp_path / "references")
    for text in ("x", "0.5", "nan", "99"):
        with pytest.raises(InputError, match=f"reference_seconds '{text}': must be 1 to 30"):
            parse_seconds(text)
