"""`vocalmtp bench`."""

from pathlib import Path
from typing import Annotated

import typer

from vocalmtp.cli import decoding
from vocalmtp.hub import DEFAULT_MODEL


def bench(
    model: Annotated[
        str, typer.Argument(help="A model that came with the package, or a model's folder.")
    ] = DEFAULT_MODEL,
    against: Annotated[
        str | None,
        typer.Option(
            help="A next-token model to compare the decode loop with.",
            show_default="the same backbone with random weights",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(min=1, max=1024, help="Threads of a step; small models are fastest on one."),
    ] = 1,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Measure conversations instead: how long an answer takes, part by part, and how "
            "many can talk at once.",
        ),
    ] = False,
    methods: Annotated[
        bool,
        typer.Option(
            "--methods",
            help="Compare all heads and strategies instead, with random weights of MODEL's sizes.",
        ),
    ] = False,
    drafts: decoding.Drafts = 0,
    draft_tree: decoding.DraftTree = None,
    accept: decoding.Accept = None,
    tolerance: decoding.Tolerance = None,
    tokens_per_step: decoding.TokensPerStep = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
) -> None:
    """Measure how fast MODEL is on this machine: medians with the least and the most, all warm.

    Real-time factors by batch size, first audio, a whole process, grouped against next-token
    decoding in the same loop, what the parts take, and how near that is to the memory's limit.
    Nothing else should run meanwhile.

    Examples:

    vocalmtp bench mini --json speed.json

    vocalmtp bench mini --chat

    vocalmtp bench mini --methods --json methods.json

    vocalmtp bench my-model --drafts 3 --accept joint
    """
    import torch

    from vocalmtp.bench.chat import run_chat_bench
    from vocalmtp.bench.methods import NOTES, run_methods
    from vocalmtp.bench.speed import hardware
    from vocalmtp.bench.table import run_bench
    from vocalmtp.errors import InputError
    from vocalmtp.evaluation.report import as_json, markdown
    from vocalmtp.io.atomic import atomic_path, check_file
    from vocalmtp.tts import load

    if json is not None:
        check_file(json, "json")
    torch.set_num_threads(threads)
    how = decoding.asked(drafts, accept, tolerance, tokens_per_step, draft_tree)
    given = {"against": against, "drafts": drafts, "draft_tree": draft_tree}
    given["tokens_per_step"] = tokens_per_step
    for other, there in {"chat": chat, "methods": methods and not chat}.items():
        for name in (name for name, value in given.items() if there and value):
            raise InputError(f"{name}: does not go with --{other}; leave one out", code="conflict")
    if chat and methods:
        raise InputError("methods: does not go with --chat; leave one out", code="conflict")
    notes = [f"Model: {model}.", f"Machine: {hardware()}."]
    if chat:
        sections = {"": run_chat_bench(model)}
    elif methods:
        sections = run_methods(load(model))
        notes = [*NOTES, *notes]
    else:
        sections = {"": run_bench(model, against, how)}
    for heading, lines in sections.items():
        typer.echo(f"### {heading}\n\n{markdown(lines)}\n" if heading else f"{markdown(lines)}\n")
    typer.echo("\n".join(notes))
    if json is not None:
        with atomic_path(json) as partial:
            partial.write_text(as_json(sections, notes))
