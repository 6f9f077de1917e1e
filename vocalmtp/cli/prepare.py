"""`vocalmtp prepare`: recordings with transcripts to a corpus to train on."""

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    folder: Annotated[
        Path,
        typer.Argument(
            help="x.wav beside x.txt in any depth; or LJSpeech (metadata.csv and wavs/); or "
            "LibriTTS (speaker/chapter/x.wav beside x.normalized.txt)."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The corpus folder to write.")],
    layout: Annotated[
        str | None,
        typer.Option(help="pairs, ljspeech or libritts.", show_default="what it looks like"),
    ] = None,
    voice: Annotated[
        str | None,
        typer.Option(help="The speaker's name.", show_default="one for each folder of a speaker"),
    ] = None,
    valid: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share that is held out for validation.")
    ] = 0.05,
    shortest: Annotated[float, typer.Option(min=0, help="Seconds of speech.")] = 0.4,
    longest: Annotated[float, typer.Option(min=0.1, help="Seconds of speech.")] = 20.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each keeps one core busy.")] = 1,
) -> None:
    """Check, trim and align the recordings in FOLDER, and write the manifest that training reads.

    What cannot be used is left out and listed with its reason in report.json. Started again, it
    goes on where it stopped and looks only at what has changed.

    Example:

    vocalmtp prepare my_recordings -o corpus --voice anna
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from vocalmtp.data.prepare import RecordingLimits
    from vocalmtp.data.prepare import prepare as prepare_corpus

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    screen = Console(stderr=True)
    shown = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    with shown as bar:
        task = bar.add_task("prepare", total=None)
        report = prepare_corpus(
            folder,
            output,
            layout=layout,
            voice=voice,
            valid=valid,
            limits=RecordingLimits(shortest=shortest, longest=longest),
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for line in report.lines():
        typer.echo(line, err=True)
    typer.echo(f"{output}: next: vocalmtp tokenize {output} -o codes")
