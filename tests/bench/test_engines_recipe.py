"""The recipe that measures engines: one failing or slow part leaves the others' figures."""

import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from vocalmtp.engines.base import ENGINES
from vocalmtp.evaluation.statistics import single

RECIPE = Path(__file__).parents[2] / "recipes" / "bench"


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    monkeypatch.delitem(sys.modules, "engines", raising=False)
    import engines

    return engines


class Speaker:
    """A system that makes one second of audio of every text."""

    duration = 1.0

    def __call__(self, text: str) -> "Speaker":
        return self


def test_systems_are_measured_in_turns_beside_busy_processes(engines, monkeypatch) -> None:
    found = list(engines.beside({"cpu": Speaker()}, lambda text: 1.0, repeats=2, count=1))
    names = [(f["figure"], f["system"]) for f in found]
    assert {("rtf", "cpu"), ("rtf, alone", "hibari"), ("cpu time", "cpu")} <= set(names)
    assert all(f["neighbours"] == 1 and 0 <= f["low"] <= f["value"] <= f["high"] for f in found)


def test_a_missing_peer_leaves_the_figures_of_the_model(engines) -> None:
    peer = engines.attempt(lambda: [][0])
    found = list(engines.beside({"cpu": Speaker()}, peer, repeats=1, count=0))
    assert [f["figure"] for f in found if "error" in f] == ["rtf", "cpu time"]
    assert [f["figure"] for f in found if "value" in f] == ["rtf, alone", "cpu time, alone"]


def test_table_has_every_figure_and_every_failure(engines) -> None:
    known = [engines.figure("rtf", engine, lambda: single(1.25)) for engine in engines.ENGINES]
    broken = engines.figure("first audio", "onnx", lambda: 1 / 0)
    table = engines.table([f | {"cpu": "native"} for f in (*known, broken)])
    for title, *_ in engines.ROWS:
        assert f"| {title} |" in table
    assert "| RTF over hibari's | 1.25 x [1.25, 1.25] | 1.25 x [1.25, 1.25] | 1.5 | 1 |" in table
    assert "- native, onnx, first audio: ZeroDivisionError: division by zero" in table
    assert set(engines.ENGINES) <= set(ENGINES) and "avx2" in engines.CPUS


def test_figures_before_a_failure_are_kept(engines, tmp_path, monkeypatch) -> None:
    script = tmp_path / "fails.py"
    line = json.dumps({"figure": "rtf", "system": "cpu", "neighbours": 0, "value": 1.0})
    script.write_text(f"import sys\nprint('{line}', flush=True)\nsys.exit('no more')\n")
    monkeypatch.setattr(engines, "__file__", str(script))
    kept, failed = engines.run("avx2", repeats=1, most=60)
    assert kept["value"] == 1.0 and kept["cpu"] == failed["cpu"] == "avx2"
    assert failed["error"] == "no more"


def test_a_process_that_takes_too_long_is_ended_with_what_it_started(
    engines, tmp_path, monkeypatch
) -> None:
    script, pid = tmp_path / "hangs.py", tmp_path / "pid"
    script.write_text(
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))\n"
        "print('{}', flush=True)\nchild.wait()\n"
    )
    monkeypatch.setattr(engines, "__file__", str(script))
    running = engines.run("native", repeats=1, most=600)
    next(running)
    running.close()
    for _ in range(300):  # the system may take a moment
        if not is_running(pid.read_text()):
            return
        time.sleep(0.1)
    pytest.fail("the process that it started still runs")


def is_running(pid: str) -> bool:
    """Whether a process runs, as far as the system tells."""
    try:
        return (Path("/proc") / pid / "stat").read_text().split()[2] != "Z"
    except OSError:
        return False
