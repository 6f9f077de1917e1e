"""Decoding statistics: forward passes, steps, draft acceptance, and time by part.

Letters: B rows, n drafts.
"""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.decoding.strategies import DraftOutcome

# of the time, in this order; "passes" are those that run as one program, without parts
PARTS = ("prompts", "heads", "drafts", "backbone", "passes", "tokenizer")


class Summary(TypedDict):
    """Figures of `DecodeStatistics.summary`."""

    steps_per_forward: float
    tokens_per_forward: float
    drafts_per_forward: int
    acceptance: list[float]
    wasted: float
    seconds: dict[str, float]


@dataclass
class DecodeStatistics:
    """Counts summed over rows and forward passes, of one call or of many, from any thread."""

    drafts: int = 0  # drafted after every step, in a row
    nodes: int = 0  # drafted after every step, if they are a tree: `drafts` is its depth
    slots: int = 0  # tokens per step
    forwards: int = 0  # backbone passes times rows, without those over prompts
    steps: int = 0  # that these passes yielded
    reached: list[int] = field(default_factory=list)  # [n] times that all earlier drafts were kept
    kept: list[int] = field(default_factory=list)  # [n] times that this draft was kept as well
    withheld: int = 0  # drafts that a pass could have had, and had not for lack of confidence
    seconds: dict[str, float] = field(default_factory=dict)  # by part, see PARTS
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def count_passes(self, rows: int) -> None:
        """Add a forward pass of so many rows, one step each."""
        with self._lock:
            self.forwards += rows
            self.steps += rows

    def count_drafts(self, drafts: "DraftOutcome") -> None:
        """Add forward passes whose drafts had this outcome, on the CPU."""
        kept, inside = drafts.kept[drafts.tried], drafts.inside[drafts.tried]  # [B, n]
        before = inside.clone()  # where all earlier drafts were kept
        before[:, 1:] &= kept[:, :-1]
        kept = kept & inside
        with self._lock:
            self.reached = _add_columns(self.reached, before)
            self.kept = _add_columns(self.kept, kept)
            self.forwards += len(kept)
            self.steps += len(kept) + int(kept.sum())

    def count_withheld(self, drafts: int, idle_rows: int) -> None:
        """Add drafts that were not verified, and the rows of a pass that had none at all."""
        with self._lock:
            self.withheld += drafts
        self.count_passes(idle_rows)

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Return a context that adds the seconds of its block to `part`."""
        return Timer(self, part)

    def add_seconds(self, part: str, seconds: float) -> None:
        """Add seconds to `part`."""
        with self._lock:
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def summary(self) -> Summary:
        """Figures for a report.

        Acceptance is conditional: the share of the drafts whose predecessors were all kept.
        `wasted` is the share of drafted tokens that were not kept.
        """
        nodes = self.nodes or self.drafts
        drafted = self.forwards * nodes - self.withheld
        return {
            "steps_per_forward": self.steps / max(self.forwards, 1),
            "tokens_per_forward": self.steps * self.slots / max(self.forwards, 1),
            "drafts_per_forward": nodes,
            "acceptance": [k / max(r, 1) for k, r in zip(self.kept, self.reached, strict=True)],
            "wasted": 1 - sum(self.kept) / drafted if drafted else 0.0,
            "seconds": {part: self.seconds[part] for part in PARTS if part in self.seconds},
        }

    def report_lines(self) -> list[str]:
        """The summary as lines of text."""
        found = self.summary()
        lines = [
            f"{self.forwards} forward passes, {found['steps_per_forward']:.2f} steps and "
            f"{found['tokens_per_forward']:.1f} tokens each"
        ]
        if self.drafts and self.forwards:
            kept = ", ".join(f"{share:.0%}" for share in found["acceptance"])
            lines.append(
                f"drafts accepted, given that all earlier ones were: {kept}; "
                f"{found['wasted']:.0%} of the drafted tokens wasted"
            )
        spent = found["seconds"]
        if spent:
            parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in spent.items())
            lines.append(f"time: {parts}")
        return lines


class Timer(AbstractContextManager[None]):
    """Adds the seconds of a block to statistics; a generator would take longer than a small block."""

    def __init__(self, statistics: DecodeStatistics, part: str):
        self.statistics, self.part = statistics, part

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.statistics.add_seconds(self.part, time.perf_counter() - self.start)


def _add_columns(total: list[int], flags: "Tensor") -> list[int]:
    """Add the number of true rows of every column of `flags` [B, n] to `total` [n]."""
    now = flags.sum(0).tolist()
    return [a + b for a, b in zip(total or [0] * len(now), now, strict=True)]
