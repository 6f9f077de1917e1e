"""How many heads a multi-token model trains at a step: curricula over its active heads.

Pre-training curriculum for multi-token prediction (arXiv 2505.22757, section 3). The run is cut
into as many equal phases as there are heads, among them the next-token head unless it stays as it
is: `forward` begins with the first alone and ends with all, `reverse` the other way round. A head
that is not active is not in the loss, nor computed. The number is a function of the step alone, so
a resumed run goes on as it would have; the optimizer and its schedule never restart.
"""

from typing import Literal

Curriculum = Literal["constant", "forward", "reverse"]


def active_heads(curriculum: Curriculum, step: int, steps: int, heads: int) -> int:
    """How many of `heads` (the next-token head is the first) train at `step` 0 .. `steps` - 1."""
    phase = min(step, steps - 1) * heads // steps  # 0 .. heads - 1
    if curriculum == "forward":
        return phase + 1
    return heads - phase if curriculum == "reverse" else heads
