"""What a decoding strategy has brought: passes, steps, acceptance, and where the time went.

Letters: B rows, n drafts.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional as F

PARTS = ("prompts", "heads", "drafts", "backbone", "tokenizer")  # of the time, in this order


@dataclass
class DecodeStatistics:
    """Summed over rows and forward passes, of one run or of several."""

    drafts: int = 0  # tried after every step, in a row
    nodes: int = 0  # tried after every step, if they are a tree: `drafts` is its depth
    slots: int = 0  # tokens per step
    forwards: int = 0  # passes of the backbone, of every row; a prompt's does not count
    steps: int = 0  # that these passes gave
    reached: list[int] = field(default_factory=list)  # [n] times that all drafts before were kept
    kept: list[int] = field(default_factory=list)  # [n] times that this one was kept, too
    seconds: dict[str, float] = field(default_factory=dict)  # of every part of PARTS

    def count(self, kept: Tensor, inside: Tensor) -> None:
        """Add passes: which drafts were `kept` [B, n], of those that come before the row's end."""
        before = F.pad(kept[:, :-1], (1, 0), value=True) & inside
        self.reached = _added(self.reached, before)
        self.kept = _added(self.kept, kept & inside)
        self.forwards += len(kept)
        self.steps += len(kept) + int((kept & inside).sum())

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

    def summary(self) -> dict[str, float | list[float] | dict[str, float]]:
        """Figures for a report; acceptance is conditional: of the drafts whose predecessors were
        kept. `wasted` is the share of drafted tokens that were thrown away.
        """
        nodes = self.nodes or self.drafts
        drafted = self.forwards * nodes
        return {
            "steps_per_forward": self.steps / max(self.forwards, 1),
            "tokens_per_forward": self.steps * self.slots / max(self.forwards, 1),
            "drafts_per_forward": nodes,
            "acceptance": [k / max(r, 1) for k, r in zip(self.kept, self.reached, strict=True)],
            "wasted": 1 - sum(self.kept) / drafted if drafted else 0.0,
            "seconds": {part: self.seconds[part] for part in PARTS if part in self.seconds},
        }

    def report_lines(self) -> list[str]:
        """The summary as lines for people."""
        found = self.summary()
        lines = [
            f"{self.forwards} forward passes, {found['steps_per_forward']:.2f} steps and "
            f"{found['tokens_per_forward']:.1f} tokens each"
        ]
        if self.drafts and self.forwards:
            kept = ", ".join(f"{share:.0%}" for share in found["acceptance"])
            lines.append(
                f"drafts kept, of those whose predecessors were: {kept}; "
                f"{found['wasted']:.0%} of the drafted tokens wasted"
            )
        spent = found["seconds"]
        if spent:
            parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in spent.items())
            lines.append(f"time: {parts}")
        return lines


def _added(total: list[int], flags: Tensor) -> list[int]:
    now = flags.sum(0).tolist()
    return [a + b for a, b in zip(total or [0] * len(now), now, strict=True)]
