"""`vocalmtp generate` and `vocalmtp distill-data`: text LMs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.text_options import (
    DRAFTING,
    Accept,
    BatchSize,
    Chat,
    Device,
    Draft,
    Drafts,
    DraftTree,
    DraftVocab,
    Greedy,
    MaxTokens,
    Model,
    PromptTokens,
    Seed,
    Temperature,
    TopK,
    TopP,
    asks_of,
    named,
    option,
    sampler_of,
    writer_of,
)
from vocalmtp.errors import InputError, nearest

if TYPE_CHECKING:
    from vocalmtp.decoding.speculative import Speculative
    from vocalmtp.decoding.text_generation import TextWriter
    from vocalmtp.decoding.tree_speculative import TreeSpeculative

ACCEPT = ("rejection", "seed")


def generate(
    text: Annotated[
        str | None, typer.Argument(help="The text to go on with; - reads it from standard input.")
    ] = None,
    model: Model = "",
    input: Annotated[
        Path | None,
        typer.Option(help="A list for TEXT: .txt (one a line), .jsonl or .csv (field text)."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The file to write; of a list, .jsonl.")
    ] = "-",
    chat: Chat = False,
    max_tokens: MaxTokens = 128,
    batch_size: BatchSize = 1,
    device: Device = "cpu",
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    greedy: Greedy = False,
    seed: Seed = 0,
    draft: Draft = None,
    drafts: Drafts = None,
    draft_tree: DraftTree = None,
    accept: Accept = None,
    draft_vocab: DraftVocab = None,
    statistics: Annotated[
        Path | None, option(DRAFTING, help="Also write what drafting brought to this .json file.")
    ] = None,
) -> None:
    """Go on with TEXT, or with every text of a list, by any causal LM of Transformers.

    With a draft head, several tokens come from one pass of the model: the same ones, if they are
    drawn greedily, and else of the same distribution.

    Examples:

    vocalmtp generate "Once upon a time" --model FOLDER --greedy

    vocalmtp generate --input prompts.txt --model FOLDER --drafts 3 --batch-size 8 -o answers.jsonl
    """
    sampler = sampler_of(temperature, top_k, top_p, greedy)
    asks = asks_of(text, input, seed)
    writer = writer_of(model, draft, draft_vocab, chat, device)
    strategy = _strategy(writer, drafts, draft_tree, accept)
    if output != "-":
        from vocalmtp.io.atomic import check_file

        check_file(Path(output))
    made = writer.write(
        asks, sampler, max_tokens=max_tokens, batch_size=batch_size, strategy=strategy
    )
    lines: list[str] = [""] * len(asks)
    for number, written in made:
        lines[number] = written.text
        if input is not None:
            row = {"text": asks[number].text, "seed": asks[number].seed, "answer": written.text}
            lines[number] = json.dumps(row | {"truncated": written.truncated}, ensure_ascii=False)
    _write(output, "\n".join(lines))
    _tell(strategy, statistics)


def distill_data(
    input: Annotated[
        Path, typer.Argument(help="Prompts: .txt (one a line), .jsonl or .csv (field text).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    model: Model = "",
    speech: Annotated[
        bool, typer.Option("--speech", help="MODEL speaks: keep its codes, as shards to train on.")
    ] = False,
    voice: Annotated[
        list[str] | None,
        typer.Option("--voice", "-v", help="With --speech: who speaks, in turn if several."),
    ] = None,
    prompt_tokens: PromptTokens = None,
    chat: Chat = False,
    max_tokens: MaxTokens = 128,
    batch_size: BatchSize = 8,
    device: Device = "cpu",
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    greedy: Greedy = False,
    seed: Seed = 0,
    draft: Draft = None,
    drafts: Drafts = None,
    draft_tree: DraftTree = None,
    accept: Accept = None,
    resume: Annotated[
        bool, typer.Option("--resume/--overwrite", help="Go on, or start anew.")
    ] = True,
) -> None:
    """Let a model answer prompts, to train its draft head on what it says itself.

    What the answers depend on (sampling, seeds, the model's hash) is written beside them. Stopped
    and started again, it goes on from there.

    Examples:

    vocalmtp distill-data prompts.txt -o answers --model FOLDER --temperature 0.6 --top-k 20

    vocalmtp distill-data sentences.txt -o codes --speech --model mini --voice slt
    """
    sampler = sampler_of(temperature, top_k, top_p, greedy)
    if speech:
        from vocalmtp.training.distill_speech import SpeechJob, distill_speech

        job = SpeechJob(
            input=input,
            output=output,
            model=named(model),
            voices=tuple(voice or ()),
            sampler=sampler,
            seed=seed,
        )
        count = distill_speech(job, batch_size=batch_size, overwrite=not resume)
        typer.echo(f"{output}: codes of {count} sentences; train on them with data.shards={output}")
        return
    from vocalmtp.training.distill_text import DistillJob, distill

    if voice:
        raise InputError("voice: is for --speech; leave it out", code="conflict")
    writer = writer_of(model, draft, None, chat, device)
    strategy = _strategy(writer, drafts, draft_tree, accept)
    job = DistillJob(
        input=input,
        output=output,
        model=model,
        sampler=sampler,
        seed=seed,
        max_tokens=max_tokens,
        prompt_tokens=prompt_tokens,
    )
    rows, count = distill(
        job, writer, batch_size=batch_size, strategy=strategy, overwrite=not resume
    )
    typer.echo(f"{rows}: {count} answers; train on them with data.texts=[{rows}]")
    _tell(strategy, None)


def _strategy(
    writer: "TextWriter", drafts: int | None, draft_tree: Path | None, accept: str | None
) -> "Speculative | TreeSpeculative | None":
    """Verified drafts, as many as the draft head was trained for if `drafts` is None."""
    from vocalmtp.decoding.speculative import Speculative

    if draft_tree is not None:
        from vocalmtp.decoding.options import Decoding
        from vocalmtp.decoding.tree import DraftTree
        from vocalmtp.decoding.tree_speculative import TreeSpeculative

        tree = DraftTree.load(draft_tree)
        how = Decoding(drafts=drafts or 0, accept=accept or "seed", tree=tree)
        how.model(writer.model)
        return TreeSpeculative(tree)
    accept = accept or "rejection"
    if accept not in ACCEPT:
        raise InputError(
            f"accept '{accept}': unknown; {nearest(accept, ACCEPT)}", code="unknown_name"
        )
    head = writer.model.draft
    if drafts is None:
        drafts = 0 if head is None else head.offsets[-1]
    if drafts == 0:
        return None
    if head is None:
        raise InputError(
            f"drafts '{drafts}': the model has no draft head; train one (recipe: text_lm with "
            "draft:), name one with --draft, or leave --drafts out",
            code="missing",
        )
    return Speculative(drafts, accept)


def _write(output: str, text: str) -> None:
    if output == "-":
        typer.echo(text)
        return
    from vocalmtp.io.atomic import atomic_path

    with atomic_path(output) as partial:
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _tell(strategy: "Speculative | TreeSpeculative | None", file: Path | None) -> None:
    """What drafting brought, on standard error and into `file`."""
    found = {} if strategy is None else strategy.statistics.summary()
    if file is not None:
        _write(str(file), json.dumps(found, indent=2))
    if strategy is None or not strategy.statistics.forwards:
        return
    kept = ", ".join(f"{share:.0%}" for share in found["acceptance"])
    typer.echo(
        f"{found['tokens_per_forward']:.2f} tokens a forward pass; drafts kept, of those whose "
        f"predecessors were: {kept}; {found['wasted']:.0%} of the drafts wasted",
        err=True,
    )
