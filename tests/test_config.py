"""YAML to models: inheritance, overrides, and errors that help."""

from pathlib import Path
from typing import Literal

import pytest
from helpers.errors import raises_input_error
from pydantic import Field

from vocalmtp.config import FORMER_KEYS, Registry, StrictModel, load_yaml, merge, parse
from vocalmtp.errors import InputError


class Optim(StrictModel):
    learning_rate: float = Field(default=1e-3, gt=0)
    steps: int = 10


class Run(StrictModel):
    output: str
    optim: Optim = Optim()
    stages: list[Optim] = []
    extra: Optim | None = None
    kind: Literal["one", "two"] = "one"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(
        "output: runs/base\noptim: {learning_rate: 0.1, steps: 5}\n"
    )
    (tmp_path / "child.yaml").write_text("extends: base.yaml\noptim: {steps: 7}\n")
    return tmp_path


def test_a_child_changes_only_what_it_says(folder):
    assert load_yaml(folder / "child.yaml") == {
        "output": "runs/base",
        "optim": {"learning_rate": 0.1, "steps": 7},
    }


def test_overrides_come_last_and_are_yaml(folder):
    data = load_yaml(
        folder / "child.yaml", ["optim.steps=9", "output=x", "stages=[{steps: 1}]", "a.b="]
    )
    assert data["optim"] == {"learning_rate": 0.1, "steps": 9}
    assert data["output"] == "x"
    assert data["stages"] == [{"steps": 1}]
    assert data["a"] == {"b": None}


def test_merge_replaces_lists_and_scalars():
    assert merge({"a": [1, 2], "b": {"c": 1}}, {"a": [3], "b": 2}) == {"a": [3], "b": 2}


def test_yaml_numbers_with_an_exponent_are_numbers(folder):
    data = load_yaml(folder / "child.yaml", ["optim.learning_rate=1e-3"])
    assert parse(Run, data).optim.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "r.yaml: key 'output' is missing; add it"),
        ({"output": "x", "optm": {}}, "r.yaml: unknown key 'optm'; did you mean 'optim'?"),
        (
            {"output": "x", "": 1},
            "r.yaml: unknown key ''; choose one of: extra, kind, optim, output, stages",
        ),
        ({"output": "x", "Optim": {}}, "r.yaml: unknown key 'Optim'; did you mean 'optim'?"),
        (
            {"output": "x", "optim": {"learnig_rate": 1}},
            "r.yaml: unknown key 'optim.learnig_rate'; did you mean 'learning_rate'?",
        ),
        (
            {"output": "x", "stages": [{"step": 1}]},
            "r.yaml: unknown key 'stages.0.step'; did you mean 'steps'?",
        ),
        (
            {"output": "x", "extra": {"step": 1}},
            "r.yaml: unknown key 'extra.step'; did you mean 'steps'?",
        ),
        (
            {"output": "x", "optim": {"learning_rate": -1}},
            "r.yaml: key 'optim.learning_rate' is -1; input should be greater than 0",
        ),
        ({"output": "x", "kind": "tow"}, "r.yaml: key 'kind' is 'tow'; did you mean 'two'?"),
        ({"output": "x", "kind": "x"}, "r.yaml: key 'kind' is 'x'; choose one of: one, two"),
    ],
)
def test_errors_name_the_key_and_the_fix(data, message):
    with pytest.raises(InputError) as error:
        parse(Run, data, "r.yaml")
    assert str(error.value) == message


def test_bad_files_and_overrides_are_refused(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "circle.yaml").write_text("extends: circle.yaml\n")
    (tmp_path / "twice.yaml").write_text("a: {b: 1, c: 2, b: 3}\n")
    (tmp_path / "utf16.yaml").write_text("a: 1\n", encoding="utf-16")
    for name, message in [
        ("none.yaml", "no such file"),
        ("list.yaml", "'key: value' lines"),
        ("broken.yaml", "not valid YAML"),
        ("circle.yaml", "extends itself"),
        ("twice.yaml", "key 'b' is there twice"),
        ("utf16.yaml", "is not UTF-8"),
    ]:
        with pytest.raises(InputError, match=message):
            load_yaml(tmp_path / name)
    (tmp_path / "good.yaml").write_text("a: 1\n")
    for override in ("a", "=1", "a..b=1", "a=[1"):
        with pytest.raises(InputError, match="override"):
            load_yaml(tmp_path / "good.yaml", [override])


def test_yaml_builds_no_objects(tmp_path):
    (tmp_path / "evil.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_yaml(tmp_path / "evil.yaml")


def test_a_registry_builds_entries_by_specification():
    registry: Registry[type] = Registry("judge")

    @registry.register("echo")
    class Echo:
        def __init__(self, argument: str = "default", scale: int = 1):
            self.argument, self.scale = argument, scale

    assert registry.create("echo").argument == "default"
    made = registry.create("echo=some=path", scale=2)
    assert (made.argument, made.scale) == ("some=path", 2)
    assert list(registry) == ["echo"] and "echo" in registry and len(registry) == 1
    with raises_input_error("unknown_name", key="judge", names="echo"):
        registry.create("eco")
    with pytest.raises(ValueError):
        registry.register("echo")(Echo)


def test_former_keys_are_accepted_where_their_new_name_is_valid() -> None:
    class Encoder(StrictModel):
        character_loss_weight: float

    class Recipe(StrictModel):
        audio_input: Encoder

    recipe = parse(Recipe, {"listen": {"letter_weight": 0.5}})
    assert recipe.audio_input.character_loss_weight == 0.5

    class Other(StrictModel):
        listen: int

    assert parse(Other, {"listen": 1}).listen == 1


def test_no_new_key_is_a_former_one() -> None:
    assert not FORMER_KEYS.keys() & set(FORMER_KEYS.values())
