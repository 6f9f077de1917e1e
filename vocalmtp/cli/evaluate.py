"""`vocalmtp eval`: measure models and tokenizers on recordings whose sentences they then say."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.cli import benchmarks
from vocalmtp.evaluation.config import EvalConfig
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.evaluation.report import Line

app = typer.Typer(
    help="Measure how clear, how alike, how clean and how fast speech is. Natural speech of the "
    "same sentences always stands beside ours. Needs the extra 'eval' of the package.",
    no_args_is_help=True,
)

app.command()(benchmarks.roletriviaqa)
app.command()(benchmarks.testlist)

Against = Annotated[
    str | None,
    typer.Option(help="Another model (the next-token twin), timed in turns with ours."),
]


def with_request(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb(request, ...)` the fields of Request as options of the command line."""
    own = list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    shared = {field.name: field for field in fields(EvalConfig)}

    def command(**options: Any) -> None:
        asked = {name: options.pop(name) for name in shared}
        verb(EvalConfig(**asked), **options)

    parameters = []
    for name, field in shared.items():
        info = typer.Option(
            *field.metadata["flags"], help=field.metadata["help"], **field.metadata["limits"]
        )
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        kind = inspect.Parameter.KEYWORD_ONLY
        annotation = Annotated[field.type, info]
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))
    parameters += [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__name__, command.__doc__ = verb.__name__, verb.__doc__
    return command


@app.command()
@with_request
def intelligibility(request: EvalConfig) -> None:
    """Word error rates as pocketsphinx hears them, and outputs that failed to stop or to start."""
    from vocalmtp.evaluation.run import run_intelligibility

    _report(request.output, "intelligibility", run_intelligibility(request), request.model)


@app.command()
@with_request
def similarity(
    request: EvalConfig,
    reference_seconds: Annotated[
        str,
        typer.Option(
            help="Instead: every voice made anew from so many seconds of it, such as 1,3,10."
        ),
    ] = "",
) -> None:
    """Cosine of speaker embeddings to the asked voice, and to the nearest other one.

    A voice that the model does not have (--split heldout) is made from one recording of it.
    """
    from vocalmtp.evaluation.run import run_references, run_similarity

    if reference_seconds:
        lines = run_references(request, reference_seconds)
    else:
        lines = run_similarity(request)
    _report(request.output, "similarity", lines, request.model)


@app.command()
@with_request
def quality(request: EvalConfig) -> None:
    """STOI and PESQ of the tokenizer, DNSMOS of everything, and spectrograms side by side."""
    from vocalmtp.evaluation.run import run_quality

    _report(request.output, "quality", run_quality(request), request.model)


@app.command("all")
@with_request
def everything(request: EvalConfig, against: Against = None) -> None:
    """All of it, on the splits test, rare and heldout, and the speed: the figures of a model."""
    from vocalmtp.bench.speed import hardware
    from vocalmtp.evaluation.report import write_sections
    from vocalmtp.evaluation.run import run_all

    sections = run_all(request, against)
    notes = [f"Model: {request.model}.", f"Machine: {hardware()}."]
    typer.echo(write_sections(request.output, "figures", sections, notes))


@app.command()
def disentanglement(
    manifest: Annotated[
        Path, typer.Option("--manifest", "-m", help="A corpus folder or a manifest.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for audio and the report.")
    ],
    model: Annotated[
        str, typer.Option(help="A model or a tokenizer, by its name or folder.")
    ] = DEFAULT_MODEL,
    split: Annotated[str, typer.Option(help="Which rows of the manifest.")] = "test",
    voices: Annotated[str, typer.Option(help="Only these, with commas; all if empty.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Sentences of each voice.")] = 60,
) -> None:
    """Phones, pitch and speaker as probes find them in content and in prosody; swapped timbre."""
    from vocalmtp.evaluation.disentanglement import probe_streams, swap_timbre
    from vocalmtp.evaluation.items import pick_items
    from vocalmtp.hub import tokenizer_folder
    from vocalmtp.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder(model))
    items = pick_items(manifest, split, [name for name in voices.split(",") if name], limit)
    lines = probe_streams(tokenizer, items)
    if tokenizer.spec.speaker_dim:
        lines += swap_timbre(tokenizer, items, output / "swapped")
    _report(output, "disentanglement", lines, model)


@app.command()
def hearing(
    manifest: Annotated[
        Path, typer.Option("--manifest", "-m", help="A corpus folder or a manifest.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for rows and the report; a run goes on.")
    ],
    ear: Annotated[
        str,
        typer.Option(
            "--ear",
            "--model",
            help="As for chat: pocketsphinx, or the folder of a Whisper, or of a speech LM that "
            "listens (recipes/chat_mini).",
        ),
    ],
    split: Annotated[str, typer.Option(help="Which rows of the manifest.")] = "heldout",
    voices: Annotated[str, typer.Option(help="Only these, with commas; all if empty.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Sentences of each voice.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what is in the output folder.")
    ] = False,
) -> None:
    """Word error rate of what an ear writes down, of all and of every voice.

    Example:

    vocalmtp eval hearing --ear chat-mini --manifest corpus --output results/hearing
    """
    from vocalmtp.evaluation.items import pick_items
    from vocalmtp.evaluation.recognition import run_hearing
    from vocalmtp.recognizers.base import build_recognizer

    items = pick_items(manifest, split, [name for name in voices.split(",") if name], limit)
    _report(
        output, "hearing", run_hearing(build_recognizer(ear), items, output, ear, fresh=fresh), ear
    )


@app.command()
def tokenizer(
    name: Annotated[
        str,
        typer.Argument(help="NAME of a card or model, FOLDER, or NAME=FOLDER of its weights."),
    ],
    manifest: Annotated[
        Path, typer.Option("--manifest", "-m", help="A corpus folder or a manifest.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for audio, rows and the report; a run goes on there."
        ),
    ],
    split: Annotated[str, typer.Option(help="Which rows of the manifest.")] = "test",
    voices: Annotated[str, typer.Option(help="Only these, with commas; all if empty.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Sentences of each voice.")] = 10,
    processes: Annotated[int, typer.Option(min=1, help="Files recognised at once.")] = 2,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what is in the output folder.")
    ] = False,
) -> None:
    """Measure a speech tokenizer: resynthesis, bits, speed, use of its codes, what they hold.

    What a tokenizer does not have, or the manifest does not tell, is n/a.

    Example:

    vocalmtp eval tokenizer mimi-8=weights -m corpus -o results/mimi
    """
    from vocalmtp.bench.speed import hardware
    from vocalmtp.evaluation.report import write_sections
    from vocalmtp.evaluation.tokenizer import run_tokenizer

    asked = [voice for voice in voices.split(",") if voice]
    sections, notes = run_tokenizer(
        name, manifest, output, split, asked, limit, processes=processes, fresh=fresh
    )
    notes = [*notes, f"Machine: {hardware()}."]
    typer.echo(write_sections(output, "tokenizer", sections, notes))


def _report(output: Path, title: str, lines: list["Line"], model: str, *notes: str) -> None:
    from vocalmtp.evaluation.report import write_report

    typer.echo(write_report(output, title, lines, (f"Model: {model}.", *notes)))
