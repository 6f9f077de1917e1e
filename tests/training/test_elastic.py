"""Batches of an elastic model: random step sizes by the seed, also in a resumed run."""

import json
from pathlib import Path

from helpers.tiny_run import tiny_recipe, write_tiny_shards
from transformers import TrainerCallback

from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.training.batches import BatchShares, RandomStepSizes, every_step_size
from vocalmtp.training.train import train

BATCHES = [[i, i + 1, i + 2] for i in range(60)]


def drawn(seed: int, rank: int = 0, processes: int = 1) -> list[set[int]]:
    batches = RandomStepSizes(BatchShares(BATCHES, rank, processes), (1, 2, 4), seed)
    assert len(batches) == len(BATCHES)
    return [{frames for _, frames in batch} for batch in batches]


def test_batch_has_one_step_size_drawn_by_the_seed():
    assert drawn(1) == drawn(1) != drawn(2)
    assert all(len(frames) == 1 for frames in drawn(1))
    assert set.union(*drawn(1)) == {1, 2, 4}
    assert drawn(1, 0, 2) == drawn(1, 1, 2) == drawn(1)  # all processes draw the same
    indices = [[index for index, _ in batch] for batch in RandomStepSizes(BATCHES, (1, 2), 0)]
    assert indices == BATCHES


def test_validation_has_every_step_size_in_turn():
    batches = every_step_size(BATCHES[:2], (1, 4))
    assert [batch[0] for batch in batches] == [(0, 1), (1, 1), (0, 4), (1, 4)]


def recipe_of(shards: Path, output: Path, **optim):
    recipe = tiny_recipe(shards, output, **optim)
    model = recipe.model.model_copy(update={"frames_per_step": (1, 2)})
    return recipe.model_copy(update={"model": model})


def test_run_logs_every_step_size_and_resumes_exactly(tmp_path):
    shards = write_tiny_shards(tmp_path / "shards")
    uninterrupted = train(recipe_of(shards, tmp_path / "uninterrupted"))
    logs = [json.loads(line) for line in (uninterrupted / "log.jsonl").read_text().splitlines()]
    evaluated = [row for row in logs if "eval_loss" in row]
    assert evaluated and {"eval_g1.content.0", "eval_g2.content.1"} <= evaluated[-1].keys()

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = control.should_save = state.global_step == 3

    cut = recipe_of(shards, tmp_path / "cut")
    train(cut, [Stop()])
    again = SpeechLM.load(train(cut))
    expected = SpeechLM.load(uninterrupted)
    assert again.config.frames_per_step == [1, 2]
    for name, weight in expected.state_dict().items():
        assert (again.state_dict()[name] == weight).all(), name
