"""What must hold of a folder that a batch has filled."""

import json
from pathlib import Path

import pytest
import soundfile


def rows(folder: Path) -> list[dict]:
    """The rows of a manifest by their lines; each is whole and there once."""
    found = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    lines = [row["line"] for row in found]
    assert len(set(lines)) == len(lines)
    return sorted(found, key=lambda row: row["line"])


def check_whole(folder: Path) -> dict[str, bytes]:
    """Nothing is lost, torn or left over; returns the content of every audio file."""
    made = {row["audio"]: row for row in rows(folder) if row["status"] == "ok"}
    files = {path.name for path in folder.iterdir()} - {"manifest.jsonl", "job.json", ".lock"}
    assert files == set(made)
    for name, row in made.items():
        assert soundfile.info(folder / name).duration == pytest.approx(row["seconds"], abs=1e-3)
    return {name: (folder / name).read_bytes() for name in made}
