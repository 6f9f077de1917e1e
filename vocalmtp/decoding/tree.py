"""Draft trees: several guesses at each of the next steps, and which of them to make.

Medusa's notation (arXiv 2401.10774, section 2.1.2 and appendix): a path is a rank for every step
ahead, `[0, 2]` being the third best candidate after the best one. Rank 0 is what the row's own
sampler and noise draw from the draft head, so that a tree of the paths [0], [0, 0], .. is the chain
that `drafts` makes; then come the likeliest others, see `Ranked` in branching.py.

Trees are for one token a step (text, flat layouts). A step of K tokens is kept only if all are, so
a node that changes one of them is worth the probability of that change times that of the K - 1
others, and there are K such changes of every rank: most would be wasted.
Letters: B rows, N nodes, n of them at one depth.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from vocalmtp.config import StrictModel, load_yaml, parse
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import FORMAT, check_format

Ranks = tuple[int, ...]  # a path
MOST = 64  # nodes


class TreeFile(StrictModel):
    """What a tree's file may hold; `paths` alone are needed."""

    paths: list[list[int]]
    acceptance: list[list[float]] | None = None  # [depth][rank] measured
    expected: float | None = Field(default=None, ge=1)  # steps a forward pass, by that


@dataclass(frozen=True)
class Level:
    """The nodes of one depth, and the n nodes above that they are the children of.

    Nodes are numbered in depth-first order, the root being 0.
    """

    above: list[int]  # [n] places of the parents among the nodes of the depth above
    origin: list[int]  # [n] places of the parents' own parents in the level above
    path: Tensor  # [n, depth] of the parents, see DraftHead.branch
    nodes: list[int]  # [m]
    parents: list[int]  # [m] places of their parents among the n
    ranks: list[int]  # [m]


@dataclass(frozen=True)
class DraftTree:
    """Which candidates to draft; the paths are in depth-first order.

    Raises InputError for paths that make no tree.
    """

    paths: tuple[Ranks, ...]

    def __post_init__(self) -> None:
        paths = [tuple(path) for path in self.paths]
        if not 1 <= len(paths) <= MOST:
            raise InputError(f"paths: {len(paths)} of them; give 1 to {MOST}", code="invalid_value")
        for path in paths:
            if not path or min(path) < 0:
                raise InputError(
                    f"paths {list(path)}: give one or more ranks, each 0 or more",
                    code="invalid_value",
                )
            if path[:-1] and path[:-1] not in paths:
                raise InputError(
                    f"paths {list(path)}: {list(path[:-1])}, which leads there, is missing; add it",
                    code="missing",
                )
            if paths.count(path) > 1:
                raise InputError(
                    f"paths {list(path)}: is there twice; leave one out", code="conflict"
                )
        object.__setattr__(self, "paths", tuple(sorted(paths)))

    @classmethod
    def chain(cls, drafts: int) -> "DraftTree":
        """The tree that is a chain of so many drafts."""
        return cls(tuple((0,) * depth for depth in range(1, drafts + 1)))

    @classmethod
    def load(cls, path: Path | str) -> "DraftTree":
        """Read a YAML or JSON file with `paths`. Raises InputError if it has no tree."""
        what = f"draft tree '{path}'"
        found = parse(TreeFile, check_format(load_yaml(path), what), what)
        try:
            return cls(tuple(map(tuple, found.paths)))
        except InputError as error:
            raise InputError(f"{what}: {error}", code=error.code) from error

    def save(self, path: Path, acceptance: Tensor, expected: float) -> None:
        """Write the tree, and by which `acceptance` [depth, rank] it was chosen."""
        measured = [[round(share, 4) for share in row] for row in acceptance.tolist()]
        facts = {"format": FORMAT, "paths": self.paths, "expected": round(expected, 4)}
        with atomic_path(path) as partial:
            text = json.dumps(facts | {"acceptance": measured})
            partial.write_text(text + "\n", encoding="utf-8")

    @property
    def depth(self) -> int:
        return max(map(len, self.paths))

    @property
    def ranks(self) -> int:
        """How many candidates of a step are needed at most."""
        return 1 + max(map(max, self.paths))

    @cached_property
    def _numbers(self) -> dict[Ranks, int]:
        return {path: number for number, path in enumerate(((), *self.paths))}

    @cached_property
    def depths(self) -> list[int]:
        """Of every node, the root's 0 first."""
        return [len(path) for path in self._numbers]

    @cached_property
    def parents(self) -> list[int]:
        """Of every node; the root is its own."""
        return [self._numbers[path[:-1]] for path in self._numbers]

    @cached_property
    def sees(self) -> Tensor:
        """[N, N] bool: which nodes lead to each, and itself."""
        sees = torch.eye(len(self._numbers), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            sees[node] |= sees[parent]
        return sees

    @cached_property
    def children(self) -> Tensor:
        """[N, most] numbers of every node's children, filled up with 0."""
        own: list[list[int]] = [[] for _ in self.parents]
        for node, parent in enumerate(self.parents[1:], start=1):
            own[parent].append(node)
        most = max(map(len, own))
        return torch.tensor([nodes + [0] * (most - len(nodes)) for nodes in own])

    @cached_property
    def levels(self) -> list[Level]:
        """What is to be drafted at every depth from 1 on."""
        levels: list[Level] = []
        here: list[Ranks] = [()]  # the nodes of a depth
        asked: dict[Ranks, int] = {}  # those with children
        for depth in range(1, self.depth + 1):
            below = [path for path in self.paths if len(path) == depth]
            inner = [path for path in here if any(child[:-1] == path for child in below)]
            asked |= {path: len(asked) + i for i, path in enumerate(inner)}
            above = [here.index(path) for path in inner]
            lines = [[asked[path[:end]] for end in range(depth)] for path in inner]
            levels.append(
                Level(
                    above,
                    [levels[-1].parents[place] for place in above] if levels else [],
                    torch.tensor(lines),
                    [self._numbers[path] for path in below],
                    [inner.index(path[:-1]) for path in below],
                    [path[-1] for path in below],
                )
            )
            here = below
        return levels

    def follow(self, right: Tensor, over: Tensor) -> tuple[Tensor, Tensor]:
        """The longest path of nodes that are `right` [B, N], up to one after which it is `over`.

        Returns the numbers of its nodes from the root on, [B, 1 + depth], of which 1 + the counts
        [B] are real.
        """
        rows = torch.arange(len(right), device=right.device)
        children = self.children.to(right.device)
        node = torch.zeros_like(rows)
        counts, going, path = node, torch.ones_like(right[:, 0]), [node]
        for _ in range(self.depth):
            mine = children[node]  # [B, most]
            good = right.gather(1, mine) & (mine > 0)
            going = going & good.any(1)
            node = torch.where(
                going, mine.gather(1, good.int().argmax(1, keepdim=True))[:, 0], node
            )
            counts = counts + going
            going = going & ~over[rows, node]
            path.append(node)
        return torch.stack(path, 1), counts


def choose_paths(acceptance: Tensor, nodes: int) -> tuple[DraftTree, float]:
    """The tree of at most so many nodes that keeps the most, and the steps that a pass then gives.

    `acceptance` [depth, rank] is how often the candidate of a rank is right, where those that lead
    to it are. The likeliest node that can be added is added, time after time (Medusa, arXiv
    2401.10774, section 2.3.3); whether ranks depend on each other is not regarded.
    """
    depth, ranks = acceptance.shape
    chosen: list[Ranks] = []
    value = {(rank,): float(acceptance[0, rank]) for rank in range(ranks)}
    total = 1.0
    while value and len(chosen) < min(nodes, MOST):
        best = max(value, key=lambda path: (value[path], [-rank for rank in path]))
        worth = value.pop(best)
        if worth <= 0:
            break
        chosen.append(best)
        total += worth
        if len(best) < depth:
            value |= {
                (*best, rank): worth * float(acceptance[len(best), rank]) for rank in range(ranks)
            }
    if not chosen:
        raise InputError(
            "draft tree: none of the drafts was right; train the draft head first",
            code="invalid_value",
        )
    return DraftTree(tuple(chosen)), total
