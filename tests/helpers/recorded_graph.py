"""CUDA graphs on the CPU: a recorded pass is executed again operator by operator.

As in a CUDA graph, the operators of the recording run on the tensors of the recording, and everything
that Python computed in between is frozen.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Run = Callable[[], None]


class Recorder(TorchDispatchMode):
    """Notes all operators with their arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.calls.append((func, args, kwargs or {}, made))
        return result


class RecordingCapture:
    """A Capture; `operators` has those of the last recording."""

    def __init__(self) -> None:
        self.operators: list[str] = []
        self.recordings = 0

    def __call__(self, run: Run) -> Run:
        recorder = Recorder()
        executed: list[bool] = []
        self.recordings += 1

        def replay() -> None:
            if not executed:  # a recording is an execution here, unlike that of a CUDA graph
                executed.append(True)
                with recorder:
                    run()
                self.operators = [str(func) for func, *_ in recorder.calls]
                return
            for func, args, kwargs, made in recorder.calls:
                again = [x for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, Tensor)]
                for old, new in zip(made, again, strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)

        return replay
