"""The settings of a grid to its cells: a recipe each, or an earlier cell's model decoded otherwise.

Letters: K codec tokens per step, Q streams, G frames per step; K = 1 (next-token) or K = G * Q.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.config import merge, parse
from vocalmtp.decoding.options import Decoding
from vocalmtp.errors import InputError
from vocalmtp.tokenizers.base import TokenizerSpec
from vocalmtp.training.recipe import ModelRecipe, SpeechLMRecipe

if TYPE_CHECKING:
    from vocalmtp.ablation.grid import Arm, Grid

OWN = "own"  # folder of a cell: what the model that it takes says, as shards to train on
MULTIPLES = 4  # how many valid K an error names


@dataclass(frozen=True)
class Place:
    """Where in a grid a cell is."""

    tokenizer: str
    tokens_per_step: int
    backbone: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        step = "ntp" if self.tokens_per_step == 1 else f"k{self.tokens_per_step}"
        return f"{self.tokenizer}-{step}-{self.backbone}-{self.arm}-seed{self.seed}"


@dataclass(frozen=True)
class Cell(Place):
    """One model of the grid, and how it decodes.

    `recipe` is that of its model's training, and `model` what it makes. If the training is another
    cell's, this one only decodes (`trains` is false). `after` names the cell whose model it takes,
    `distilled` is how many sentences that one says for it to train on, and `tree` how many
    candidates its drafts have if they are a tree.
    """

    folder: Path
    recipe: SpeechLMRecipe
    model: ModelRecipe
    decoding: Decoding
    sampling: dict[str, Any] | None
    trains: bool
    after: str | None
    distilled: int
    tree: int


def expand(grid: "Grid") -> Iterator[Cell]:
    """Every cell, the first seed of all of them first.

    Raises InputError if one cannot exist, or a recipe has a wrong key.
    """
    made: dict[str, Cell] = {}
    asked = (seed for arm in grid.arms.values() for seed in arm.seeds or grid.seeds)
    for seed in sorted(set(asked)):
        for name, arm in grid.arms.items():
            if seed not in (arm.seeds or grid.seeds):
                continue
            for backbone in grid.backbones:
                for tokenizer in grid.tokenizers:
                    for count in counts_of(grid, arm):
                        place = Place(tokenizer, count, backbone, name, seed)
                        made[place.name] = cell = make_cell(grid, place, made)
                        yield cell


def make_cell(grid: "Grid", place: Place, made: Mapping[str, Cell]) -> Cell:
    """The cell at `place`, from those `made` before it."""
    arm = grid.arms[place.arm]
    own: dict[str, Any] = {"folder": grid.output / "cells" / place.name}
    try:
        base = base_of(grid, place, made)
        trains = base is None or (arm.of is not None and bool(arm.change))
        if trains:
            own |= {"recipe": recipe_of(grid, place, base, own["folder"] / "train")}
            own |= {"model": model_of(own["recipe"], base)}
        else:
            own |= {"recipe": base.recipe, "model": base.model}
        elastic = not isinstance(own["model"].frames_per_step, int)
        count = place.tokens_per_step if elastic else None
        asked = arm.decoding.model_dump(exclude={"tree"})
        decoding, tree = Decoding(**asked, tokens_per_step=count), arm.decoding.tree
        if (decoding.drafts or tree) and not own["model"].draft:
            key, value = ("tree", tree) if tree else ("drafts", decoding.drafts)
            raise InputError(
                f"decoding.{key} '{value}': its model has no draft head; give it model.draft, or "
                "with 'of' a change of draft",
                code="missing",
            )
        after = base.name if base else None
        if arm.distilled and not (arm.of and trains):
            raise InputError(
                f"distilled '{arm.distilled}': is for a change of the model that 'of' names; "
                "give both",
                code="conflict",
            )
        own |= {"sampling": arm.sampling, "distilled": arm.distilled, "tree": tree}
        own |= {"trains": trains, "after": after}
        cell = Cell(**vars(place), **own, decoding=decoding)
        _ = grid.config(cell).layout
    except InputError as error:
        raise InputError(f"cell '{place.name}': {error}", code="invalid_value") from error
    return cell


def base_of(grid: "Grid", place: Place, made: Mapping[str, Cell]) -> Cell | None:
    """The cell whose model the one at `place` takes, if it does."""
    arm = grid.arms[place.arm]
    if arm.of is not None:
        base = replace(place, arm=arm.of)
        if base.name not in made:
            raise InputError(
                f"of '{arm.of}': no arm before it has '{base.name}'; add that one",
                code="invalid_value",
            )
        return made[base.name]
    first = replace(place, tokens_per_step=counts_of(grid, arm)[0])
    return made[first.name] if arm.elastic and first != place else None


def recipe_of(grid: "Grid", place: Place, base: Cell | None, output: Path) -> SpeechLMRecipe:
    """How the model at `place` is trained: from nothing, or on from that of `base`."""
    arm, spec = grid.arms[place.arm], grid.specs[place.tokenizer]
    counts = counts_of(grid, arm) if arm.elastic else [place.tokens_per_step]
    frames = [frames_per_step(count, place.tokenizer, spec) for count in counts]
    data = merge(grid.speech_lm, grid.backbones[place.backbone].change)
    if base is None:
        data = merge(data, arm.change)
        shape = frames if arm.elastic else frames[0]
        data = merge(data, {"model": {"flat": counts == [1], "frames_per_step": shape}})
    else:
        data = merge({key: data[key] for key in data if key != "model"}, arm.change)
        data["init"] = base.recipe.output
    shards = str(output.parent / OWN if arm.distilled else grid.codes(place.tokenizer))
    own = {"data": {"shards": shards}, "output": str(output), "optim": {"seed": place.seed}}
    return parse(SpeechLMRecipe, merge(data, own))


def model_of(recipe: SpeechLMRecipe, base: Cell | None) -> ModelRecipe:
    """What a training makes."""
    if base is not None:
        if recipe.model is not None:
            raise InputError(
                "change.model: 'of' takes a model that there is; only change draft",
                code="invalid_value",
            )
        return base.model.model_copy(update={"draft": {**base.model.draft, **recipe.draft}})
    if recipe.model is None:
        raise InputError("needs 'model'; a grid trains new models", code="missing")
    return recipe.model


def counts_of(grid: "Grid", arm: "Arm") -> list[int]:
    """The tokens per step of an arm."""
    return list(dict.fromkeys(arm.tokens_per_step or grid.tokens_per_step))


def frames_per_step(count: int, name: str, spec: TokenizerSpec) -> int:
    """G of `count` codec tokens a step; of next-token prediction 1.

    Raises InputError, naming valid counts, if the streams of `spec` do not divide it.
    """
    streams = len(spec.streams)
    if count == 1:
        return 1
    if count < 1 or count % streams:
        valid = ", ".join(str(streams * frames) for frames in range(1, MULTIPLES + 1))
        raise InputError(
            f"tokens_per_step '{count}': tokenizer '{name}' has {streams} streams; choose 1 "
            f"(next-token) or a multiple of them: {valid}, ...",
            code="invalid_value",
        )
    return count // streams
