"""Published lists of sentences and prompts, and the rules by which word errors are counted."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.sounds import buzz

from vocalmtp.cli import main
from vocalmtp.errors import InputError
from vocalmtp.evaluation import judges
from vocalmtp.evaluation.conventions import CONVENTIONS, find_convention
from vocalmtp.evaluation.intelligibility import word_errors
from vocalmtp.evaluation.prompt_lists import CONVENTION_OF, FOLDERS, LAYOUTS, load_list
from vocalmtp.evaluation.prompted import ListRun, run_list


def sound(path: Path, seconds: float = 1.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, buzz(seconds), 16_000)
    return path


# -- layouts ---------------------------------------------------------------------------------------


def test_seed_tts_evals_list(tmp_path):
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
    assert [problem.partition(": ")[2] for problem in found.broken] == [
        "the prompt none.wav is not there",
        "has 2 fields, not 4 or 5",
        "id 'u1' is there twice",
        "has no text",
    ]


def test_librispeech_pcs_list(tmp_path):
    sound(tmp_path / "test-clean" / "61" / "70968" / "61-70968-0000.flac")
    line = "61-70968-0000\t4.9\tHe began.\t61-70968-0003\t5.1\tGive not so earnest a mind."
    (tmp_path / "pc.lst").write_text(f"{line}\n61\t1\tx\ty\t1\tz\n")
    found = load_list(tmp_path / "pc.lst", "librispeech-pc", tmp_path / "test-clean")
    [item] = found.items
    assert item.id == "61-70968-0003" and item.text == "Give not so earnest a mind."
    assert item.prompt.name == "61-70968-0000.flac" and item.natural is None
    assert found.broken == ["pc.lst line 2: its utterances are not speaker-chapter-number"]


def test_librispeechs_folder_says_what_lasts_4_to_10_s(tmp_path):
    chapter = tmp_path / "61" / "70968"
    for number, seconds in enumerate((2.0, 5.0, 6.0)):
        sound(chapter / f"61-70968-000{number}.flac", seconds)
    lines = [f"61-70968-000{i} WORD {i}" for i in range(4)]
    (chapter / "61-70968.trans.txt").write_text("\n".join(lines) + "\n")
    found = load_list(tmp_path, "librispeech")
    assert [(item.id[-1], item.prompt.stem[-1]) for item in found.items] == [("1", "2"), ("2", "1")]
    assert found.items[0].natural.stem == "61-70968-0001" and found.items[0].text == "WORD 1"
    assert found.broken == ["61-70968.trans.txt '61-70968-0003': its audio is not there"]


def test_librittss_folder(tmp_path):
    chapter = tmp_path / "61" / "70968"
    for number in (0, 1):
        path = sound(chapter / f"61_70968_00000{number}_000000.wav", 5.0)
        path.with_name(f"{path.stem}.normalized.txt").write_text(f"He began {number}.")
    found = load_list(tmp_path, "libritts")
    assert [item.text for item in found.items] == ["He began 0.", "He began 1."]
    assert found.items[0].prompt == found.items[1].natural


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lists_that_are_not_there(tmp_path, layout):
    assert CONVENTION_OF[layout] in CONVENTIONS
    with pytest.raises(InputError, match="list|folder"):
        load_list(tmp_path / "none", layout)
    with pytest.raises(InputError, match="layout 'seed-tts': unknown; did you mean"):
        load_list(tmp_path, "seed-tts")
    if layout in FOLDERS:
        with pytest.raises(InputError, match="root 'elsewhere': the layout"):
            load_list(tmp_path, layout, Path("elsewhere"))


def test_a_list_without_any_audio_names_the_first_problem(tmp_path):
    (tmp_path / "meta.lst").write_text("u1|a|p.wav|b\nu2|a|p.wav|b\n")
    with pytest.raises(InputError, match="will do .*line 1: the prompt p.wav is not .*and 1 more"):
        load_list(tmp_path / "meta.lst", "seed-tts-eval")


# -- conventions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "normal"),
    [
        ("seed-tts-eval", "Well-known, isn't it?  Yes \u2014 5%", "wellknown isn't it yes 5"),
        ("librispeech-pc", "Well-known, isn't it?", "wellknown isnt it"),
        ("vall-e", "WELL-KNOWN, ISN'T IT 5", "well known isn't it"),
        ("whisper", "Isn't it twenty one, Mr. Smith?", "is not it 21 mister smith"),
        ("vocalmtp", "Well-known, isn't it? 5", "well known isn't it 5"),
    ],
)
def test_texts_are_normalised_as_the_convention_says(name, text, normal):
    assert find_convention(name).normalise(text) == normal


def test_a_rate_is_of_sentences_or_of_words():
    scores = [word_errors("a b c d", "a b c d"), word_errors("x", "y")]
    assert find_convention("seed-tts-eval").rate(scores).value == 0.5
    assert find_convention("vall-e").rate(scores).value == 0.2
    hyphen = "a well-known fact", "a wellknown fact"
    assert word_errors(*hyphen, find_convention("seed-tts-eval").normalise).errors == 0
    assert word_errors(*hyphen, find_convention("vall-e").normalise).errors == 2
    with pytest.raises(InputError, match="did you mean 'vall-e'"):
        find_convention("valle")


# -- the run ---------------------------------------------------------------------------------------


class OneVoice:
    """Hears the same person everywhere."""

    name, about = "one", "one voice"

    def embed(self, path: Path) -> np.ndarray:
        return np.array([1.0, 0.0])


@pytest.mark.usefixtures("quick_ears")
def test_a_list_is_said_judged_and_gone_on_with(tts, toy_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(judges.SPEAKER_JUDGES, "one", OneVoice)
    sound(tmp_path / "p.wav")
    sound(tmp_path / "short.wav", 0.4)
    lines = ["u1|a|p.wav|Hi there!|p.wav", "u2|a|short.wav|Hi.", "u3|a|p.wav|\u6771\u4eac"]
    (tmp_path / "meta.lst").write_text("\n".join(lines) + "\n")
    asked = ListRun(
        source=tmp_path / "meta.lst",
        output=tmp_path / "out",
        model=str(toy_folder),
        speaker_judge="one",
        processes=1,
    )
    text = run_list(asked, tts)
    assert "| WER (seed-tts-eval) |" in text and "| similarity to the prompt |" in text
    assert "2 sentences; 1 lines were broken and left out." in text
    assert "Published figures are heard by Whisper-large-v3; here by pocketsphinx" in text
    assert "Left out: u2: reference '" in text
    found = json.loads((tmp_path / "out" / "testlist.json").read_text())["figures"]
    natural = next(row["figure"] for row in found if row["system"] == "natural")
    assert natural["value"] == 0 and natural["count"] == 1  # "hi there" is what is heard
    rows = (tmp_path / "out" / "rows" / "answers.jsonl").read_text()
    assert run_list(asked, tts) == text
    assert (tmp_path / "out" / "rows" / "answers.jsonl").read_text() == rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["testlist", "--list", "none.lst"], "list 'none.lst': no such file"),
        (["testlist", "--list", "a", "--layout", "x"], "layout 'x': unknown"),
        (["roletriviaqa", "--data", "none"], "data 'none': no question set is there"),
        (["roletriviaqa", "--data", "mini"], "make it with: python recipes/roletriviaqa_mini"),
        (["roletriviaqa", "--data", "a", "--recogniser", "x"], "recogniser 'x': unknown"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(judges.SPEAKER_JUDGES, "resemblyzer", OneVoice)
    with pytest.raises(SystemExit) as stop:
        main(["eval", *arguments, "--output", "out"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1
