"""The recipe that measures engines: its commands are valid, and its table holds what counts."""

import sys
from pathlib import Path

from vocalmtp.engines.base import ENGINES

RECIPE = Path(__file__).parents[2] / "recipes" / "bench"


def test_commands_and_rows(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(RECIPE))
    monkeypatch.delitem(sys.modules, "engines", raising=False)
    import engines

    found = engines.commands(quick=True)
    assert len(found) == len(engines.CPUS) * (1 + len(engines.ENGINES) * len(engines.NEIGHBOURS))
    assert set(engines.ENGINES) <= set(ENGINES)
    estimate = {"low": 1.0, "value": 2.0, "high": 3.0}
    metric = {"name": "real-time factor: mini over it", "system": "hibari", "estimate": estimate}
    other = metric | {"name": "decode step, batch 1"}
    report = {"metrics": [metric, other], "notes": ["a"]}
    assert engines.rows("x", report) == [
        "| x | real-time factor: mini over it | hibari | 2 [1, 3] |"
    ]
    assert "not measured: a" in engines.rows("x", {"metrics": [], "notes": ["a"]})[0]
