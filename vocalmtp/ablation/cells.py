"""The cells of a grid: the training recipe of each, or the earlier cell whose model it decodes.

Letters: K codec tokens per step, Q streams, G frames per step; K = 1 (next-token) or K = G * Q.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.config import merge, parse
from vocalmtp.decoding.options import Decoding
from vocalmtp.errors import InputError
from vocalmtp.tokenizers.spec import TokenizerSpec
from vocalmtp.training.recipe import ModelRecipe, SpeechLMRecipe

if TYPE_CHECKING:
    from vocalmtp.ablation.grid import Arm, Grid

DISTILLED = "distilled"  # folder of a cell: code shards that its base model generated
MULTIPLES = 4  # valid K that an error names


@dataclass(frozen=True)
class Place:
    """The coordinates of a cell in its grid."""

    tokenizer: str
    tokens_per_step: int
    backbone: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The name of the cell, and of its folder."""
        step = "ntp" if self.tokens_per_step == 1 else f"k{self.tokens_per_step}"
        return f"{self.tokenizer}-{step}-{self.backbone}-{self.arm}-seed{self.seed}"


@dataclass(frozen=True)
class Cell(Place):
    """One model of the grid, and how it decodes.

    Attributes:
        folder: where everything of the cell is.
        recipe: the training of its model.
        model: the model that the training makes.
        decoding: how it decodes; without the draft tree, which is chosen after training.
        sampling: how it samples for the judges; None for the grid's default.
        trains: whether the training is this cell's own.
        after: the cell whose model it takes.
        distilled: sentences that the model of `after` generates for its training.
        tree: candidates of its draft tree; 0 without one.
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
    """Yield every cell, all cells of the first seed first.

    Raises:
        InputError: a cell cannot exist, or a recipe has a wrong key.
    """
    made: dict[str, Cell] = {}
    seeds = {seed for arm in grid.arms.values() for seed in arm.seeds or grid.seeds}
    for seed in sorted(seeds):
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
    """The cell at `place`; `made` are the cells before it."""
    arm, folder = grid.arms[place.arm], grid.output / "cells" / place.name
    try:
        base = base_of(grid, place, made)
        if base is None or (arm.of is not None and arm.change):
            trains, recipe = True, recipe_of(grid, place, base, folder / "train")
            model = model_of(recipe, base)
        else:
            trains, recipe, model = False, base.recipe, base.model
        if arm.distilled and not (arm.of and trains):
            raise InputError(
                f"distilled '{arm.distilled}': needs 'of' and a 'change' of that model; give both",
                code="conflict",
            )
        cell = Cell(
            **vars(place),
            folder=folder,
            recipe=recipe,
            model=model,
            decoding=decoding_settings(arm, place, model),
            sampling=arm.sampling,
            trains=trains,
            after=base.name if base else None,
            distilled=arm.distilled,
            tree=arm.decoding.tree,
        )
        _ = grid.config(cell).layout
    except InputError as error:
        raise InputError(f"cell '{place.name}': {error}", code=error.code, key=error.key) from error
    return cell


def decoding_settings(arm: "Arm", place: Place, model: ModelRecipe) -> Decoding:
    """How the cell at `place` decodes; raises InputError without a draft head for its drafts."""
    elastic = not isinstance(model.frames_per_step, int)
    count = place.tokens_per_step if elastic else None
    decoding = Decoding(**arm.decoding.model_dump(exclude={"tree"}), tokens_per_step=count)
    if (decoding.drafts or arm.decoding.tree) and not model.draft:
        tree = arm.decoding.tree
        key, value = ("tree", tree) if tree else ("drafts", decoding.drafts)
        raise InputError(
            f"decoding.{key} '{value}': the model has no draft head; give it model.draft, or "
            "'of' with a change of draft",
            code="missing",
        )
    return decoding


def base_of(grid: "Grid", place: Place, made: Mapping[str, Cell]) -> Cell | None:
    """The cell whose model the cell at `place` takes, or None."""
    arm = grid.arms[place.arm]
    if arm.of is not None:
        base = replace(place, arm=arm.of)
        if base.name not in made:
            raise InputError(
                f"of '{arm.of}': no earlier arm has the cell '{base.name}'; add it",
                code="not_found",
            )
        return made[base.name]
    first = replace(place, tokens_per_step=counts_of(grid, arm)[0])
    return made[first.name] if arm.elastic and first != place else None


def recipe_of(grid: "Grid", place: Place, base: Cell | None, output: Path) -> SpeechLMRecipe:
    """The training of the model at `place`: from random weights, or from the model of `base`."""
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
    shards = str(output.parent / DISTILLED if arm.distilled else grid.codes(place.tokenizer))
    fixed = {"data": {"shards": shards}, "output": str(output), "optim": {"seed": place.seed}}
    return parse(SpeechLMRecipe, merge({"device": grid.device} | data, fixed))


def model_of(recipe: SpeechLMRecipe, base: Cell | None) -> ModelRecipe:
    """The model that a training makes."""
    if base is not None:
        if recipe.model is not None:
            raise InputError(
                "change.model: 'of' takes an existing model; only change draft", code="conflict"
            )
        return base.model.model_copy(update={"draft": {**base.model.draft, **recipe.draft}})
    if recipe.model is None:
        raise InputError("speech_lm.model: is missing; a grid trains new models", code="missing")
    return recipe.model


def counts_of(grid: "Grid", arm: "Arm") -> list[int]:
    """The different tokens per step of an arm."""
    return list(dict.fromkeys(arm.tokens_per_step or grid.tokens_per_step))


def frames_per_step(count: int, name: str, spec: TokenizerSpec) -> int:
    """Frames per step G for `count` codec tokens per step; 1 for next-token prediction.

    Raises:
        InputError: `count` is not 1 or a multiple of the streams of `spec`.
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
