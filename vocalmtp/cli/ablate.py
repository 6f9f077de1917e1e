"""`vocalmtp ablate`."""

from pathlib import Path
from typing import Annotated

import typer

from vocalmtp.cli.training import need_accelerate


def ablate(
    recipe: Annotated[Path, typer.Argument(help="A grid; see recipes/tokenizer_ablation.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as corpus=corpus seeds=[0]."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the grid.", show_default="as the grid says"),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="The whole grid with its tiny settings, in minutes.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=256, help="Tokenizers and cells at once.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print cells, tokens, memory and hours.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Only cells whose names match, such as 'decoupled-*-seed0'."),
    ] = None,
) -> None:
    """Train and measure a grid of speech LMs: tokenizers, tokens per step, backbones, seeds.

    Started again, it goes on where it stopped. A cell that fails is told in a line, the others are
    finished, and the exit status is 1. The report is report.md, .json and .png in the folder.

    Example:

    vocalmtp ablate recipes/tokenizer_ablation/ablation.yaml corpus=corpus --jobs 2
    """
    need_accelerate()
    from vocalmtp.ablation.grid import load_grid, pick_cells
    from vocalmtp.training.distributed import is_first

    grid = load_grid(recipe, overrides or [], output=output, smoke=smoke)
    cells = pick_cells(grid, only)
    if dry_run:
        from vocalmtp.ablation.plan import show_plan

        typer.echo(show_plan(grid, cells))
        return
    from vocalmtp.ablation.report import write_ablation
    from vocalmtp.ablation.run import run_grid

    failures = run_grid(grid, cells, jobs=jobs, say=typer.echo)
    if is_first():
        typer.echo(write_ablation(grid, failures))
    for name, problem in failures.items():
        typer.echo(f"failed: {name}: {problem}", err=True)
    if failures:
        raise typer.Exit(1)
