"""Self-distillation: shards of codes that a speech LM generates."""

import json

import pytest
import torch
from helpers.command_line import run
from helpers.errors import error_code
from helpers.toy_model import save_toy_model
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.data.shards import CodeShards
from vocalmtp.loading import load
from vocalmtp.models.text_track import frame_advances
from vocalmtp.training.distill import character_ends


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.sampled_from([12.5, 25.0, 75.0]))
def test_character_ends_invert_frame_advances(advances, rate):
    moves = torch.tensor(advances)
    pointers = moves.cumsum(0)
    ends = character_ends(pointers, int(pointers[-1]) + 1, rate)
    assert ends.shape == (pointers[-1] + 1,) and ends[-1] == len(advances) / rate
    assert torch.equal(frame_advances(ends, len(advances), rate), moves)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_toy_model(tmp_path_factory.mktemp("distill") / "toy")


def test_distilled_codes_equal_synthesis_and_job_resumes(toy, tmp_path, capsys):
    lines, codes = tmp_path / "lines.txt", tmp_path / "codes"
    lines.write_text("Hi there. Go on.\nNo.\nYes.\n")
    asked = ["text", "distill", lines, "-o", codes, "--speech", "--model", toy, "--seed", 4]
    asked += ["--voice", "ann", "--voice", "bob", "--top-k", 50]
    assert run(*asked) == 0
    shards, tts = CodeShards(codes, "train"), load(toy)
    assert 0 < len(shards) <= 4
    items = {item.id: item for item in (shards[i] for i in range(len(shards)))}
    name, item = next(iter(items.items()))
    line = int(name.split("-")[0])
    assert item.voice == ["ann", "bob"][(line - 1) % 2]
    spoken = list(
        tts.sentences(
            lines.read_text().splitlines()[line - 1], voice=item.voice, seed=4 + line, top_k=50
        )
    )
    part = spoken[int(name.split("-")[1])]
    assert item.codes.shape[1] == round(part.duration * tts.tokenizer.spec.frame_rate)
    assert len(item.char_ends) == len(item.text)
    job = json.loads((codes / "job.json").read_text())
    assert job["seed"] == 4 and job["voices"] == ["ann", "bob"]

    before = {path.name: path.read_bytes() for path in codes.iterdir()}
    assert run(*asked) == 0
    assert {path.name: path.read_bytes() for path in codes.iterdir()} == before
    assert run(*asked, "--greedy") == 2
    assert error_code(capsys.readouterr().err) == "other_run"
    lines.write_text("Hi.\n\U0001f600\n")
    assert run(*asked, "--overwrite") == 2
    err = capsys.readouterr().err
    assert error_code(err) and "line 2" in err
