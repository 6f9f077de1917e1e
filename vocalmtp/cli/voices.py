"""`vocalmtp voices`: list the voices, or make one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vocalmtp.hub import DEFAULT_MODEL

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="A model that came with the package, or a model's folder."),
]

Consent = Annotated[
    bool,
    typer.Option(
        "--i-have-consent",
        help="The person in the recordings agreed to this voice; it is noted in what is written.",
    ),
]

app = typer.Typer(help="List the voices, or make one from a recording.")


@app.callback(invoke_without_command=True)
def voices(context: typer.Context, model: Model = DEFAULT_MODEL) -> None:
    """List the voices of a model and where they come from; 'make' makes one from a recording."""
    if context.invoked_subcommand is None:
        list_voices(model)


@app.command("list")
def list_voices(model: Model = DEFAULT_MODEL) -> None:
    """List the voices of a model, and where they come from."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from vocalmtp.hub import model_folder
    from vocalmtp.voices import load_voices

    found = load_voices(model_folder(model) / "voices")
    table = Table(
        "voice", "origin", title=f"Voices of {escape(model)}", title_justify="left", box=None
    )
    for voice in found.values():
        table.add_row(escape(voice.name), escape(voice.origin))
    console = Console()
    if found:
        console.print(table)
    else:
        console.print(escape(f"{model} has no voices of its own; give --voice a recording"))


@app.command("make")
def make(
    references: Annotated[
        list[Path],
        typer.Argument(help="Recordings of one person, 1 to 30 s each, the less noise the better."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The voice file to write, such as mine.safetensors."),
    ],
    model: Model = DEFAULT_MODEL,
    name: Annotated[
        str | None, typer.Option(help="What to call it.", show_default="the output's name")
    ] = None,
    i_have_consent: Consent = False,
) -> None:
    """Make a voice from recordings of a person who agreed to it.

    Examples:

    vocalmtp voices make me.wav -o mine.safetensors --i-have-consent

    vocalmtp tts "It is me." --voice mine.safetensors
    """
    from vocalmtp.hub import tokenizer_folder
    from vocalmtp.tokenizers import load_tokenizer
    from vocalmtp.voices import check_voice_path, make_voice, state_consent

    check_voice_path(output)
    consent = state_consent(i_have_consent)
    tokenizer = load_tokenizer(tokenizer_folder(model))
    voice = make_voice(references, tokenizer, name or output.stem, consent=consent)
    voice.save(output)
    print(f"{output}: voice '{voice.name}', {voice.origin}; consent {consent}", file=sys.stderr)
