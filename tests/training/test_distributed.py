import subprocess
import sys
import textwrap

import torch

SCRIPT = """
    import sys
    from pathlib import Path
    import torch
    from torch import nn
    from vocalmtp.training.distributed import average_gradients, from_first, join_processes

    rank, processes = join_processes()
    layer = nn.Linear(3, 1, bias=False)
    nn.init.ones_(layer.weight)
    data = torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    layer(data[rank : rank + 1] if processes > 1 else data).mean().backward()
    average_gradients(list(layer.parameters()))
    torch.save((layer.weight.grad, from_first(float(rank + 7))), Path(sys.argv[1]) / f"{rank}.pt")
"""


def test_two_processes_average_to_the_gradient_of_one_with_all_the_data(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc_per_node={processes}", str(script), str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    whole, _ = torch.load(tmp_path / "1/0.pt")
    for rank in (0, 1):
        gradient, shared = torch.load(tmp_path / f"2/{rank}.pt")
        assert torch.allclose(gradient, whole) and shared == 7.0
