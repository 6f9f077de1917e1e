"""Code shards of eight short utterances, and a recipe for a run of a moment over them."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vocalmtp.config import parse
from vocalmtp.data.shards import CodeItem, write_shard
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec
from vocalmtp.training.recipe import SpeechLMRecipe


def write_tiny_shards(folder: Path) -> Path:
    """Six utterances with the split "train", two with "valid"."""
    folder.mkdir()
    streams = (
        StreamSpec(name="content", size=8, role="content", levels=(2, 4)),
        StreamSpec(name="prosody", size=4, role="prosody"),
    )
    spec = TokenizerSpec(
        name="toy",
        kind="decoupled",
        sample_rate=100,
        frame_rate=10.0,
        streams=streams,
        speaker_dim=3,
    )
    (folder / "tokenizer_spec.json").write_text(spec.model_dump_json())
    generator = torch.Generator().manual_seed(0)
    items = []
    for i in range(8):
        codes = torch.stack(
            [torch.randint(0, s.size, (6 + i,), generator=generator) for s in streams]
        )
        ends = torch.linspace(0.1, (6 + i) / 10, 4)
        items.append(CodeItem(f"u{i}", "abc.", "ann", codes, torch.ones(3), ends))
    write_shard(folder / "one", items[:6], "train")
    write_shard(folder / "two", items[6:], "valid")
    return folder


def tiny_recipe(shards: Path, output: Path, **optim: Any) -> SpeechLMRecipe:
    """Six steps; `optim` changes how."""
    data = {
        "data": {"shards": str(shards)},
        "output": str(output),
        "model": {
            "backbone": {
                "model_type": "llama",
                "vocab_size": 40,
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
            "frames_per_step": 2,
            "track": {"width": 8, "layers": 1},
        },
        "optim": {
            "max_steps": 6,
            "batch_frames": 40,
            "warmup_steps": 1,
            "log_every": 2,
            "eval_every": 3,
            "save_every": 3,
            **optim,
        },
    }
    return parse(SpeechLMRecipe, data)


@contextmanager
def exits_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit within the block, as the command line does."""
    former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def overfit(model: Any, batch: Any, updates: int) -> None:
    """Train a speech LM on one batch until it knows it, and leave it in inference mode."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1.5e-2, weight_decay=0.0)
    for step in range(updates):
        optimizer.param_groups[0]["lr"] = 1.5e-2 * (1 - step / updates)
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
    model.eval()
