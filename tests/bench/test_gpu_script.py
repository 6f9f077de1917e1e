"""The script for machines with a GPU, as a whole, on the CPU at tiny sizes."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "recipes" / "bench" / "gpu.py"


def test_script_measures_resumes_and_records_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "bench_gpu", script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(
        "sys.argv", ["gpu.py", "--device", "cpu", "--quick", "--output", str(tmp_path)]
    )
    script.main()
    rows = [json.loads(line) for line in (tmp_path / "gpu-cpu.jsonl").read_text().splitlines()]
    failed = {row["id"] for row in rows if "error" in row}
    assert failed and all(name.endswith("| graph") for name in failed)  # there is no GPU here
    measured = {row["id"]: row for row in rows if "milliseconds" in row}
    assert any("drafts" in name for name in measured)
    assert any(name.startswith("first audio") for name in measured)
    assert all(row["milliseconds"] > 0 for row in measured.values())
    assert all(row["roofline"] > 0 for row in measured.values() if "roofline" in row)
    text = (tmp_path / "gpu-cpu.md").read_text()
    assert "failed:" in text and "1.0 x" in text
    (tmp_path / "gpu-cpu.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[1:]))
    monkeypatch.setattr(script, "build", None)  # nothing is built again: failures fail at once
    script.main()
    assert (tmp_path / "gpu-cpu.md").read_text().count("failed:") == len(failed)
    capsys.readouterr()
