"""`vocalmtp tts`: its options, for one text (cli/single.py) and for a list (cli/bulk.py)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.cli import bulk, decoding, single
from vocalmtp.cli.voices import Model
from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.roles import Role


def _role(role: str, voice: str | None) -> "Role":
    """The card of a role; raises InputError if another voice is asked for as well."""
    from vocalmtp.roles import load_role

    if voice is not None:
        raise InputError(
            f"voice '{voice}': the role '{role}' has its own; leave one of them out",
            code="conflict",
        )
    return load_role(role)


def tts(
    text: Annotated[
        str | None, typer.Argument(help="What to say; - reads it from standard input.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write: .wav, .flac or .ogg. - pipes it to standard output.",
            show_default="speech.wav",
        ),
    ] = None,
    voice: Annotated[
        str | None,
        typer.Option(
            "--voice",
            "-v",
            help="Who speaks: a name from 'vocalmtp voices', a voice file (.safetensors), or a "
            "recording to imitate (1 to 30 s).",
            show_default="the model's own",
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            help="A role instead of a voice: a name from 'vocalmtp roles', or the YAML file of one."
        ),
    ] = None,
    model: Model = DEFAULT_MODEL,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed says it the same way; another one, otherwise.")
    ] = 0,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="0 and up. Lower is clearer, higher is livelier.", show_default="the model's"
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(help="Choose among the k likeliest tokens only.", show_default="the model's"),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Choose among the likeliest tokens that make up this share of the probability.",
            show_default="the model's",
        ),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the likeliest token; the seed has no say.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Write while speaking, and print when the first audio was there. With '-o -' this "
            "is PCM without a header: 16-bit, little-endian, mono.",
        ),
    ] = False,
    timestamps: Annotated[
        Path | None,
        typer.Option(
            help="Also write when each word is spoken: words.json, or subtitles words.srt."
        ),
    ] = None,
    drafts: decoding.Drafts = 0,
    draft_tree: decoding.DraftTree = None,
    accept: decoding.Accept = None,
    tolerance: decoding.Tolerance = None,
    tokens_per_step: decoding.TokensPerStep = None,
    statistics: Annotated[
        bool,
        typer.Option(
            "--statistics",
            help="Also tell, on standard error, of passes, steps, drafts kept and time by part.",
            rich_help_panel=decoding.PANEL,
        ),
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(help="wav, flac or ogg.", show_default="by the suffix of the output"),
    ] = None,
    show_text: Annotated[
        bool,
        typer.Option(
            "--show-text", help="Only print TEXT as it will be read out, a sentence a line."
        ),
    ] = False,
    input: bulk.Input = None,
    output_dir: bulk.OutputDir = None,
    batch_size: bulk.BatchSize = "auto",
    workers: bulk.Workers = 1,
    engine: bulk.Engine = "local",
    ray_address: bulk.RayAddress = None,
    verify: bulk.Verify = None,
    dry_run: bulk.DryRun = False,
    resume: bulk.Resume = True,
) -> int:
    """Say TEXT, or every item of a list.

    Numbers, dates, money and abbreviations are read out; long texts are spoken by the sentence.

    Examples:

    vocalmtp tts "It costs $5.20." -o price.wav --voice rms

    vocalmtp tts "Welcome aboard." -o aboard.wav --role captain

    cat story.txt | vocalmtp tts - -o story.flac --timestamps story.srt

    vocalmtp tts "Live." --stream -o - | aplay -f S16_LE -r 16000

    vocalmtp tts --input lines.txt --output-dir out --workers 4
    """
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    options = {key: value for key, value in options.items() if value is not None}
    if greedy:
        options["greedy"] = True
    how = decoding.asked(drafts, accept, tolerance, tokens_per_step, draft_tree)
    who: str | Role | None = voice if role is None else _role(role, voice)
    if input is not None:
        bulk.check_with_list(
            text,
            output_dir,
            output=output,
            stream=stream,
            timestamps=timestamps,
            show_text=show_text,
            statistics=statistics,
        )
        return bulk.speak_list(
            input=input,
            output=output_dir,
            model=model,
            voice=who,
            seed=seed,
            sampling=options,
            decoding=how,
            format=format or "wav",
            batch_size=batch_size,
            workers=workers,
            engine=engine,
            ray_address=ray_address,
            verify=verify,
            dry_run=dry_run,
            overwrite=not resume,
        )
    bulk.check_without_list(
        output_dir=output_dir, verify=verify is not None, dry_run=dry_run, overwrite=not resume
    )
    if text is None:
        raise InputError("text: is missing; give TEXT, or a list with --input", code="missing")
    if show_text:
        return single.show_text(text)
    output = "speech.wav" if output is None else output
    single.speak_text(
        text,
        output,
        who,
        model,
        seed,
        options,
        stream,
        timestamps,
        format,
        decoding=how,
        statistics=statistics,
    )
    return 0
