"""How a pass of fixed shapes is executed again: operation by operation, or as a CUDA graph.

A pass reads and writes the same tensors each time; nothing that Python computes in it may differ
from one execution to the next.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch

Run = Callable[[], None]


class Capture(Protocol):
    """Turns a pass, which was executed before on other tensors, into something faster."""

    def __call__(self, run: Run) -> Run:
        """Return what does the same as `run` on the same tensors; `run` itself is not executed."""
        ...


def run_directly(run: Run) -> Run:
    """Execute a pass operation by operation: the Capture for CPUs, and for comparison."""
    return run


class GraphCapture:
    """Records a pass as a CUDA graph; all graphs of one engine share their memory.

    They may share it because a pass leaves its results in tensors that were there before.
    """

    def __init__(self) -> None:
        self.pool: Any = None

    def __call__(self, run: Run) -> Run:
        """See Capture."""
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # Other threads may go on to use the device, such as for the speech tokenizer.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            run()
        return graph.replay


MODES: dict[str, tuple[Callable[[], Capture], str | None]] = {  # of execution, by name
    "none": (lambda: run_directly, None),
    "graph": (GraphCapture, None),
    "compile": (lambda: run_directly, "reduce-overhead"),
    "compile+graph": (GraphCapture, "default"),
}


class Programs:
    """How the passes of a model are executed, and the batches of fixed shape that are not in use.

    A batch (decoding/static.py) belongs to one generation at a time; its programs, which take long
    to capture, serve the next one.

    Args:
        capture: how passes are executed again.
        compile_backbone: the mode of torch.compile for the backbone; None: it is not compiled.

    """

    def __init__(self, capture: Capture = run_directly, compile_backbone: str | None = None):
        self.capture, self.compile_backbone = capture, compile_backbone
        self._free: defaultdict[Hashable, deque[Any]] = defaultdict(deque)

    @classmethod
    def of(cls, mode: str) -> "Programs":
        """Return programs that are executed in one of `MODES`.

        `graph` records whole passes as CUDA graphs; `compile` has torch compile the backbone and make
        graphs of it alone; `compile+graph` records passes with a compiled backbone.
        """
        make, compile_backbone = MODES[mode]
        return cls(make(), compile_backbone)

    @property
    def records(self) -> bool:
        """Whether passes are recorded, so that no code of the model runs when they are executed."""
        return self.capture is not run_directly

    def acquire(self, key: Hashable) -> Any:
        """Return a batch that was released under this key, or None."""
        try:
            return self._free[key].pop()
        except IndexError:
            return None

    def release(self, key: Hashable, batch: Any) -> None:
        """Let another generation use a batch."""
        self._free[key].append(batch)
