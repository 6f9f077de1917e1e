"""Training under torchrun: gradients and losses equal those of one process."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from helpers.tiny_run import tiny_recipe

SCRIPT = """
    import sys
    from pathlib import Path
    import torch
    from torch import nn
    from vocalmtp.training.distributed import average_gradients, from_first, make_accelerator

    accelerator = make_accelerator("cpu", "fp32")
    rank, processes = accelerator.process_index, accelerator.num_processes
    layer = nn.Linear(3, 1, bias=False)
    nn.init.ones_(layer.weight)
    data = torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    layer(data[rank : rank + 1] if processes > 1 else data).mean().backward()
    average_gradients(list(layer.parameters()))
    torch.save((layer.weight.grad, from_first(float(rank + 7))), Path(sys.argv[1]) / f"{rank}.pt")
"""


def test_average_gradient_equals_gradient_of_one_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc_per_node={processes}", str(script), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    expected, _ = torch.load(tmp_path / "1/0.pt")
    for rank in (0, 1):
        gradient, shared = torch.load(tmp_path / f"2/{rank}.pt")
        assert torch.allclose(gradient, expected) and shared == 7.0


TRAIN = """
    import json
    import sys
    from pathlib import Path
    import torch
    from vocalmtp.config import parse
    from vocalmtp.training.recipe import SpeechLMRecipe
    from vocalmtp.training.train import train

    torch.set_num_threads(1)
    train(parse(SpeechLMRecipe, json.loads(Path(sys.argv[1]).read_text())))
"""


def test_speech_lm_losses_on_two_processes_equal_those_on_one(shards, tmp_path):
    """Batches of 1 to 4 rows of unequal lengths: shared, or read whole by both."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(TRAIN))
    curves = {}
    for processes in (1, 2):
        settings = tiny_recipe(shards, tmp_path / f"run{processes}", max_steps=12, log_every=1)
        data = settings.model_dump(mode="json")
        data["model"] |= {"step_dropout": 0.0, "speaker_dropout": 0.0}  # drawn in each process
        (tmp_path / "recipe.json").write_text(json.dumps(data))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc_per_node={processes}", str(script), str(tmp_path / "recipe.json")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = (Path(data["output"]) / "log.jsonl").read_text().splitlines()
        timed = {"seconds", "steps_per_s", "left_s", "train_runtime", "eval_runtime"}
        timed |= {"train_samples_per_second", "train_steps_per_second"}
        timed |= {"eval_samples_per_second", "eval_steps_per_second"}
        curves[processes] = [
            {key: value for key, value in json.loads(line).items() if key not in timed}
            for line in lines
        ]
    assert len(curves[1]) > 12
    for one, two in zip(curves[1], curves[2], strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=2e-4)
