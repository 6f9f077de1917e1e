"""Strict YAML files to checked models: `extends`, dotted overrides, errors that name the key."""

import pkgutil
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import reason

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

# What PyYAML raises of a text: its constructors let errors of dates, numbers and keys through.
NOT_YAML = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, TypeError, RecursionError)


# Former names of configuration keys, which older recipes and saved models still use.
FORMER_KEYS = {
    "listen": "audio_input",
    "letter_weight": "character_loss_weight",
    "misfit": "nll",
    "heard": "coverage",
    "bf16": "precision",
    "clip": "max_grad_norm",
    "beta2": "adam_beta2",
    "trains": "trainable",
    "shape": "pretrained_config",
    "listen_seconds": "crop_seconds",
    "seconds": "crop_seconds",
    "reverberated": "reverb_prob",
    "noisy": "noise_prob",
    "timbre": "speaker_encoder",
    "discriminators_from": "discriminator_start",
    "own_pitch_from": "predicted_pitch_start",
    "average": "ema_decay",
    "weights": "loss_weights",
    "matching": "feature_matching",
    "valid": "valid_share",
    "sentences": "eval_sentences",
}


def rename_former_keys(data: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    """Rename the keys of one mapping by FORMER_KEYS.

    Args:
        data: a mapping as it was read from a file.
        known: the keys that are valid there; a former key is renamed only if it is not one of them,
            and its new name is. Of both names in `data`, the later one counts: overrides come last.

    """
    renamed = {}
    for key, value in data.items():
        new = FORMER_KEYS.get(key, key)
        renamed[new if key not in known and new in known else key] = value
    return renamed


class StrictModel(BaseModel):
    """Base of every configuration: immutable, with checked values; unknown keys are refused.

    Former names of keys (FORMER_KEYS) are accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _accept_former_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or FORMER_KEYS.keys().isdisjoint(data):
            return data
        return rename_former_keys(data, cls.model_fields)


class UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key that a mapping has twice, of which the last would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping. Raises ConstructorError for a repeated key."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key.value}' is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path | str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file into a dict, on top of the file it `extends`.

    `extends: base.yaml` names a file beside this one; mappings are merged key by key, everything
    else (lists too) is replaced. `overrides` such as "optim.learning_rate=3e-4" come last.

    Raises:
        InputError: a file is missing, is no mapping, extends itself, or an override is malformed.

    """
    data = _load(Path(path), ())
    for override in overrides:
        data = merge(data, parse_override(override))
    return data


def _load(path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"config '{path}': no such file; give the path of a YAML file", code="not_found"
        )
    if path.resolve() in parents:
        raise InputError(f"config '{path}': extends itself; break the circle", code="invalid_value")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), UniqueKeyLoader)  # noqa: S506
    except UnicodeDecodeError as error:
        raise InputError(
            f"config '{path}': is not UTF-8; convert the file", code="invalid_value"
        ) from error
    except NOT_YAML as error:
        raise InputError(
            f"config '{path}': not valid YAML ({reason(error, 300)})", code="invalid_value"
        ) from error
    except OSError as error:
        raise InputError(
            f"config '{path}': cannot be read ({reason(error)})", code="unusable"
        ) from error
    if not isinstance(data, dict):
        raise InputError(
            f"config '{path}': must hold 'key: value' lines at the top", code="invalid_value"
        )
    base = data.pop("extends", None)
    if base is None:
        return data
    return merge(_load(path.parent / str(base), (*parents, path.resolve())), data)


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `change` into `base`: mappings key by key, other values are replaced."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merge(old, value)
        else:
            result[key] = value
    return result


def parse_override(text: str) -> dict[str, Any]:
    """Parse "a.b=1" to {"a": {"b": 1}}, with the value as YAML. Raises InputError."""
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(
            f"override '{text}': must be key=value, such as optim.learning_rate=3e-4",
            code="invalid_value",
        )
    try:
        result: Any = yaml.safe_load(value) if value.strip() else None
    except NOT_YAML as error:
        raise InputError(
            f"override '{text}': the value is not valid YAML", code="invalid_value"
        ) from error
    for part in reversed(parts):
        result = {part: result}
    return result


def parse(model: type[M], data: Mapping[str, Any], where: str = "config") -> M:
    """`data` as an instance of `model`.

    Numbers such as 1e-3, which YAML takes for text, are accepted where a number is wanted.

    Raises:
        InputError: one line naming `where`, the first wrong key and, if unknown, the nearest key.

    """
    try:
        return model.model_validate({str(key): value for key, value in data.items()})
    except ValidationError as error:
        problems = error.errors()  # a misspelt key is also a missing one: the first says more
        unknown = (problem for problem in problems if problem["type"] == "extra_forbidden")
        problem = next(unknown, problems[0])
        *outer, last = problem["loc"] or ("",)
        named = problem["type"] in ("extra_forbidden", "missing")  # by what a user may have written
        place = [part for part in outer if not _is_tag(part)]
        place += [last] if named or (last and not _is_tag(last)) else []
        key = ".".join(str(part) for part in place)
        if problem["type"] == "extra_forbidden":
            options = _fields_at(model, place[:-1])
            hint = nearest(str(place[-1]), options) if options else "remove it"
            raise InputError(
                f"{where}: unknown key '{key}'; {hint}", code="unknown_name"
            ) from error
        if problem["type"] == "missing":
            raise InputError(f"{where}: key '{key}' is missing; add it", code="missing") from error
        wanted = problem["msg"].removeprefix("Value error, ")
        wanted = wanted[:1].lower() + wanted[1:]
        if problem["type"] == "literal_error" and isinstance(problem["input"], str):
            wanted = nearest(problem["input"], re.findall("'([^']+)'", problem["ctx"]["expected"]))
        subject = f"key '{key}'" if key else "the whole"
        raise InputError(
            f"{where}: {subject} is {_shown(problem['input'])}; {wanted}", code="invalid_value"
        ) from error


def _shown(value: object, limit: int = 80) -> str:
    line = repr(value)
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def _is_tag(part: object) -> bool:
    """Whether pydantic put this into an error's place to tell the members of a union apart."""
    return isinstance(part, str) and (part[:1].isupper() or "[" in part)


def _fields_at(model: type[BaseModel], place: Iterable[object]) -> list[str]:
    """The keys that are valid at `place` of a nested model."""
    current: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, int):  # an item of a list: the list's own step found its model
            continue
        field = current.model_fields.get(str(part)) if current else None
        current = _model_in(field.annotation) if field else None
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model inside an annotation such as `Model | None` or `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, list, tuple, dict):
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model), None)
    return None


class Registry(Mapping[str, T], Generic[T]):
    """Named implementations of one kind of component, such as heads or recognizers.

    A new implementation is one file in `package`, whose class or factory is decorated with
    `@REGISTRY.register("name")`; the modules of `package` are imported at the first lookup.

    Args:
        kind: what the entries are, as error messages name it.
        package: the package whose modules, those of its subpackages too, register entries; None
            if they are imported anyway.

    """

    def __init__(self, kind: str, package: str | None = None):
        self.kind = kind
        self._package: str | None = package
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that adds a class or factory under `name`."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """Raises InputError if there is no such entry."""
        self._discover()
        if name not in self._entries:
            raise InputError(
                f"{self.kind} '{name}': no such {self.kind}; {nearest(name, self._entries)}",
                code="unknown_name",
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(self._entries)

    def __len__(self) -> int:
        self._discover()
        return len(self._entries)

    def create(self, spec: str, **settings: Any) -> Any:
        """Build the entry that `spec`, "name" or "name=ARG", names.

        The entry is called with ARG, if there is one, and `settings`. Raises InputError if there is
        no such entry, or it refuses its arguments.
        """
        name, argument = split_spec(spec)
        factory: Any = self[name]
        if argument is None:
            return factory(**settings)
        kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        if not any(each.kind in kinds for each in signature(factory).parameters.values()):
            raise InputError(
                f"{self.kind} '{spec}': takes no argument; give {name}", code="invalid_value"
            )
        return factory(argument, **settings)

    def _discover(self) -> None:
        if self._package is None:
            return
        package, self._package = import_module(self._package), None
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)


def split_spec(spec: str) -> tuple[str, str | None]:
    """Split "name=ARG" into the name and ARG, which is None for a name alone."""
    name, equals, argument = spec.partition("=")
    return name.strip(), argument if equals else None
