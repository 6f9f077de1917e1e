"""A judge or recognizer that is registered is available by name in every command."""

import json
from pathlib import Path

import numpy as np
import yaml
from helpers.command_line import run
from helpers.errors import raises_input_error

from vocalmtp.ablation.grid import load_grid
from vocalmtp.chat.pipeline import build_pipeline
from vocalmtp.evaluation.judges import KINDS
from vocalmtp.recognizers.base import RECOGNIZERS, Recognizer
from vocalmtp.training.callbacks import EvalCallback
from vocalmtp.training.finetune import finetune
from vocalmtp.training.recipe import FinetuneRecipe

NAMES = [
    "test-hi-there",
    "test-loudness",
    "test-three",
]  # a recognizer, a speaker judge, a MOS judge
ALL = [part for name in NAMES for part in ("--judge", name)]


@RECOGNIZERS.register("test-hi-there")
class HiThere(Recognizer):
    """Returns "hi there" for everything."""

    name = description = "hi there"

    def __init__(self, *, device: str = "cpu"):
        self.device = device

    def transcribe(self, samples: np.ndarray) -> str:
        return "hi there"


def finetune_recipe(tmp_path: Path, *judges: str) -> FinetuneRecipe:
    return FinetuneRecipe(data=tmp_path, output=tmp_path / "out", voice="ann", judges=judges)


def grid_file(tmp_path: Path, *judges: str) -> Path:
    path = Path(__file__).parents[2] / "recipes" / "tokenizer_ablation" / "ablation.yaml"
    settings = yaml.safe_load(path.read_text())
    for section in ("tokenizer", "speech_lm"):
        extended = settings.get(section, {}).get("extends")
        if extended:
            settings[section]["extends"] = str(path.parent / extended)
    settings.setdefault("eval", {})["judges"] = list(judges)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "grid.yaml"


def test_the_list_has_every_judge(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run("eval", "judges") == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.split()}
    for kind, registry in KINDS.items():
        for name in registry:
            assert kind in rows[name]
    assert "Returns" in rows["test-hi-there"] and "yes" in rows["pocketsphinx"].split()


def test_eval_takes_a_registered_recognizer(manifest, tmp_path, capsys):
    command = ["eval", "recognition", "-m", manifest, "-o", tmp_path / "out", "--split", "test"]
    assert run(*command, *ALL) == 0
    assert f"Judges: {', '.join(NAMES)}." in capsys.readouterr().out


def test_batch_verifies_with_registered_judges(toy_folder, tmp_path):
    (tmp_path / "list.txt").write_text("Hi there.\n")
    command = ["batch", tmp_path / "list.txt", "-o", tmp_path / "out", "-m", toy_folder]
    assert run(*command, "--verify", 0, *ALL) == 0
    row = json.loads((tmp_path / "out" / "manifest.jsonl").read_text())
    assert row["transcript"] == "hi there" and row["mos"] == 3


def test_chat_takes_a_registered_recognizer(toy_folder):
    pipeline = build_pipeline(str(toy_folder), recognizer="test-hi-there")
    assert isinstance(pipeline.recognizer, HiThere)


def test_finetune_scores_with_registered_judges(manifest, tmp_path):
    manifest.write_text(manifest.read_text().replace('"split": "test"', '"split": "valid"'))
    callback = EvalCallback(finetune_recipe(tmp_path, *NAMES), manifest, tmp_path, {})
    callback.items = callback.items[:1]  # "hi there."
    recordings = [callback.items[0].audio]
    assert callback.word_error_rate(recordings).value == 0
    assert callback.mean_scores(recordings) == {"similarity": 1.0, "mos": 3.0}


def test_ablate_takes_registered_judges(tmp_path):
    assert load_grid(grid_file(tmp_path, *NAMES)).eval.judges == tuple(NAMES)


def test_an_unknown_judge_is_reported_before_the_training(tmp_path):
    with raises_input_error("unknown_name", "judge", names="test-hi-there"):
        finetune(finetune_recipe(tmp_path, "test-hi-ther"))
    with raises_input_error("unknown_name", "judge", names="test-hi-there"):
        load_grid(grid_file(tmp_path, "test-hi-ther"))
    assert [path.name for path in tmp_path.iterdir()] == ["grid.yaml"]
