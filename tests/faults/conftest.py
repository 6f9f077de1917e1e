"""The command line on a toy model, and the form of every error."""

import resource
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from helpers import command_line
from helpers.errors import error_code
from helpers.toy_model import save_toy_model

UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


@pytest.fixture(scope="session")
def whole_model(tmp_path_factory) -> Path:
    """The folder of a toy model, not to be changed."""
    return save_toy_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def model(whole_model, tmp_path) -> Path:
    """A copy of the toy model, to be damaged."""
    return Path(shutil.copytree(whole_model, tmp_path / "model"))


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., int]:
    """Runs the command line in a folder of its own and returns its exit status."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    return command_line.run


@pytest.fixture
def refused(run, capsys) -> Callable[..., str]:
    """Runs what must fail with one line and leave no file; returns the line.

    `says` is "CODE: NAMED": the code of the error, and what its line must name.
    """

    def call(*arguments: object, says: str = "") -> str:
        before = sorted(Path().rglob("*"))
        capsys.readouterr()
        assert run(*arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
        code, _, named = says.partition(": ")
        assert named in captured.err, captured.err
        assert code in ("", error_code(captured.err)), captured.err
        assert len(captured.err) < 700, captured.err
        left = [path for path in Path().rglob("*") if path not in before]
        assert [path for path in left if path.name != ".lock" and not path.is_dir()] == []
        return captured.err

    return call


@pytest.fixture
def full_disk() -> Callable[[int], None]:
    """Call it with a number of bytes: no file of this process grows beyond that in this test."""

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, UNLIMITED[1]))

    return limit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Lift the limit as soon as the test is over: what pytest prints may go to a file as well."""
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
