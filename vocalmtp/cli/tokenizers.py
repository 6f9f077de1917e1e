"""`vocalmtp tokenizers` and what belongs to it, and `vocalmtp detokenize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.convert import convert
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.tokenizers import TokenizerCard

WIDE = 128  # columns of a terminal that has room for the licences
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

    from vocalmtp.tokenizers import list_cards

    console = Console()
    if not console.is_terminal:  # a pipe has no width: nothing need be folded
        console = Console(width=160)
    licences = console.width >= WIDE
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, int(licences)))
    rows.add_column("name", style="bold", no_wrap=True)
    rows.add_column("kind", no_wrap=True)
    for name in ("kHz", "fps", "streams", "bit/s"):
        rows.add_column(name, justify="right", no_wrap=True)
    for name in ("streaming", "here", *(("code licence", "weights licence") if licences else ())):
        rows.add_column(name, no_wrap=True)
    for card in list_cards().values():
        rows.add_row(*(escape(cell) for cell in _cells(card, licences)))
    console.print(rows)
    notes = ["fps: codec frames a second; streams: how many x codes of each"]
    notes += ["streaming: how long the decoder waits; no audio: there is no decoder here"]
    if not licences:
        notes += [f"licences: tokenizers show NAME, or a terminal of {WIDE} columns"]
    console.print(*notes, sep="\n", highlight=False)


def _cells(card: "TokenizerCard", licences: bool) -> list[str]:
    """The row of a card, as many cells as there are columns."""
    from vocalmtp.tokenizers.registry import weights_folder

    spec = card.spec()
    return [
        card.name,
        card.kind.replace("_", "-"),
        f"{card.sample_rate / 1000:g}",
        f"{card.frame_rate:.4g}",
        _sizes(card),
        f"{spec.bits_per_second:.0f}",
        _wait(card),
        "yes" if weights_folder(card) else "no",
        *((card.licence.code, card.licence.weights) if licences else ()),
    ]


def _wait(card: "TokenizerCard") -> str:
    """How long the decoder of a card waits, if it has one that streams."""
    if not card.decodes:
        return "no audio"
    return "no" if card.lookahead is None else f"{card.lookahead * 1000:.0f} ms"


def _sizes(card: "TokenizerCard") -> str:
    """Streams and their sizes: "8 x 1024"; unlike ones are added."""
    sizes: dict[int, int] = {}
    for stream in card.stream_specs():
        sizes[stream.size] = sizes.get(stream.size, 0) + 1
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

    from vocalmtp.tokenizers import find_card

    card = find_card(name)
    facts = Table(title=f"Tokenizer {escape(name)}", title_justify="left", box=None)
    facts.show_header = False
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for key, value in _facts(card):
        facts.add_row(f"  {key}", escape(value))
    Console().print(facts)


def _facts(card: "TokenizerCard") -> list[tuple[str, str]]:
    """All that a card says, in words."""
    from vocalmtp.tokenizers.registry import how_to_get, weights_folder

    spec, folder = card.spec(), weights_folder(card)
    streams = ", ".join(
        f"{group.name} ({group.count} x {group.size}, {group.role})" for group in card.streams
    )
    wait = f"yes, {_wait(card)} look-ahead"
    if card.lookahead is None:
        wait = "not possible: it decodes whole utterances"
    chunks = "in pieces, into the same codes" if card.chunks else "whole, as long as memory allows"
    voice = "in the streams" if card.decodes else "not in the codes"
    return [
        ("type", card.type),
        ("kind", card.kind.replace("_", "-")),
        ("streams", streams),
        ("for a speech LM", ", ".join(card.use)),
        (
            "rate",
            f"{spec.frame_rate:g} frames/s of {spec.hop} samples, "
            f"{spec.bits_per_second:.0f} bit/s, {spec.sample_rate} Hz",
        ),
        ("voice", f"vector of {spec.speaker_dim}" if spec.speaker_dim else voice),
        ("audio from codes", "yes" if card.decodes else "no: there is no decoder, see the notes"),
        *([("streaming", wait)] if card.decodes else []),
        ("long audio", chunks),
        ("licence of code", card.licence.code),
        ("licence of weights", card.licence.weights),
        ("weights", card.weights),
        ("here", str(folder) if folder else f"no; {how_to_get(card)}"),
        ("paper", card.paper),
        ("notes", " ".join(card.notes.split())),
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
    typer.echo(f"{output}: audio of {count} utterances by {loaded.spec.name} ({loaded.spec.hash})")
