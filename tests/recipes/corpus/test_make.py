"""The generator of recipes/corpus with a stub teacher."""

import json
from random import Random

import numpy as np
import pytest
import soundfile
import typer
from helpers.corpus_stub import HELD_OUT, UNSEEN

from vocalmtp.data.manifest import read_manifest


def contents(folder):
    """Every file of a corpus but the texts."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_interrupted_run_continues_to_the_same_files(make, tmp_path):
    make(tmp_path / "whole")
    broken = tmp_path / "broken"
    for fail_at in (5, 13):
        with pytest.raises(KeyboardInterrupt):
            make(broken, fail_at=fail_at)
    # What a kill leaves in the worst case: half an audio file, half a row.
    [*_, newest] = sorted(
        (broken / "shards").glob("*.jsonl"), key=lambda path: path.stat().st_mtime
    )
    with newest.open("ab") as rows:
        rows.write(b'{"id": "hibari-')
    (newest.with_suffix("") / "0009.flac.partial").write_bytes(b"fLaC")
    make(broken)
    (newest.with_suffix("") / "0009.flac.partial").unlink(missing_ok=True)
    assert contents(broken) == contents(tmp_path / "whole")


def test_more_hours_keep_what_is_there(make, tmp_path):
    make(tmp_path)
    before = contents(tmp_path / "shards")
    make(tmp_path, hours=0.02)
    after = contents(tmp_path / "shards")
    assert before.items() <= after.items() and len(after) > len(before)


def test_a_corpus_with_other_texts_gets_no_more(make, tmp_path):
    make(tmp_path)
    before = contents(tmp_path)
    for plan in (None, {"texts": 1, "seed": 0}):
        (tmp_path / "plan.json").unlink() if plan is None else (tmp_path / "plan.json").write_text(
            json.dumps(plan)
        )
        with pytest.raises(typer.BadParameter):
            make(tmp_path, hours=0.02)
    assert {**contents(tmp_path), "plan.json": before["plan.json"]} == before


def test_texts_are_read_as_models_read_them(recipe):
    normalise = recipe("normalise")
    assert normalise.normalise('It was $3.50 at 5:05 (or so) in 1905, i.e. "cheap"...') == (
        "it was three dollars and fifty cents at five oh five in nineteen oh five, that is cheap."
    )
    for uncertain in ("The NATO files.", "x = y^2 here.", "see b2b sites", "add H. pylori"):
        assert normalise.normalise(uncertain) is None
    for kind in recipe("templates").KINDS:
        for seed in range(40):
            text = recipe("templates").sentence(Random(seed), kind, word=["tree"], proper=["paris"])
            assert normalise.normalise(text) == text


def test_manifest_has_audio_and_times_of_every_item(make, tmp_path):
    make(tmp_path)
    rows = read_manifest(tmp_path)
    assert {row.split for row in rows} == {"train", "valid", "test", "rare", "heldout"}
    assert {row.voice for row in rows if row.split == "heldout"} == {"unheard"}
    assert all(row.voice != "unheard" for row in rows if row.split != "heldout")
    for row in rows[:20]:
        info = soundfile.info(row.audio)
        assert (info.samplerate, info.format, info.channels) == (24_000, "FLAC", 1)
        assert info.duration == pytest.approx(row.seconds, abs=1e-3)
        assert len(row.chars) == len(row.text) and row.chars[-1] == row.seconds
        assert (np.diff(row.chars) >= 0).all() and (np.diff([t for _, t in row.phones]) >= 0).all()


def test_misread_text_has_no_row(make, tmp_path):
    make(tmp_path)
    assert all(len(row.text.split()) != 2 for row in read_manifest(tmp_path))


def test_held_out_sentences_and_words_are_not_in_training_texts(make, tmp_path, recipe, share):
    normalise = recipe("normalise")
    pool = [text for _, text in recipe("texts").pool(share, 0)]
    listed = {
        normalise.bare(s) for n in ("test", "rare") for s in recipe("texts").read_lines(f"{n}.txt")
    }
    assert not listed & {normalise.bare(text) for text in pool}
    assert not [text for text in pool if UNSEEN in text or HELD_OUT in text]
    make(tmp_path / "corpus")
    trained = [
        row.text for row in read_manifest(tmp_path / "corpus") if row.split in ("train", "valid")
    ]
    assert trained and set(trained) <= set(pool)


def test_every_stretch_of_texts_has_the_sources_by_their_shares(recipe):
    texts = recipe("texts")
    pool = [(source, f"{source} {i}") for source in texts.SHARES for i in range(2000)]
    order = texts.mixed(pool, Random(0))
    assert sorted(order) == sorted(pool)
    for start in (0, 1000, 2000):
        found = [source for source, _ in order[start : start + 1000]]
        for source, part in texts.SHARES.items():
            assert found.count(source) / 1000 == pytest.approx(part, abs=0.05)


@pytest.mark.parametrize("value", ["hibari", "nobody=3", "hibari=x", "hibari=1;kokoro=2"])
def test_wrong_hours_are_refused(recipe, value):
    import typer

    with pytest.raises(typer.BadParameter):
        recipe("make").parse_hours(value)
    assert recipe("make").parse_hours("hibari=6,kokoro=.5") == {"hibari": 6.0, "kokoro": 0.5}


def test_dropped_items_are_counted_and_left_out(make, tmp_path, recipe):
    judge = recipe("judge")
    make(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").open()]
    bad = next(row for row in rows if row["split"] == "train" and row["source"] == "dialogue")
    said = {row["audio"]: row["text"] for row in rows}
    said[bad["audio"]] = "something else entirely was recognised here"
    order = [row for path in sorted((tmp_path / "shards").glob("*.jsonl")) for row in _rows(path)]
    answers = iter([said[row["audio"]] for row in order])
    for path in sorted((tmp_path / "shards").glob("*.jsonl")):
        assert all(judge.judge_shard(tmp_path, path.stem, lambda samples, rate: next(answers)))
        again = judge.judge_shard(tmp_path, path.stem, lambda samples, rate: pytest.fail("again"))
        assert not list(again)
    items, _ = judge.write_manifest(tmp_path)
    kept = {row.id for row in read_manifest(tmp_path)}
    assert kept == {row["id"] for row in rows} - {bad["id"]} and items == len(kept)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["hibari low"]["dropped"] == 1
    assert report["hibari low"]["judged"] == report["hibari low"]["items"]


def _rows(path):
    return [json.loads(line) for line in path.open()]


@pytest.mark.parametrize(
    ("text", "recognised", "wrong"),
    [
        ("i paid three dollars.", "I paid $3.", 0),
        ("mister smith is here.", "Mr. Smith is here!", 0),
        ("the bookshop opens.", "The book shop opens.", 0),
        ("he did not sleep.", "He did sleep.", 1),
    ],
)
def test_words_are_compared_normalised(recipe, text, recognised, wrong):
    assert recipe("judge").errors(text, recognised)[0] == wrong
