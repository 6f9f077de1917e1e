"""The options that say how a model decodes, of every verb that has them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vocalmtp.decoding.options import Decoding

PANEL = "Decoding"


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, **settings)


Drafts = Annotated[
    int,
    _option(
        "--drafts",
        help="Steps that the model's draft head guesses after every step; one pass checks all.",
    ),
]
DraftTree = Annotated[
    Path | None,
    _option(
        "--draft-tree",
        help="Guess by the paths in this file (vocalmtp draft-tree), not in a row; for models of "
        "one token a step.",
    ),
]
Accept = Annotated[
    str | None,
    _option(
        "--accept",
        help="Which drafts are kept. Nothing changes but the speed with rejection, joint (whole "
        "steps) and seed (the seed says the same as without); lossy are typical, near and all.",
        show_default="rejection; seed, of a tree",
    ),
]
Tolerance = Annotated[
    float | None,
    _option(
        "--tolerance",
        help="How much typical (a probability, 0 to 1) and near (levels of a code's digits) let "
        "pass.",
        show_default="0.09 and 1",
    ),
]
TokensPerStep = Annotated[
    int | None,
    _option(
        "--tokens-per-step",
        help="Codec tokens of a step, where the model leaves the choice ('vocalmtp info'): more "
        "are faster, fewer clearer.",
        show_default="its most",
    ),
]


def asked(
    drafts: int,
    accept: str | None,
    tolerance: float | None,
    tokens_per_step: int | None,
    draft_tree: Path | None = None,
) -> "Decoding":
    """The options as one; raises InputError if they do not go together."""
    from vocalmtp.decoding.options import Decoding

    tree = None
    if draft_tree is not None:
        from vocalmtp.decoding.tree import DraftTree

        tree = DraftTree.load(draft_tree)
    return Decoding(
        drafts=drafts,
        accept=accept or ("rejection" if tree is None else "seed"),
        tolerance=tolerance,
        tree=tree,
        tokens_per_step=tokens_per_step,
    )
