"""`vocalmtp tokenizers`, `vocalmtp tokenize` and `vocalmtp detokenize`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.console import counter, print_facts, print_table, tell
from vocalmtp.cli.options import DeviceOptions, option
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.tokenizers import SpeechTokenizer, TokenizerCard, TokenizerSpec

WIDE = 128  # columns of a terminal that has room for the licences

app = typer.Typer(
    help="List the catalogue of speech tokenizers, show a card, or convert published weights.",
    invoke_without_command=True,
)


@app.callback()
def table(context: typer.Context) -> None:
    """List the catalogue of speech tokenizers; 'show NAME' prints a card.

    Example:

    vocalmtp tokenizers

    """
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from vocalmtp.tokenizers import list_cards

    console = Console()
    licences = not console.is_terminal or console.width >= WIDE
    header = ["name", "kind", "kHz", "fps", "streams", "bit/s", "streaming", "here"]
    header += ["code licence", "weights licence"] if licences else []
    rows = (_cells(card, licences) for card in list_cards().values())
    console = print_table(rows, header, dense=not licences)
    notes = ["fps: codec frames per second; streams: number x codebook size"]
    notes += ["streaming: look-ahead of the decoder; no audio: codes without a decoder"]
    if not licences:
        notes += ["semi: semi-decoupled"]
        notes += [f"licences: tokenizers show NAME, or a terminal of {WIDE} columns"]
    console.print(*notes, sep="\n", highlight=False)


def _cells(card: "TokenizerCard", licences: bool) -> list[str]:
    """The row of a card."""
    from vocalmtp.tokenizers.catalogue import rates_text, streaming_text, streams_text
    from vocalmtp.tokenizers.registry import weights_folder

    return [
        card.name,
        card.kind.replace("_", "-") if licences else card.kind.removesuffix("_decoupled"),
        rates_text(card) if licences else f"{card.sample_rate / 1000:g}",
        f"{card.frame_rate:.4g}",
        streams_text(card) if licences else streams_text(card).replace(" ", ""),
        f"{card.spec().bits_per_second:.0f}",
        streaming_text(card),
        "yes" if weights_folder(card) else "no",
        *((card.licence.code, card.licence.weights) if licences else ()),
    ]


@app.command()
def show(name: Annotated[str, typer.Argument(help="The name of a card.")]) -> None:
    """Print the card of a tokenizer.

    Example:

    vocalmtp tokenizers show mimi-8

    """
    from vocalmtp.tokenizers import find_card

    print_facts([("", _facts(find_card(name)))], f"Tokenizer {name}")


def _facts(card: "TokenizerCard") -> list[tuple[str, str]]:
    """Names and values of a card."""
    from vocalmtp.tokenizers.catalogue import licence_text, streaming_text
    from vocalmtp.tokenizers.registry import how_to_get, weights_folder

    spec, folder = card.spec(), weights_folder(card)
    streams = ", ".join(
        f"{group.name} ({group.count} x {group.size}, {group.role})" for group in card.streams
    )
    streaming = f"yes, {streaming_text(card)} look-ahead"
    if card.lookahead is None:
        streaming = "no: it decodes whole utterances"
    long = "in chunks, with the same codes" if card.chunks else "as a whole, as memory allows"
    voice = "in the streams" if card.decodes else "not in the codes"
    return [
        ("type", card.type),
        ("kind", card.kind.replace("_", "-")),
        ("streams", streams),
        ("for a speech LM", ", ".join(card.use)),
        (
            "rate",
            f"{spec.frame_rate:g} frames/s of {spec.hop} samples, "
            f"{spec.bits_per_second:.0f} bit/s, {spec.sample_rate} Hz"
            + ("" if spec.input_rate == spec.sample_rate else f" of {spec.input_rate} Hz"),
        ),
        ("voice", f"vector of {spec.speaker_dim}" if spec.speaker_dim else voice),
        ("decoder", "yes" if card.decodes else "no, see the notes"),
        *([("streaming", streaming)] if card.decodes else []),
        ("long audio", long),
        ("licence of code", card.licence.code),
        ("licence of weights", licence_text(card)),
        ("weights", card.weights),
        ("weights seen", "yes" if card.weights_seen else "no: tested with random weights"),
        ("on this machine", str(folder) if folder else f"no; {how_to_get(card)}"),
        ("paper", card.paper),
        ("notes", " ".join(card.notes.split())),
    ]


@app.command()
def convert(
    name: Annotated[str, typer.Argument(help="A card whose 'show' asks for a conversion.")],
    files: Annotated[list[Path], typer.Argument(help="All files of the published checkpoint.")],
    output: Annotated[Path, option("--output", "-o", help="The tokenizer folder to write.")],
) -> None:
    """Convert a published checkpoint to a tokenizer folder.

    Pickles are read as tensors only. All parameter names and shapes are compared first.

    Example:

    vocalmtp tokenizers convert facodec ns3_facodec_encoder.bin ns3_facodec_decoder.bin -o facodec

    """
    from vocalmtp.tokenizers import convert as conversion

    tokenizer = conversion.convert(name, files)
    tokenizer.save_pretrained(output)
    tell(f"{output}: tokenizer '{tokenizer.spec.name}' ({tokenizer.spec.hash})")
    warn_of_licence(tokenizer.spec)


def warn_of_licence(spec: "TokenizerSpec") -> None:
    """Print a warning if the weights are not for commercial use."""
    if spec.noncommercial:
        tell(f"tokenizer '{spec.name}': its weights are {spec.licence}: not for commercial use")


@dataclass(frozen=True, kw_only=True)
class CodecOptions(DeviceOptions):
    """A speech tokenizer and what it is applied to."""

    tokenizer: Annotated[
        str,
        option(
            "--tokenizer",
            "-t",
            help="NAME of a card or model, FOLDER, or NAME=FOLDER; see 'vocalmtp tokenizers'.",
        ),
    ] = DEFAULT_MODEL
    split: Annotated[str | None, option(help="Only this split.", show_default="all")] = None
    batch_size: Annotated[int, option(min=1, help="Utterances per batch.")] = 16

    def load(self) -> "SpeechTokenizer":
        """Load the tokenizer on its device. Raises InputError if it does not exist."""
        from vocalmtp.tokenizers import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer)
        warn_of_licence(tokenizer.spec)
        return tokenizer.to(self.torch_device())


@dataclass(frozen=True, kw_only=True)
class TokenizeOptions(CodecOptions):
    """Options of `vocalmtp tokenize`."""

    inputs: Annotated[
        list[Path],
        typer.Argument(help="JSONL manifests, corpus folders, audio files or folders of audio."),
    ]
    output: Annotated[Path, option("--output", "-o", help="The folder of the code shards.")]


def tokenize(options: TokenizeOptions) -> None:
    """Encode audio to code shards, the training data of a speech LM.

    Complete shards are kept: the same command continues an interrupted run.

    Example:

    vocalmtp tokenize corpus -o codes --tokenizer runs/tokenizer

    """
    from vocalmtp.data.manifest import read_inputs
    from vocalmtp.data.tokenize import tokenize_rows

    rows, tokenizer = read_inputs(options.inputs, options.split), options.load()
    with counter("tokenize") as show:
        count = tokenize_rows(
            rows, options.output, tokenizer, batch_size=options.batch_size, progress=show
        )
    spec = tokenizer.spec
    print(f"{options.output}: codes of {count} utterances by {spec.name} ({spec.hash})")


@dataclass(frozen=True, kw_only=True)
class DetokenizeOptions(CodecOptions):
    """Options of `vocalmtp detokenize`."""

    codes: Annotated[Path, typer.Argument(help="A folder of code shards.")]
    output: Annotated[Path, option("--output", "-o", help="The folder of the audio.")]
    format: Annotated[str, option(help="wav, flac, ogg, mp3 or opus.")] = "wav"


def detokenize(options: DetokenizeOptions) -> None:
    """Decode code shards to audio, one file per utterance.

    Existing files are kept: the same command continues an interrupted run.

    Example:

    vocalmtp detokenize codes -o wavs --tokenizer runs/tokenizer

    """
    from vocalmtp.data.tokenize import detokenize_shards

    tokenizer = options.load()
    with counter("detokenize") as show:
        count = detokenize_shards(
            options.codes,
            options.output,
            tokenizer,
            split=options.split,
            batch_size=options.batch_size,
            format=options.format,
            progress=show,
        )
    spec = tokenizer.spec
    print(f"{options.output}: audio of {count} utterances by {spec.name} ({spec.hash})")
