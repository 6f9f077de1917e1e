from pathlib import Path

import pytest
from helpers.tiny_run import write_tiny_shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_tiny_shards(tmp_path / "codes")
