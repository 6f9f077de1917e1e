"""Training under torchrun: gradients and losses equal those of one process."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from helpers.tiny_run import tiny_recipe

from vocalmtp.training import distributed
from vocalmtp.training.distributed import usable_precision

SCRIPT = """
    import sys
    from pathlib import Path
    import torch
    from torch import nn
    from vocalmtp.training.distributed import (
        average_gradients,
        from_first,
        leave_processes,
        make_accelerator,
    )

    accelerator = make_accelerator("cpu", "fp32")
    rank, processes = accelerator.process_index, accelerator.num_processes
    layer = nn.Linear(3, 1, bias=False)
    nn.init.ones_(layer.weight)
    data = torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    layer(data[rank : rank + 1] if processes > 1 else data).mean().backward()
    average_gradients(list(layer.parameters()))
    torch.save((layer.weight.grad, from_first(float(rank + 7))), Path(sys.argv[1]) / f"{rank}.pt")
    leave_processes()
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
    from vocalmtp.training.distributed import leave_processes
    from vocalmtp.training.recipe import SpeechLMRecipe
    from vocalmtp.training.train import train

    torch.set_num_threads(1)
    train(parse(SpeechLMRecipe, json.loads(Path(sys.argv[1]).read_text())))
    leave_processes()
"""


MODELS = {
    "own output layers": {
        "draft": {"name": "sequential", "steps": 2, "heads": 2},
        "objectives": {"top": {"window": 4}},
    },
    "recursive": {"draft": {"name": "recursive", "steps": 2, "heads": 2}},
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_speech_lm_losses_on_two_processes_equal_those_on_one(shards, tmp_path, model):
    """Batches of 1 to 4 rows of unequal lengths: shared, or read whole by both processes."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(TRAIN))
    logs = {}
    for processes in (1, 2):
        settings = tiny_recipe(
            shards, tmp_path / f"run{processes}", max_steps=6, eval_every=6, log_every=1
        )
        data = settings.model_dump(mode="json")
        data["model"] |= {"step_dropout": 0.0, "speaker_dropout": 0.0}  # drawn in each process
        data["model"] |= model
        (tmp_path / "recipe.json").write_text(json.dumps(data))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc_per_node={processes}", str(script), str(tmp_path / "recipe.json")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = map(json.loads, (Path(data["output"]) / "log.jsonl").read_text().splitlines())
        logs[processes] = [{key: row[key] for key in row if not is_time(key)} for row in rows]
    assert len(logs[1]) > 6
    for one, two in zip(logs[1], logs[2], strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=2e-4)


def is_time(key: str) -> bool:
    """Whether a value of the log depends on the clock."""
    return key in ("seconds", "left_s") or "per_s" in key or key.endswith("runtime")


@pytest.mark.parametrize(
    ("asked", "device", "native", "used"),
    [
        ("bf16", "cpu", True, "bf16"),
        ("bf16", "cpu", False, "fp32"),
        ("fp32", "cpu", True, "fp32"),
        ("bf16", "cuda", False, "bf16"),
    ],
)
def test_bfloat16_trains_where_products_are_native(
    monkeypatch, capsys, asked, device, native, used
):
    monkeypatch.setattr("vocalmtp.training.distributed.has_bf16", lambda: native)
    distributed._tell_once.cache_clear()
    assert usable_precision(asked, torch.device(device)) == used
    assert ("fp32" in capsys.readouterr().out) == (asked != used)
