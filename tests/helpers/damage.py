"""Ways in which files come to harm."""

import json
import os
from pathlib import Path
from typing import Any


def tear(path: Path, share: float = 0.5) -> Path:
    """Keep the first part of a file only."""
    os.truncate(path, int(path.stat().st_size * share))
    return path


def change(path: Path, **values: Any) -> Path:
    """Set keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path


def replace_tensor(path: Path, name: str, tensor: Any) -> Path:
    """Put another tensor (or none) in the place of one of a safetensors file."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path) | {name: tensor}
    save_file({k: t for k, t in tensors.items() if t is not None}, path, metadata)
    return path
