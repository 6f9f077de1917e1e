"""Draft trees: several candidates for each of the next steps, and the choice of a tree.

Medusa's notation (arXiv 2401.10774, section 2.1.2 and appendix): a path is a rank for every step,
`[0, 2]` being the third best candidate after the best one. Rank 0 is what the row's own sampler and
noise draw from the draft head, so that a tree of the paths [0], [0, 0], .. is the chain of
`Speculative`; the other ranks are those of `CandidateRanker` (decoding/tree_speculative.py).

Trees are for one token per step (text, flat layouts). A step of K tokens is accepted only if all
are, so that a node which changes one of them is worth the probability of that change times that of
the K - 1 others, and there are K such changes of every rank: most would be wasted.
Letters: B rows, N nodes, n of them at one depth.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from vocalmtp.arrays import constant
from vocalmtp.config import StrictModel, load_yaml, parse
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import FORMAT, check_format

Ranks = tuple[int, ...]  # a path
MAX_NODES = 64


class TreeFile(StrictModel):
    """Content of a tree file; only `paths` are required."""

    paths: list[list[int]]
    acceptance: list[list[float]] | None = None  # [depth][rank] measured
    expected: float | None = Field(default=None, ge=1)  # steps per forward pass, by that


@dataclass(frozen=True)
class Level:
    """The m nodes of one depth, and the n nodes of the depth above that are their parents.

    Nodes are numbered in depth-first order, the root being 0.
    """

    above: tuple[int, ...]  # [n] indices of the parents among all nodes of the depth above
    origin: tuple[int, ...]  # [n] indices of the parents' own parents in the level above
    path: tuple[Ranks, ...]  # [n, depth] of the parents, see DraftHead.branch
    nodes: tuple[int, ...]  # [m]
    parents: tuple[int, ...]  # [m] indices of their parents among the n
    ranks: tuple[int, ...]  # [m]


@dataclass(frozen=True)
class DraftTree:
    """The candidates to draft, as paths in depth-first order.

    Raises:
        InputError: the paths do not form a tree.

    """

    paths: tuple[Ranks, ...]

    def __post_init__(self) -> None:
        paths = [tuple(path) for path in self.paths]
        if not 1 <= len(paths) <= MAX_NODES:
            raise InputError(
                f"paths: {len(paths)} of them; give 1 to {MAX_NODES}", code="out_of_range"
            )
        for path in paths:
            if not path or min(path) < 0:
                raise InputError(
                    f"paths: {list(path)} is no path; give one or more ranks, each 0 or more",
                    code="out_of_range",
                )
            if path[:-1] and path[:-1] not in paths:
                raise InputError(
                    f"paths: {list(path)} needs {list(path[:-1])}, which is missing; add it",
                    code="missing",
                )
            if paths.count(path) > 1:
                raise InputError(
                    f"paths: {list(path)} is there twice; leave one out", code="conflict"
                )
        object.__setattr__(self, "paths", tuple(sorted(paths)))

    @classmethod
    def chain(cls, drafts: int) -> "DraftTree":
        """Return the tree that is a chain of so many drafts."""
        return cls(tuple((0,) * depth for depth in range(1, drafts + 1)))

    @classmethod
    def load(cls, path: Path | str) -> "DraftTree":
        """Read a YAML or JSON file with `paths`.

        Raises:
            InputError: the file is unreadable, or its paths do not form a tree.

        """
        what = f"draft tree '{path}'"
        found = parse(TreeFile, check_format(load_yaml(path), what), what)
        try:
            return cls(tuple(map(tuple, found.paths)))
        except InputError as error:
            raise InputError(f"{what}: {error}", code=error.code) from error

    def save(self, path: Path, acceptance: Tensor, expected: float) -> None:
        """Write the tree as JSON, with the `acceptance` [depth, rank] that it was chosen by.

        `expected` is the number of steps per forward pass.
        """
        measured = [[round(share, 4) for share in row] for row in acceptance.tolist()]
        facts = {"format": FORMAT, "paths": self.paths, "expected": round(expected, 4)}
        with atomic_path(path) as partial:
            text = json.dumps(facts | {"acceptance": measured})
            partial.write_text(text + "\n", encoding="utf-8")

    @property
    def depth(self) -> int:
        """Steps of the longest path."""
        return max(map(len, self.paths))

    @property
    def ranks(self) -> int:
        """Most candidates of a step."""
        return 1 + max(map(max, self.paths))

    @cached_property
    def _numbers(self) -> dict[Ranks, int]:
        return {path: number for number, path in enumerate(((), *self.paths))}

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Depth of every node; 0 for the root, which comes first."""
        return tuple(len(path) for path in self._numbers)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Parent of every node; the root is its own."""
        return tuple(self._numbers[path[:-1]] for path in self._numbers)

    @cached_property
    def sees(self) -> Tensor:
        """Ancestors of every node and the node itself, [N, N] bool: the tree's attention mask."""
        sees = torch.eye(len(self._numbers), dtype=torch.bool, device="cpu")
        for node, parent in enumerate(self.parents):
            sees[node] |= sees[parent]
        return sees

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of every node, [N, most], padded with 0."""
        own: list[list[int]] = [[] for _ in self.parents]
        for node, parent in enumerate(self.parents[1:], start=1):
            own[parent].append(node)
        most = max(map(len, own))
        return tuple((*nodes, *[0] * (most - len(nodes))) for nodes in own)

    @cached_property
    def levels(self) -> list[Level]:
        """What to draft at every depth from 1 on."""
        levels: list[Level] = []
        here: list[Ranks] = [()]  # the nodes of a depth
        parents: dict[Ranks, int] = {}  # nodes with children, in the order of drafting
        for depth in range(1, self.depth + 1):
            below = [path for path in self.paths if len(path) == depth]
            inner = [path for path in here if any(child[:-1] == path for child in below)]
            parents |= {path: len(parents) + i for i, path in enumerate(inner)}
            above = [here.index(path) for path in inner]
            lines = [[parents[path[:end]] for end in range(depth)] for path in inner]
            levels.append(
                Level(
                    tuple(above),
                    tuple(levels[-1].parents[place] for place in above) if levels else (),
                    tuple(map(tuple, lines)),
                    tuple(self._numbers[path] for path in below),
                    tuple(inner.index(path[:-1]) for path in below),
                    tuple(path[-1] for path in below),
                )
            )
            here = below
        return levels

    def longest_path(self, accepted: Tensor, over: Tensor) -> tuple[Tensor, Tensor]:
        """Follow the `accepted` [B, N] nodes from the root, up to one where the row is `over` [B, N].

        Returns:
            Numbers of the path's nodes, the root first, [B, 1 + depth], and how many after the root
            are valid [B].

        """
        rows = torch.arange(len(accepted), device=accepted.device)
        most = len(self.children[0])
        children = constant(accepted, [node for own in self.children for node in own])
        children = children.view(-1, most)
        node = torch.zeros_like(rows)
        counts, going, path = node, torch.ones_like(accepted[:, 0]), [node]
        for _ in range(self.depth):
            candidates = children[node]  # [B, most]
            good = accepted.gather(1, candidates) & (candidates > 0)
            going = going & good.any(1)
            first = good.int().argmax(1, keepdim=True)
            node = torch.where(going, candidates.gather(1, first)[:, 0], node)
            counts = counts + going
            going = going & ~over[rows, node]
            path.append(node)
        return torch.stack(path, 1), counts


def choose_paths(acceptance: Tensor, nodes: int) -> tuple[DraftTree, float]:
    """Choose the tree that keeps the most drafts.

    The most probable node that can be added is added repeatedly (Medusa, arXiv 2401.10774, section
    2.3.3); ranks of different depths count as independent.

    Args:
        acceptance: [depth, rank], how often the candidate of a rank is right, given that those on
            the path to it are.
        nodes: the most nodes of the tree.

    Returns:
        The tree, and the expected steps per forward pass.

    Raises:
        InputError: no draft is ever right.

    """
    depth, ranks = acceptance.shape
    shares = acceptance.tolist()
    chosen: list[Ranks] = []
    value: dict[Ranks, float] = {(rank,): shares[0][rank] for rank in range(ranks)}
    total = 1.0
    while value and len(chosen) < min(nodes, MAX_NODES):
        best = max(value, key=lambda path: (value[path], [-rank for rank in path]))
        worth = value.pop(best)
        if worth <= 0:
            break
        chosen.append(best)
        total += worth
        if len(best) < depth:
            value |= {(*best, rank): worth * shares[len(best)][rank] for rank in range(ranks)}
    if not chosen:
        raise InputError(
            "draft tree: none of the drafts was right; train the draft head first", code="unusable"
        )
    return DraftTree(tuple(chosen)), total
