"""`vocalmtp tts` and `vocalmtp voices`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.catalogue import DEFAULT_MODEL
from vocalmtp.cli import bulk
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from vocalmtp.audio import Audio

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="A model that came with the package, or a model's folder."),
]

voices_app = typer.Typer(help="List the voices, or make one from a recording.")


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
    format: Annotated[
        str | None,
        typer.Option(help="wav, flac or ogg.", show_default="by the suffix of the output"),
    ] = None,
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

    cat story.txt | vocalmtp tts - -o story.flac --timestamps story.srt

    vocalmtp tts "Live." --stream -o - | aplay -f S16_LE -r 16000

    vocalmtp tts --input lines.txt --output-dir out --workers 4
    """
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    options = {key: value for key, value in options.items() if value is not None}
    if greedy:
        options["greedy"] = True
    if input is not None:
        bulk.check_with_list(text, output_dir, output=output, stream=stream, timestamps=timestamps)
        return bulk.speak_list(
            input=input,
            output=output_dir,
            model=model,
            voice=voice,
            seed=seed,
            sampling=options,
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
        raise InputError("text: is missing; give TEXT, or a list with --input")
    _speak_text(
        text, output or "speech.wav", voice, model, seed, options, stream, timestamps, format
    )
    return 0


def _speak_text(
    text: str,
    output: str,
    voice: str | None,
    model: str,
    seed: int,
    options: dict[str, Any],
    stream: bool,
    timestamps: Path | None,
    format: str | None,
) -> None:
    from vocalmtp.text import normalize
    from vocalmtp.timestamps import save_timestamps, timestamps_format

    if text == "-":
        text = _read_stdin()
    # What is wrong is said before the model is loaded.
    normalize(text)
    format = _check_output(output, format, stream)
    if timestamps is not None:
        timestamps_format(timestamps)

    import torch

    from vocalmtp.synthesis import load

    begin = time.perf_counter()
    torch.set_num_threads(1)  # a step is small: sharing it between threads takes twice the time
    speaker = load(model)
    if timestamps is not None and not speaker.has_word_times:
        raise InputError(f"timestamps: model '{model}' has no text track; use one that has")
    loaded = time.perf_counter()
    with _open_output(output, format, stream, speaker.sample_rate) as write:
        if stream:
            chunks = speaker.stream(text, voice, seed, **options)
        else:
            chunks = iter([speaker(text, voice, seed, **options)])
        audio = _write_all(chunks, write, loaded if stream else None)
        if timestamps is not None:
            save_timestamps(audio.words, timestamps)
    spent = time.perf_counter() - loaded
    _tell(
        f"{'standard output' if output == '-' else output}: {audio.duration:.2f} s of speech "
        f"in {spent:.2f} s, after {loaded - begin:.2f} s to load the model"
    )
    if audio.truncated:
        _tell("warning: the model did not come to an end by itself; the speech was cut off")


def _read_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError("text '-': standard input is not UTF-8; convert it first") from error


def _check_output(output: str, format: str | None, stream: bool) -> str:
    """The format to write, or InputError."""
    from vocalmtp.audio import check_format, output_format

    if output != "-":
        return output_format(Path(output), format)
    if sys.stdout.isatty():
        raise InputError("output '-': is the terminal; pipe it into a player, or name a file")
    if stream and format is not None:
        raise InputError(
            f"format '{format}': a streamed pipe is PCM without a header; leave it out"
        )
    return check_format(format or "wav")


@contextmanager
def _open_output(
    output: str, format: str, stream: bool, sample_rate: int
) -> Iterator[Callable[["np.ndarray"], object]]:
    """A function that writes float samples [N] to where they were asked for."""
    from vocalmtp.audio import Audio, audio_writer, to_pcm

    if output != "-":
        with audio_writer(output, sample_rate, format) as write:
            yield write
        return
    pipe = sys.stdout.buffer
    if stream:
        yield lambda samples: (pipe.write(to_pcm(samples)), pipe.flush())
    else:
        yield lambda samples: pipe.write(Audio(samples, sample_rate).to_bytes(format))
        pipe.flush()


def _write_all(
    chunks: Iterator["Audio"], write: Callable[["np.ndarray"], object], start: float | None
) -> "Audio":
    """Write the chunks as they come and return them as one; `start` asks for the latency."""
    from vocalmtp.audio import join

    parts: list[Audio] = []
    for chunk in chunks:
        write(chunk.samples)
        if start is not None and not parts:
            _tell(f"first audio after {(time.perf_counter() - start) * 1000:.0f} ms")
        parts.append(chunk)
    return join(parts)


def _tell(message: str) -> None:
    print(message, file=sys.stderr)


@voices_app.callback(invoke_without_command=True)
def voices(context: typer.Context, model: Model = DEFAULT_MODEL) -> None:
    """List the voices of a model and where they come from; 'make' makes one from a recording."""
    if context.invoked_subcommand is None:
        list_voices(model)


@voices_app.command("list")
def list_voices(model: Model = DEFAULT_MODEL) -> None:
    """List the voices of a model, and where they come from."""
    from rich.console import Console
    from rich.table import Table

    from vocalmtp.catalogue import model_folder
    from vocalmtp.voices import load_voices

    found = load_voices(model_folder(model) / "voices")
    table = Table("voice", "origin", title=f"Voices of {model}", title_justify="left", box=None)
    for voice in found.values():
        table.add_row(voice.name, voice.origin)
    console = Console()
    if found:
        console.print(table)
    else:
        console.print(f"{model} has no voices of its own; give --voice a recording")


@voices_app.command("make")
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
) -> None:
    """Make a voice from recordings of a person.

    Only make voices of people who agreed to it.

    Example:

    vocalmtp voices make me.wav -o mine.safetensors && vocalmtp tts "It is me." -v mine.safetensors
    """
    from vocalmtp.catalogue import tokenizer_folder
    from vocalmtp.tokenizers import load_tokenizer
    from vocalmtp.voices import check_voice_path, make_voice

    check_voice_path(output)
    voice = make_voice(references, load_tokenizer(tokenizer_folder(model)), name or output.stem)
    voice.save(output)
    _tell(f"{output}: voice '{voice.name}', {voice.origin}")
