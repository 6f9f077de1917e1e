"""`vocalmtp tokenizers` and what belongs to it, and `vocalmtp detokenize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.catalogue import DEFAULT_MODEL
from vocalmtp.cli.convert import convert

if TYPE_CHECKING:
    from vocalmtp.tokenizers import CatalogueEntry

app = typer.Typer(
    help="The speech tokenizers that there are cards for.",
    invoke_without_command=True,
    no_args_is_help=False,
)
app.command("convert")(convert)


@app.callback()
def table(context: typer.Context) -> None:
    """List the speech tokenizers that there are cards for; 'show NAME' prints a card.

    Example:

    vocalmtp tokenizers
    """
    if context.invoked_subcommand is not None:
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from vocalmtp.tokenizers import list_entries

    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rows.add_column("name", style="bold", no_wrap=True)
    rows.add_column("kind", overflow="fold")
    for name in ("Hz", "frames/s", "streams", "bit/s"):
        rows.add_column(name, justify="right", no_wrap=True)
    for name in ("streaming", "code licence", "weights licence", "here"):
        rows.add_column(name, overflow="fold")
    for entry in list_entries().values():
        rows.add_row(*(escape(cell) for cell in _cells(entry)))
    console = Console()
    if not console.is_terminal:  # a pipe has no width: nothing need be folded
        console = Console(width=160)
    console.print(rows)
    console.print("streams: how many x codes of each; streaming: how long the decoder waits")


def _cells(entry: "CatalogueEntry") -> list[str]:
    """The row of an entry, as many cells as there are columns."""
    from vocalmtp.tokenizers.registry import weights_folder

    card = entry.card()
    wait = entry.lookahead
    return [
        entry.name,
        entry.kind.replace("_", "-"),
        f"{entry.sample_rate}",
        f"{entry.frame_rate:.4g}",
        _sizes(entry),
        f"{card.bits_per_second:.0f}",
        "no" if wait is None else f"{wait * 1000:.0f} ms",
        entry.licence.code,
        entry.licence.weights,
        "yes" if weights_folder(entry) else "no",
    ]


def _sizes(entry: "CatalogueEntry") -> str:
    """Streams and their sizes: "8 x 1024"; unlike ones are added."""
    sizes: dict[int, int] = {}
    for spec in entry.specs():
        sizes[spec.size] = sizes.get(spec.size, 0) + 1
    return " + ".join(f"{count} x {size}" for size, count in sizes.items())


@app.command()
def show(name: Annotated[str, typer.Argument(help="The name of a card.")]) -> None:
    """Print everything that a card says.

    Example:

    vocalmtp tokenizers show mimi-8
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from vocalmtp.tokenizers import find_entry

    entry = find_entry(name)
    facts = Table(title=f"Tokenizer {escape(name)}", title_justify="left", box=None)
    facts.show_header = False
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for key, value in _facts(entry):
        facts.add_row(f"  {key}", escape(value))
    Console().print(facts)


def _facts(entry: "CatalogueEntry") -> list[tuple[str, str]]:
    """All that an entry says, in words."""
    from vocalmtp.tokenizers.registry import how_to_get, weights_folder

    card, folder = entry.card(), weights_folder(entry)
    streams = ", ".join(
        f"{group.name} ({group.count} x {group.size}, {group.role})" for group in entry.streams
    )
    wait = "not possible: it decodes whole utterances"
    if entry.lookahead is not None:
        wait = f"yes, {entry.lookahead * 1000:.0f} ms look-ahead"
    chunks = "in pieces, into the same codes" if entry.chunks else "whole, as long as memory allows"
    return [
        ("type", entry.type),
        ("kind", entry.kind.replace("_", "-")),
        ("streams", streams),
        ("for a speech LM", ", ".join(entry.use)),
        (
            "rate",
            f"{card.frame_rate:g} frames/s of {card.hop} samples, "
            f"{card.bits_per_second:.0f} bit/s, {card.sample_rate} Hz",
        ),
        ("voice", f"vector of {card.speaker_dim}" if card.speaker_dim else "in the streams"),
        ("streaming", wait),
        ("long audio", chunks),
        ("licence of code", entry.licence.code),
        ("licence of weights", entry.licence.weights),
        ("weights", entry.weights),
        ("here", str(folder) if folder else f"no; {how_to_get(entry)}"),
        ("paper", entry.paper),
        ("notes", " ".join(entry.notes.split())),
    ]


def detokenize(
    codes: Annotated[Path, typer.Argument(help="A folder that 'vocalmtp tokenize' wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the audio.")],
    tokenizer: Annotated[
        str,
        typer.Option("--tokenizer", "-t", help="The one that made the codes: NAME, or a folder."),
    ] = DEFAULT_MODEL,
    split: Annotated[
        str | None, typer.Option(help="Only this split.", show_default="all of them")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances decoded together.")] = 16,
    format: Annotated[str, typer.Option(help="wav, flac or ogg.")] = "wav",
) -> None:
    """Turn code shards back into audio, a file an utterance.

    Files that are there are kept when it is started again.

    Example:

    vocalmtp detokenize codes -o wavs --tokenizer runs/tokenizer
    """
    from rich.console import Console
    from rich.progress import Progress

    from vocalmtp.data.detokenize import detokenize_shards
    from vocalmtp.tokenizers import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    screen = Console(stderr=True)
    with Progress(transient=True, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("detokenize")
        count = detokenize_shards(
            codes,
            output,
            loaded,
            split=split,
            batch_size=batch_size,
            format=format,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{output}: audio of {count} utterances by {loaded.card.name} ({loaded.card.hash})")
