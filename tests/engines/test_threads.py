"""Threads: set while the library computes, and as many as the machine has for a large model."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from vocalmtp.engines import threads
from vocalmtp.engines.device import float32_on_cpu
from vocalmtp.engines.threads import available_cpus, default_threads, torch_threads


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, 99),
        ({"cpu.max": "max 100000"}, 99),
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 99),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_quota_of_a_container_limits_the_cpus(
    tmp_path: Path, files: dict[str, str], most: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert available_cpus(tmp_path) == min(own or 1, most)


def test_only_large_models_get_several_threads(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(threads, "available_cpus", lambda: 4)
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    assert default_threads(tmp_path) == 1
    monkeypatch.setattr(threads, "LARGE", 4)
    assert default_threads(tmp_path) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a platform without fork")
def test_forked_child_has_one_thread_and_no_held_lock() -> None:
    holding, done = threading.Event(), threading.Event()

    def build() -> None:
        with float32_on_cpu():
            holding.set()
            done.wait(0.2)

    other = threading.Thread(target=build)
    other.start()
    holding.wait()
    child = os.fork()  # waits until the other thread has built
    if not child:
        with torch_threads(2), float32_on_cpu():
            os._exit(0 if torch.get_num_threads() == 1 else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    done.set()
    other.join()


@pytest.mark.parametrize(("before", "policy"), [("", "passive"), ("import torch; ", "None")])
def test_waiting_is_passive_where_torch_is_not_loaded_yet(before: str, policy: str) -> None:
    code = f"{before}import os, vocalmtp; print(os.environ.get('OMP_WAIT_POLICY'))"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == policy
