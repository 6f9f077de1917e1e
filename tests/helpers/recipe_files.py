"""Files of recipes, which import their siblings by name."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@contextmanager
def importing(
    monkeypatch: pytest.MonkeyPatch, folders: tuple[str, ...], names: tuple[str, ...]
) -> Iterator[Callable[[str], ModuleType]]:
    """What imports a file of `folders`; modules of these `names` are put back at the end."""
    for folder in folders:
        monkeypatch.syspath_prepend(str(RECIPES / folder))
    before = {name: sys.modules.pop(name, None) for name in names}
    try:
        yield __import__
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update({name: module for name, module in before.items() if module})
