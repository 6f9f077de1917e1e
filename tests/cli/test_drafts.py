"""Draft heads from outside: `vocalmtp tts`, lists, `bench`, and Python."""

import json
from pathlib import Path

import pytest
import soundfile
from helpers.errors import error_code, raises_input_error
from helpers.toy_model import save_toy_model

import vocalmtp
from vocalmtp.bench import run as bench
from vocalmtp.bench import speed
from vocalmtp.cli import main
from vocalmtp.decoding.options import Decoding
from vocalmtp.evaluation.statistics import single

TEXT = "Hello there."


@pytest.fixture(scope="module")
def drafting(tmp_path_factory) -> str:
    """The toy model with a draft head."""
    folder = tmp_path_factory.mktemp("drafts") / "toy"
    return str(save_toy_model(folder, draft={"name": "recursive", "heads": 2}))


def same_sound(one: str, other: str) -> bool:
    """Whether two files have the same samples; a stream's may be rounded otherwise."""
    first, second = (soundfile.read(name, dtype="int16")[0].astype(int) for name in (one, other))
    return len(first) == len(second) and abs(first - second).max() <= 1


@pytest.mark.parametrize("options", [["--greedy"], ["--accept", "seed"]], ids=["greedy", "seed"])
def test_drafts_change_nothing_but_the_passes(run, drafting, capsys, options):
    sampling = [option for option in options if option == "--greedy"]
    assert run("tts", TEXT, "-o", "plain.wav", "-m", drafting, *sampling, "--statistics") == 0
    assert "1.00 steps" in capsys.readouterr().err
    own = ["--drafts", "2", *options, "--statistics"]
    assert run("tts", TEXT, "-o", "drafted.wav", "-m", drafting, *own) == 0
    told = capsys.readouterr().err
    assert Path("plain.wav").read_bytes() == Path("drafted.wav").read_bytes()
    assert "wasted" in told
    assert all(part in told for part in ("prompts", "heads", "drafts", "backbone", "tokenizer"))


def test_a_streamed_text_is_that_of_a_file(run, drafting):
    own = ["-m", drafting, "--drafts", "3", "--accept", "joint"]
    assert run("tts", TEXT, "-o", "whole.wav", *own) == 0
    assert run("tts", TEXT, "-o", "chunks.wav", "--stream", *own) == 0
    assert same_sound("whole.wav", "chunks.wav")


def test_a_list_is_spoken_with_drafts(run, drafting):
    Path("lines.txt").write_text("One.\nTwo.\n")
    own = ["lines.txt", "-m", drafting, "--greedy"]
    assert run("batch", *own, "-o", "plain") == 0
    assert run("batch", *own, "-o", "drafted", "--drafts", "2") == 0
    made = [[p.read_bytes() for p in sorted(Path(d).glob("*.wav"))] for d in ("plain", "drafted")]
    assert len(made[0]) == 2 and made[0] == made[1]
    assert "decoding" not in json.loads(Path("plain/job.json").read_text())
    assert json.loads(Path("drafted/job.json").read_text())["decoding"]["drafts"] == 2


def test_a_model_decodes_as_it_is_asked_to_in_python(drafting):
    tts = vocalmtp.load(drafting)
    want = tts(TEXT, greedy=True)
    for accept in ("rejection", "joint", "seed", "typical"):
        other = tts.using(Decoding(drafts=2, accept=accept))
        assert (other(TEXT, greedy=True).samples == want.samples).all()
        assert other.statistics.summary()["steps_per_forward"] >= 1
        assert other.statistics.forwards < tts.statistics.forwards or not sum(other.statistics.kept)
    fast = vocalmtp.load(drafting, decoding=Decoding(drafts=2, accept="all"))
    fast(TEXT)
    assert fast.statistics.summary()["steps_per_forward"] > 2
    near = tts.using(Decoding(drafts=2, accept="near", tolerance=2))
    [rows] = [list(near.batch([TEXT] * 3, seed=1, batch_size=3))]
    assert all((row.samples == near(TEXT, seed=1).samples).all() for row in rows)


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--drafts", "2"], "missing", "drafts '2'"),
        (["--drafts", "-1"], "out_of_range", "drafts '-1'"),
        (["--accept", "seed"], "conflict", "accept 'seed'"),
        (["--drafts", "1", "--accept", "sed"], "unknown_name", "'seed'"),
        (["--drafts", "1", "--tolerance", "1"], "conflict", "tolerance '1.0'"),
        (["--drafts", "1", "--accept", "typical", "--tolerance", "1"], "out_of_range", "'1.0'"),
    ],
)
def test_invalid_decoding_options_are_one_line(run, model, capsys, options, code, named):
    assert run("tts", TEXT, "-m", model, *options) == 2
    error = capsys.readouterr().err
    assert error_code(error) == code and named in error


@pytest.fixture(scope="module")
def elastic(tmp_path_factory) -> str:
    """The toy model at 1, 2 or 3 frames a step, which are 4, 8 or 12 tokens."""
    folder = tmp_path_factory.mktemp("elastic") / "toy"
    return str(save_toy_model(folder, frames_per_step=[1, 2, 3]))


def test_an_elastic_model_speaks_with_the_tokens_that_are_asked_for(run, elastic, capsys):
    assert run("info", elastic) == 0
    told = " ".join(capsys.readouterr().out.split())
    streams = len(vocalmtp.load(elastic).tokenizer.spec.streams)
    counts = [streams * frames for frames in (1, 2, 3)]
    assert all(f"--tokens-per-step {count}" in told for count in counts)
    passes = []
    for count in counts:
        own = ["-m", elastic, "--tokens-per-step", str(count)]
        assert run("tts", TEXT, "-o", "whole.wav", *own, "--statistics") == 0
        passes.append(f"{count + 1:.1f} tokens each" in capsys.readouterr().err)
        assert run("tts", TEXT, "-o", "chunks.wav", "--stream", *own) == 0
        assert same_sound("whole.wav", "chunks.wav")
        Path("lines.txt").write_text(f"{TEXT}\nAnother line.\n")
        assert run("batch", "lines.txt", "-o", f"{count}", *own) == 0
        first = min(Path(str(count)).glob("*.wav"))
        assert first.read_bytes() == Path("whole.wav").read_bytes()
    assert passes == [True] * 3
    assert run("tts", TEXT, "-m", elastic, "--tokens-per-step", "5") == 2
    names = " or ".join(map(str, counts))
    assert "tokens_per_step '5':" in (err := capsys.readouterr().err)
    assert names in err


def test_codes_without_digits_are_never_near(tmp_path):
    made = save_toy_model(tmp_path / "toy", draft={"name": "leap", "steps": 1})
    tts = vocalmtp.load(made)
    tts.model.layout = type(tts.model.layout)(
        streams=tuple(type(s)(name=s.name, size=s.size) for s in tts.model.layout.streams)
    )
    with raises_input_error("unsupported", "accept"):
        tts.using(Decoding(drafts=1, accept="near"))


def test_bench_reports_the_gain_of_drafts(drafting, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "SENTENCES", ("Hi.",))
        patch.setattr(bench, "BATCHES", (1,))
        patch.setattr(bench, "first_audio", lambda _: single(1.0))
        patch.setattr(bench, "cold_start", lambda *_: (single(1.0), single(1.0)))
        patch.setattr(bench, "loop_metrics", lambda *_: [])
        patch.setattr(bench, "profile_metrics", lambda *_: [])
        with pytest.raises(SystemExit) as stop:
            main(
                ["bench", drafting, "--quick", "--drafts", "2", "--json", str(tmp_path / "b.json")]
            )
    assert stop.value.code == 0
    metrics = json.loads((tmp_path / "b.json").read_text())["metrics"]
    found = {metric["name"]: metric["estimate"]["value"] for metric in metrics}
    assert found["steps per forward pass"] >= 1
    assert found["draft 1 accepted, of those after accepted ones"] >= 0
    assert 0 <= found["drafted tokens wasted"] <= 1
    shares = [value for name, value in found.items() if name.endswith("with drafts")]
    assert sum(shares) == pytest.approx(1)
