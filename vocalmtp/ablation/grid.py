"""The grid of an ablation: what its YAML file may say, and how it is read."""

import hashlib
import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vocalmtp.ablation.expand import Cell, expand
from vocalmtp.config import StrictModel, load_yaml, merge, parse, parse_override
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.tree import MAX_NODES
from vocalmtp.errors import InputError, nearest
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.base import TokenizerSpec
from vocalmtp.tokenizers.cards import find_card, list_cards
from vocalmtp.training.build import model_config
from vocalmtp.training.recipe import TokenizerRecipe

SECTIONS = ("tokenizer", "speech_lm")  # training recipes inside of the grid
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # of folders, and in keys


class TokenizerChoice(StrictModel):
    """A tokenizer of the grid: one that is trained here, or one that there is."""

    train: dict[str, Any] | None = None  # keys of the tokenizer's recipe that differ
    use: str | None = None  # NAME, FOLDER or NAME=FOLDER, as `vocalmtp tokenize --tokenizer`

    @model_validator(mode="after")
    def _one_of_both(self) -> "TokenizerChoice":
        if (self.train is None) == (self.use is None):
            raise ValueError("give either 'train' (what differs) or 'use' (one that there is)")
        return self


class Backbone(StrictModel):
    """A backbone; `shape` is the configuration of a pretrained one, so that it can be planned."""

    change: dict[str, Any] = {}  # keys of the speech LM's recipe
    shape: dict[str, Any] | None = None


class Drafting(StrictModel):
    """How an arm decodes, see `Decoding`; `tree` is how many candidates a draft tree has.

    The tree is chosen on held-out sentences, once the model is there.
    """

    drafts: int = 0
    accept: str = Decoding.accept
    tolerance: float | None = None
    tree: int = Field(default=0, ge=0, le=MAX_NODES)

    @model_validator(mode="after")
    def _one_of_both(self) -> "Drafting":
        if self.tree and self.model_fields_set - {"tree"}:
            raise ValueError(
                "a tree says how many drafts there are, and is lossless; leave all else out"
            )
        return self


class Arm(StrictModel):
    """A way to train and to decode, such as another text mode; it may leave parts of the grid out.

    `of` names an earlier arm whose models it takes: to train them on, if there is a `change`, and
    else to decode them otherwise. With `distilled` it is trained on so many of the corpus's
    sentences as that model says them. An elastic arm trains once for all of its tokens per step.
    """

    change: dict[str, Any] = {}  # keys of the speech LM's recipe
    of: Name | None = None
    distilled: int = Field(default=0, ge=0)
    elastic: bool = False
    decoding: Drafting = Drafting()
    sampling: dict[str, Any] | None = None  # None: as `eval` says
    tokens_per_step: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None


class Utterances(StrictModel):
    """How many of the corpus are tokenized, the same for all tokenizers; null is all."""

    train: int | None = Field(default=None, ge=1)
    valid: int | None = Field(default=200, ge=1)


class Judged(StrictModel):
    """What is said for the judges, of each voice in the corpus's `split`."""

    split: str = "test"
    voices: tuple[str, ...] = ()  # all of the split's if empty
    sentences: int = Field(default=10, ge=1)  # for words and voices
    few: int = Field(default=4, ge=1)  # for DNSMOS and the swapped timbre, which take longer
    sampling: dict[str, Any] = {"greedy": True}
    repeats: int = Field(default=3, ge=1)  # of what is timed


class CostEstimate(StrictModel):
    """What a dry run reckons with; these are the grid's own words, not measurements."""

    flops_per_second: float = Field(default=5e10, gt=0)  # that one process sustains in training
    processes: int = Field(default=1, ge=1)
    text_per_second: float = Field(default=15.0, gt=0)  # positions of text for a second of speech


class Grid(StrictModel):
    """The whole file. Cells are tokenizers x tokens per step x backbones x arms x seeds."""

    recipe: Literal["ablation"] = "ablation"
    output: Path
    corpus: Path
    voices: tuple[str, ...] = ()  # of the corpus, that everything is trained on; all if empty
    tokenizer: dict[str, Any] = {}  # a recipe of kind tokenizer; what all of them share
    speech_lm: dict[str, Any]  # a recipe of kind speech_lm; what all cells share
    tokenizers: dict[Name, TokenizerChoice] = Field(min_length=1)
    tokens_per_step: tuple[int, ...] = Field(min_length=1)
    backbones: dict[Name, Backbone] = Field(min_length=1)
    arms: dict[Name, Arm] = {"track": Arm()}
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    utterances: Utterances = Utterances()
    eval: Judged = Judged()
    estimate: CostEstimate = CostEstimate()
    threads: int = Field(default=1, ge=1)  # of every training

    @cached_property
    def specs(self) -> dict[str, TokenizerSpec]:
        """The spec of every tokenizer; those to be trained have no id of their codes yet."""
        return {name: self._spec(name) for name in self.tokenizers}

    def _spec(self, name: str) -> TokenizerSpec:
        choice = self.tokenizers[name]
        if choice.train is not None:
            return self.tokenizer_recipe(name).model.spec()
        source, _, _ = choice.use.partition("=")
        if source not in list_cards():
            return load_tokenizer(source).spec
        card = find_card(source)
        if not card.decodes:
            raise InputError(
                f"tokenizers.{name}.use '{choice.use}': has no decoder, so that nothing of it can "
                "be heard; take another",
                code="missing",
            )
        return card.spec()

    @property
    def judged(self) -> str:
        """Name of the folders of what was measured: other settings of `eval` have others."""
        settings = json.dumps(self.eval.model_dump(mode="json"), sort_keys=True)
        return f"eval-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"

    def tokenizer_folder(self, name: str) -> Path:
        return self.output / "tokenizers" / name

    def codes(self, name: str) -> Path:
        """The corpus as codes of tokenizer `name`."""
        return self.tokenizer_folder(name) / "codes"

    def tokenizer_recipe(self, name: str) -> TokenizerRecipe:
        """How tokenizer `name` is trained. Raises InputError for a wrong key."""
        own = {
            "corpus": str(self.corpus),
            "voices": list(self.voices),
            "output": str(self.tokenizer_folder(name) / "model"),
        }
        data = merge(merge(self.tokenizer, self.tokenizers[name].train or {}), own)
        return parse(TokenizerRecipe, data, f"tokenizer '{name}'")

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, see expand.py."""
        return tuple(expand(self))

    def sampling(self, cell: Cell) -> dict[str, Any]:
        """How a cell draws what it says for the judges."""
        return self.eval.sampling if cell.sampling is None else cell.sampling

    def config(self, cell: Cell) -> SpeechLMConfig:
        """The configuration of a cell's model; a pretrained backbone is given by its shape.

        Raises InputError if it has none.
        """
        model, shape = cell.model, self.backbones[cell.backbone].shape
        if model.pretrained is not None:
            if shape is None:
                raise InputError(
                    f"backbones '{cell.backbone}': needs 'shape', the configuration of "
                    f"'{model.pretrained}' (its config.json)",
                    code="missing",
                )
            model = model.model_copy(update={"pretrained": None, "backbone": shape})
        return model_config(model, self.specs[cell.tokenizer])


def load_grid(
    path: Path, overrides: Sequence[str] = (), *, output: Path | None = None, smoke: bool = False
) -> Grid:
    """Read a grid file; its training recipes may extend files beside it.

    `smoke` puts the file's own `smoke` section on top, and a folder of its own; `overrides` such as
    "speech_lm.optim.max_steps=200" come last. Raises InputError for a wrong key, a cell
    that cannot exist, or a smoke section that is not there.
    """
    data = load_yaml(path)
    tiny = data.pop("smoke", None)
    if smoke:
        if not isinstance(tiny, dict):
            raise InputError(
                f"{path}: has no section 'smoke' (what makes it tiny); write one", code="missing"
            )
        data["output"] = f"{data.get('output', 'runs/ablation')}-smoke"
    bases = {name: _base(path.parent, data, name) for name in SECTIONS}
    data = merge(bases, data)
    for change in (tiny if smoke else {}, *map(parse_override, overrides)):
        data = merge(data, change)
    if output is not None:
        data["output"] = str(output)
    grid = parse(Grid, data, str(path))
    _ = grid.cells
    return grid


def _base(folder: Path, data: dict[str, Any], name: str) -> dict[str, Any]:
    """The recipe that section `name` of the grid extends, and no longer says that it does."""
    section = data.get(name) or {}
    if not isinstance(section, dict):
        raise InputError(f"{name} '{section}': must hold 'key: value' lines", code="invalid_value")
    data[name] = {key: value for key, value in section.items() if key != "extends"}
    return load_yaml(folder / str(section["extends"])) if "extends" in section else {}


def pick_cells(grid: Grid, names: str | None) -> list[Cell]:
    """The cells whose names match the pattern `names`, with those whose models they take; or all.

    Raises InputError if there are none.
    """
    if names is None:
        return list(grid.cells)
    wanted = {cell.name for cell in grid.cells if fnmatchcase(cell.name, names)}
    for cell in reversed(grid.cells):  # those whose models are taken come before
        if cell.name in wanted and cell.after is not None:
            wanted.add(cell.after)
    picked = [cell for cell in grid.cells if cell.name in wanted]
    if not picked:
        hint = nearest(names, [cell.name for cell in grid.cells])
        raise InputError(f"only '{names}': no cell is called so; {hint}", code="unknown_name")
    return picked
