"""Engines, the ways to run the steps of a model, by name; none is imported before it is chosen."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from vocalmtp.errors import InputError, nearest

AUTO = "auto"
ENGINES = {  # the class of each engine, whose module is imported when the engine is chosen
    "cpu": "vocalmtp.engines.cpu:CPUEngine",
    "cuda": "vocalmtp.engines.cuda:CudaEngine",
    "eager": "vocalmtp.engines.eager:EagerEngine",
    "onnx": "vocalmtp.engines.onnx:OnnxEngine",
    "static": "vocalmtp.engines.cuda:StaticEngine",
}
BEST = {"cpu": "cpu"}  # the engine that "auto" stands for, by the kind of device


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How an engine is to run a model.

    Attributes:
        device: a torch device, or its name.
        threads: of a step; None: as many as are fastest.
        int8: whether to run linear layers on 8-bit weights; None: if `recommended` and faster.
        recommended: whether 8 bits were measured to sound as good, by the model's card.
        half: whether the weights are stored in 16 bits.

    """

    device: Any = "cpu"
    threads: int | None = None
    int8: bool | None = None
    recommended: bool = False
    half: bool = False

    def __post_init__(self) -> None:
        check_threads(self.threads)


class Engine(Protocol):
    """One way to run the steps of a model.

    An engine whose models torch loads is a subclass of TorchEngine (eager.py). Another one names a
    module of its own as `loader`, and torch is not imported.

    Attributes:
        devices: kinds of torch devices that it runs on.
        loader: the module whose function `load_parts(engine, folder, settings)` returns the model
            (models/base.py: GenerativeModel) and the speech tokenizer of a folder.

    """

    devices: tuple[str, ...]
    loader: str

    def check(self, device: Any) -> None:
        """Raise InputError unless the engine, and this device of any kind, can be used here.

        Code `not_installed` if the engine needs a package that is missing, `unusable` if there is
        no such device.
        """


def find_engine(name: str = AUTO, device: Any = "cpu") -> Engine:
    """Return the engine called `name`.

    Args:
        name: an engine, or "auto": the best one for the device.
        device: a torch device, or its name; "auto" fits every engine.

    Raises:
        InputError: there is no such engine or device, the engine is not installed, or it does not
            run on the device.

    """
    if name == AUTO:
        from vocalmtp.engines.device import resolve_device

        device = resolve_device(device)
        name = BEST.get(device.type, "eager")
    kind = str(device).partition(":")[0]
    if not isinstance(name, str) or name not in ENGINES:
        raise InputError(
            f"engine '{name}': no such engine; {nearest(str(name), (AUTO, *ENGINES))}",
            code="unknown_name",
        )
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), attribute)()
    engine.check(device)
    if kind not in (AUTO, *engine.devices):
        raise InputError(
            f"engine '{name}': runs on {' and '.join(engine.devices)}, not on {device}; "
            "leave one of the two out",
            code="conflict",
        )
    return engine


def check_threads(threads: int | None) -> None:
    """Raise InputError unless `threads` is None or a whole number of 1 or more."""
    if threads is None:
        return
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise InputError(
            f"threads '{threads}': must be a whole number, 1 or more", code="invalid_value"
        )
    if threads < 1:
        raise InputError(f"threads '{threads}': must be 1 or more", code="out_of_range")
