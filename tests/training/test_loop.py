"""The training loop of codec and aligner: losses, resuming, mixed precision, processes."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_codec_run import tiny_codec_recipe
from helpers.tiny_run import exits_on_sigterm
from helpers.tones import tiny_aligner_recipe, write_tone_corpus

from vocalmtp.training.aligner import AlignerTrainer, train_aligner
from vocalmtp.training.codec import TokenizerTrainer
from vocalmtp.training.run_files import last_logged, last_whole_checkpoint, read_log

# Losses of the first ten steps in float32 on a CPU with AVX2, and of the aligner's first 20.
CODEC = {
    "spectral": [
        10.05282,
        9.37643,
        9.96856,
        9.46569,
        9.17987,
        9.52563,
        8.97493,
        8.45613,
        8.45241,
        8.29807,
    ],
    "pitch": [
        0.11999,
        0.38427,
        0.43982,
        0.19682,
        0.16387,
        0.17244,
        0.18669,
        0.13947,
        0.15175,
        0.07762,
    ],
    "phone": [
        0.70367,
        0.69681,
        0.6966,
        0.73902,
        0.68998,
        0.72202,
        0.68985,
        0.68246,
        0.68605,
        0.68232,
    ],
    "leak_pitch": [
        0.33961,
        0.31682,
        0.42793,
        0.40745,
        0.31546,
        0.41274,
        0.40353,
        0.3334,
        0.40753,
        0.33142,
    ],
    "leak_timbre": [
        1.04732,
        1.00887,
        0.77671,
        0.65124,
        0.54582,
        0.33846,
        0.18694,
        0.12674,
        0.11596,
        0.10938,
    ],
    "adversarial": [
        -0.23959,
        1.19841,
        0.34259,
        -1.30136,
        -0.61484,
    ],
    "feature_matching": [
        3.79552,
        3.78954,
        3.76846,
        3.66424,
        3.67733,
    ],
}
ALIGNER = [
    3.65703,
    3.61538,
    3.62829,
    3.60878,
    3.66035,
    3.59121,
    3.54192,
    3.48352,
    3.4516,
    3.42958,
    3.44383,
    3.36113,
    3.30605,
    3.202,
    3.25743,
    3.26295,
    3.18363,
    3.16099,
    3.20988,
    3.11048,
]
ACCURACY = [
    0.0,
    0.0,
    0.0,
    0.0025,
    0.00084,
    0.00168,
    0.00583,
    0.00083,
    0.02345,
    0.01917,
    0.00417,
    0.00586,
    0.09833,
    0.13833,
    0.16918,
    0.17583,
    0.13833,
    0.20833,
    0.23333,
    0.275,
]


def losses_of(trainer, steps: int) -> dict[str, list[float]]:
    """Losses of the first steps by name."""
    losses: dict[str, list[float]] = {}
    for _ in range(steps):
        for name, value in trainer.update().items():
            losses.setdefault(name, []).append(float(value))
        trainer.step += 1
    return losses


def test_codec_losses_equal_recorded_ones(tmp_path):
    recipe = tiny_codec_recipe(tmp_path).model_copy(update={"steps": 20, "device": "cpu"})
    losses = losses_of(TokenizerTrainer(recipe), 10)
    assert losses.keys() == CODEC.keys()
    # Updates amplify the rounding of other CPUs and kernels, those of discriminators most.
    for name, values in CODEC.items():
        loose = 0.05 if name in ("adversarial", "feature_matching") else 5e-3
        expected = pytest.approx(values, rel=loose, abs=5e-3)
        assert losses[name][: len(values)] == expected, name


def test_aligner_losses_equal_recorded_ones(tmp_path):
    recipe = tiny_aligner_recipe(write_tone_corpus(tmp_path), device="cpu")
    losses = losses_of(AlignerTrainer(recipe), 20)
    assert losses["loss"] == pytest.approx(ALIGNER, rel=1e-4)
    assert losses["accuracy"] == pytest.approx(ACCURACY, abs=2e-3)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("terminated", [False, True])
def test_interrupted_codec_run_resumes_exactly(tmp_path, terminated):
    """Weights, optimizers, averages and random numbers continue as in an uninterrupted run."""
    recipe = tiny_codec_recipe(tmp_path).model_copy(update={"steps": 6, "max_minutes": None})

    class Interrupted(TokenizerTrainer):
        def update(self):
            if self.step == 2 and terminated:
                signal.raise_signal(signal.SIGTERM)
            if self.step == 3:
                raise KeyboardInterrupt
            return super().update()

    uninterrupted = recipe.model_copy(update={"output": tmp_path / "uninterrupted"})
    TokenizerTrainer(uninterrupted).run()
    saving = recipe.model_copy(update={"save_minutes": 9.0 if terminated else 1e-9})
    with exits_on_sigterm(), pytest.raises(SystemExit if terminated else KeyboardInterrupt):
        Interrupted(saving).run()
    TokenizerTrainer(recipe).run()
    expected = weights_of(uninterrupted.output)
    for name, tensor in weights_of(recipe.output).items():
        assert torch.equal(tensor, expected[name]), name
    checkpoints = {path.name for path in (recipe.output / "checkpoints").glob("checkpoint-*")}
    assert checkpoints == {"checkpoint-3", "checkpoint-6"}


def test_run_may_be_extended_and_nothing_else_changed(tmp_path):
    recipe = tiny_codec_recipe(tmp_path).model_copy(update={"steps": 1})
    TokenizerTrainer(recipe).run()
    TokenizerTrainer(recipe.model_copy(update={"steps": 2, "threads": 1})).run()
    assert last_whole_checkpoint(recipe.output / "checkpoints").name == "checkpoint-2"
    for change in ({"learning_rate": 1e-4}, {"seed": 7}, {"batch_size": 1}):
        with raises_input_error("other_run", "output"):
            TokenizerTrainer(recipe.model_copy(update=change)).run()


def test_model_without_checkpoint_is_not_overwritten(tmp_path):
    recipe = tiny_aligner_recipe(write_tone_corpus(tmp_path), steps=1)
    recipe.output.mkdir()
    (recipe.output / "model.safetensors").write_bytes(b"weights")
    with raises_input_error("other_run", "output"):
        train_aligner(recipe)
    assert (recipe.output / "model.safetensors").read_bytes() == b"weights"


def test_log_has_means_over_the_steps_that_had_the_loss(tmp_path):
    recipe = tiny_codec_recipe(tmp_path)
    recipe = recipe.model_copy(update={"steps": 50, "batch_size": 1, "discriminator_start": 0.9})
    made: list[float] = []

    class Recording(TokenizerTrainer):
        def update(self):
            losses = super().update()
            made.extend(float(losses[name]) for name in losses if name == "feature_matching")
            return losses

    Recording(recipe).run()
    [row] = read_log(recipe.output / "log.jsonl")
    assert row["step"] == 50 and len(made) == 5
    assert row["feature_matching"] == pytest.approx(sum(made) / 5, abs=1e-3)
    assert last_logged(recipe.output, "step") == 50
    with raises_input_error("missing", names="perplexity"):
        last_logged(recipe.output, "perplexity")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_aligner_learns_in_every_precision(tmp_path, precision):
    recipe = tiny_aligner_recipe(write_tone_corpus(tmp_path), precision=precision, device="cpu")
    losses = losses_of(AlignerTrainer(recipe), 20)["loss"]
    assert losses[-1] < 0.9 * losses[0]


def test_codec_trains_in_bf16(tmp_path):
    changes = {"precision": "bf16", "device": "cpu", "discriminator_start": 0.0}
    trainer = TokenizerTrainer(tiny_codec_recipe(tmp_path).model_copy(update=changes))
    losses = losses_of(trainer, 3)
    assert all(torch.tensor(values).isfinite().all() for values in losses.values())
    assert {p.dtype for p in trainer.model.encoder.parameters()} == {torch.float32}


def test_unavailable_device_is_refused(tmp_path):
    recipe = tiny_aligner_recipe(write_tone_corpus(tmp_path), device="cuda:99")
    with raises_input_error("unusable", "device", names="cuda:99"):
        train_aligner(recipe)


TWO_PROCESSES = """
    import json
    import sys
    from pathlib import Path

    from vocalmtp.config import parse
    from vocalmtp.training.codec import TokenizerTrainer
    from vocalmtp.training.recipe import TokenizerRecipe

    for steps in (2, 3):  # the second run resumes the first one
        recipe = parse(TokenizerRecipe, json.loads(Path(sys.argv[1]).read_text()))
        trainer = TokenizerTrainer(recipe.model_copy(update={"steps": steps}))
        trainer.run()
    weights = sum(float(p.detach().double().sum()) for p in trainer.model.parameters())
    print("RESULT", json.dumps([trainer.step, weights, trainer.draws.random()]), flush=True)
"""


def test_two_processes_keep_equal_weights_and_draw_different_crops(tmp_path):
    recipe = tiny_codec_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    (tmp_path / "script.py").write_text(textwrap.dedent(TWO_PROCESSES))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(tmp_path / "script.py"), str(tmp_path / "recipe.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    results = [line.partition("RESULT ")[2] for line in done.stdout.splitlines()]
    first, second = (json.loads(result) for result in results if result)
    assert first[0] == second[0] == 3
    assert first[1] == pytest.approx(second[1], rel=1e-9)
    assert first[2] != second[2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_codec_trains_on_cuda_in_bf16(tmp_path):
    changes = {"precision": "bf16", "device": "cuda", "discriminator_start": 0.0, "steps": 4}
    recipe = tiny_codec_recipe(tmp_path).model_copy(update=changes)
    trainer = TokenizerTrainer(recipe)
    trainer.run()
    assert next(trainer.model.parameters()).device.type == "cuda"
    assert all(tensor.isfinite().all() for tensor in weights_of(recipe.output).values())
    again = TokenizerTrainer(recipe.model_copy(update={"steps": 5}))
    again.run()
    assert again.step == 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_codec_losses_on_cuda_are_those_of_the_cpu(tmp_path):
    recipe = tiny_codec_recipe(tmp_path).model_copy(update={"steps": 20, "device": "cuda"})
    losses = losses_of(TokenizerTrainer(recipe), 1)
    for name, values in losses.items():
        assert values == pytest.approx(CODEC[name][:1], rel=2e-2, abs=2e-2), name
