"""Published lists of sentences and prompts, from the list to the report."""

import json
from pathlib import Path

import pytest
import soundfile
from helpers.errors import error_code, raises_input_error
from helpers.sounds import buzz

from vocalmtp.cli import main
from vocalmtp.evaluation.config import PromptListConfig
from vocalmtp.evaluation.prompt_lists import (
    CONVENTION_OF,
    FOLDERS,
    LAYOUTS,
    load_list,
    run_prompt_list,
)
from vocalmtp.evaluation.scoring import CONVENTIONS


def sound(path: Path, seconds: float = 1.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, buzz(seconds), 16_000)
    return path


# -- layouts ---------------------------------------------------------------------------------------


def test_list_of_seed_tts_eval(tmp_path):
    for name in ("prompt-wavs/p.wav", "wavs/u2.wav"):
        sound(tmp_path / name)
    lines = [
        "u1|We asked.|prompt-wavs/p.wav|They answered.",
        "u2|We asked.|prompt-wavs/p.wav|They went.|wavs/u2.wav",
        "u3|We asked.|prompt-wavs/none.wav|Lost.",
        "u4|We asked.",
        "u1|We asked.|prompt-wavs/p.wav|Again.",
        "u5|We asked.|prompt-wavs/p.wav|",
    ]
    (tmp_path / "meta.lst").write_text("\n".join(lines) + "\n")
    found = load_list(tmp_path / "meta.lst", "seed-tts-eval")
    assert [(item.id, item.text) for item in found.items] == [
        ("u1", "They answered."),
        ("u2", "They went."),
    ]
    assert found.items[0].natural is None and found.items[1].natural.name == "u2.wav"
    lines = [problem.partition(":")[0] for problem in found.broken]
    assert lines == [f"meta.lst line {number}" for number in (3, 4, 5, 6)]


def test_list_of_librispeech_pc(tmp_path):
    sound(tmp_path / "test-clean" / "61" / "70968" / "61-70968-0000.flac")
    line = "61-70968-0000\t4.9\tHe began.\t61-70968-0003\t5.1\tGive not so earnest a mind."
    (tmp_path / "pc.lst").write_text(f"{line}\n61\t1\tx\ty\t1\tz\n")
    found = load_list(tmp_path / "pc.lst", "librispeech-pc", tmp_path / "test-clean")
    [item] = found.items
    assert item.id == "61-70968-0003" and item.text == "Give not so earnest a mind."
    assert item.prompt.name == "61-70968-0000.flac" and item.natural is None
    assert [problem.partition(":")[0] for problem in found.broken] == ["pc.lst line 2"]


def test_folder_of_librispeech_gives_utterances_of_4_to_10_seconds(tmp_path):
    chapter = tmp_path / "61" / "70968"
    for number, seconds in enumerate((2.0, 5.0, 6.0)):
        sound(chapter / f"61-70968-000{number}.flac", seconds)
    lines = [f"61-70968-000{i} WORD {i}" for i in range(4)]
    (chapter / "61-70968.trans.txt").write_text("\n".join(lines) + "\n")
    found = load_list(tmp_path, "librispeech")
    assert [(item.id[-1], item.prompt.stem[-1]) for item in found.items] == [("1", "2"), ("2", "1")]
    assert found.items[0].natural.stem == "61-70968-0001" and found.items[0].text == "WORD 1"
    assert len(found.broken) == 1 and "61-70968-0003" in found.broken[0]


def test_folder_of_libritts(tmp_path):
    chapter = tmp_path / "61" / "70968"
    for number in (0, 1):
        path = sound(chapter / f"61_70968_00000{number}_000000.wav", 5.0)
        path.with_name(f"{path.stem}.normalized.txt").write_text(f"He began {number}.")
    found = load_list(tmp_path, "libritts")
    assert [item.text for item in found.items] == ["He began 0.", "He began 1."]
    assert found.items[0].prompt == found.items[1].natural


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_lists_are_refused(tmp_path, layout):
    assert CONVENTION_OF[layout] in CONVENTIONS
    with raises_input_error("not_found"):
        load_list(tmp_path / "none", layout)
    with raises_input_error("unknown_name", "layout", names="seed-tts-eval"):
        load_list(tmp_path, "seed-tts")
    if layout in FOLDERS:
        with raises_input_error("conflict", "root"):
            load_list(tmp_path, layout, Path("elsewhere"))


def test_list_without_any_audio_is_refused_with_the_first_problem(tmp_path):
    (tmp_path / "meta.lst").write_text("u1|a|p.wav|b\nu2|a|p.wav|b\n")
    with raises_input_error("empty", "list", names="line 1"):
        load_list(tmp_path / "meta.lst", "seed-tts-eval")


# -- the benchmark ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hi_there")
def test_list_is_synthesized_judged_and_continued(tts, toy_folder, tmp_path):
    sound(tmp_path / "p.wav")
    sound(tmp_path / "short.wav", 0.4)
    lines = ["u1|a|p.wav|Hi there!|p.wav", "u2|a|short.wav|Hi.", "u3|a|p.wav|\u6771\u4eac"]
    (tmp_path / "meta.lst").write_text("\n".join(lines) + "\n")
    config = PromptListConfig(
        source=tmp_path / "meta.lst",
        output=tmp_path / "out",
        model=str(toy_folder),
        judge=["test-loudness"],
        processes=1,
    )
    text = run_prompt_list(config, tts)
    assert "| WER (seed-tts-eval) |" in text and "| similarity to the prompt |" in text
    assert "Left out: u2: reference '" in text
    found = json.loads((tmp_path / "out" / "testlist.json").read_text())["metrics"]
    natural = next(row["estimate"] for row in found if row["system"] == "natural")
    assert natural["value"] == 0 and natural["count"] == 1  # the transcript is "hi there"
    rows = (tmp_path / "out" / "rows" / "answers.jsonl").read_text()
    assert run_prompt_list(config, tts) == text
    assert (tmp_path / "out" / "rows" / "answers.jsonl").read_text() == rows


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["testlist", "--list", "none.lst"], "not_found"),
        (["testlist", "--list", "a", "--layout", "x"], "unknown_name"),
        (["roletriviaqa", "--data", "none"], "not_found"),
        (["roletriviaqa", "--data", "mini"], "not_found"),
        (["roletriviaqa", "--data", "a", "--judge", "x"], "unknown_name"),
    ],
)
def test_missing_inputs_are_refused(tmp_path, monkeypatch, capsys, arguments, code):
    monkeypatch.chdir(tmp_path)
    judge = [] if "--judge" in arguments else ["--judge", "test-loudness"]
    with pytest.raises(SystemExit) as stop:
        main(["eval", *arguments, *judge, "--output", "out"])
    assert stop.value.code == 2 and error_code(capsys.readouterr().err) == code
