"""`vocalmtp tts`: a text of any length to a file or a pipe."""

import gc
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.cli.console import progress_bar, tell
from vocalmtp.cli.options import (
    DECODING,
    DecodingOptions,
    ModelOptions,
    SamplingOptions,
    VoiceOptions,
    option,
)
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from vocalmtp.audio.io import Audio, Word
    from vocalmtp.tts import TTS

PROGRESS_WORDS = 60  # texts from this length on have a progress bar
MAX_CHARACTERS = 1 << 24  # of standard input, which may be endless


@dataclass(frozen=True, kw_only=True)
class TTSOptions(ModelOptions, VoiceOptions, SamplingOptions, DecodingOptions):
    """Options of `vocalmtp tts`."""

    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")]
    output: Annotated[
        str,
        option(
            "--output",
            "-o",
            help="The file to write: .wav, .flac, .ogg, .mp3 or .opus. - is standard output.",
        ),
    ] = "speech.wav"
    stream: Annotated[
        bool,
        option(
            "--stream",
            help="Write audio while it is generated, and report the latency of the first. With "
            "'-o -' it is PCM without a header: 16-bit, little-endian, mono.",
        ),
    ] = False
    timestamps: Annotated[
        Path | None, option(help="Also write word times (.json) or subtitles (.srt, .vtt).")
    ] = None
    statistics: Annotated[
        bool,
        option(
            "--statistics",
            panel=DECODING,
            help="Report forward passes, steps, accepted drafts and time by part.",
        ),
    ] = False
    format: Annotated[
        str | None,
        option(help="wav, flac, ogg, mp3 or opus.", show_default="by the suffix of the output"),
    ] = None
    show_text: Annotated[
        bool, option("--show-text", help="Only print the normalized text, one sentence per line.")
    ] = False
    unknown_characters: Annotated[
        str,
        option(
            metavar="refuse|skip|name",
            help="Words in a script that is not read: an error, left out with a warning, or each "
            "character by its name.",
        ),
    ] = "refuse"


@dataclass
class Written:
    """What has been written so far; the samples are not kept."""

    words: list["Word"] = field(default_factory=list)
    seconds: float = 0.0
    truncated: bool = False


def tts(options: TTSOptions) -> None:
    """Synthesize TEXT.

    Numbers, dates, money and abbreviations are read out; long texts are synthesized sentence by
    sentence. For lists of texts, see 'vocalmtp batch'.

    Examples:

    vocalmtp tts "It costs $5.20." -o price.wav --voice rms

    vocalmtp tts "Welcome aboard." -o aboard.wav --role captain

    cat story.txt | vocalmtp tts - -o story.flac --timestamps story.srt

    vocalmtp tts "Live." --stream -o - | aplay -f S16_LE -r 16000

    """
    from vocalmtp.text import split_sentences

    text = read_stdin() if options.text == "-" else options.text
    normalized = _normalize(text, options.unknown_characters)  # before the model is loaded
    if options.show_text:
        print("\n".join(split_sentences(normalized)))
        return
    if options.unknown_characters != "refuse":
        text = normalized
    decoding, speaker = options.decoding(), options.speaker()
    _check_output_is_not_reference(options)
    if options.timestamps is not None:
        from vocalmtp.audio.timestamps import timestamps_format

        timestamps_format(options.timestamps)
    format = _check_output(options.output, options.format, options.stream)
    start = time.perf_counter()
    model = load_tts(options.model, options.device).using(decoding)
    if options.timestamps is not None and not model.has_word_times:
        raise InputError(
            f"timestamps: model '{options.model}' has no text track; use one that has",
            code="unsupported",
        )
    _synthesize(options, text, model, model.find_voice(speaker), format, start)


def _normalize(text: str, unknown_characters: str) -> str:
    from vocalmtp.text import normalize

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        normalized = normalize(text, unknown_characters)
    for warning in caught:
        tell(f"warning: {warning.message}")
    return normalized


def _synthesize(
    options: TTSOptions, text: str, model: "TTS", voice: Any, format: str, start: float
) -> None:
    from vocalmtp.audio.timestamps import save_timestamps
    from vocalmtp.voices import consent_note

    loaded, sampling = time.perf_counter(), options.sampling()
    with (
        _open_output(options, format, model.sample_rate) as write,
        _text_progress(text, model) as show,
    ):
        if options.stream:
            chunks = model.stream(text, voice, options.seed, **sampling)
        elif options.output == "-":  # the header of a WAV in a pipe holds its length
            chunks = iter([model(text, voice, options.seed, **sampling)])
        else:
            chunks = model.sentences(text, voice, options.seed, **sampling)
        written = _write_all(chunks, write, show, loaded if options.stream else None)
        if options.timestamps is not None:
            save_timestamps(written.words, options.timestamps)
    spent = time.perf_counter() - loaded
    tell(
        f"{'standard output' if options.output == '-' else options.output}: "
        f"{written.seconds:.2f} s of speech in {spent:.2f} s, after {loaded - start:.2f} s to load "
        "the model"
    )
    if options.statistics:
        for line in model.statistics.report_lines():
            tell(line)
    if note := consent_note(voice):
        tell(note)
    if options.seed and not sampling and model.card.get("sampling", {}).get("greedy"):
        tell("note: the model decodes greedily, so --seed has no effect; give --temperature")
    if written.truncated:
        tell("warning: the limit of steps was reached before the end; the speech is truncated")


def load_tts(model: str, device: str = "cpu") -> "TTS":
    """Load a model on one thread, with garbage collection suspended.

    Imported modules stay: scanning them repeatedly takes a fifth of the start-up time.
    """
    gc.disable()
    try:
        import torch

        from vocalmtp.tts import load

        torch.set_num_threads(1)  # a step is too small to be split between threads
        return load(model, device=device)
    finally:
        gc.enable()
        gc.freeze()


def read_stdin() -> str:
    """Read a text in UTF-8 from standard input. Raises InputError if it is not one."""
    data = sys.stdin.buffer.read(4 * MAX_CHARACTERS + 1)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            "text '-': standard input is not UTF-8; convert it first", code="invalid_value"
        ) from error
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"text '-': is longer than {MAX_CHARACTERS >> 20} million characters; split it",
            code="wrong_length",
        )
    return text


def _check_output_is_not_reference(options: TTSOptions) -> None:
    if options.voice is None or options.output == "-":
        return
    voice, output = Path(options.voice), Path(options.output)
    if voice.is_file() and output.exists() and voice.samefile(output):
        raise InputError(
            f"output '{output}': is the reference recording, which would be overwritten; "
            "choose another",
            code="conflict",
        )


def _check_output(output: str, format: str | None, stream: bool) -> str:
    """The format to write. Raises InputError if it cannot be written there."""
    from vocalmtp.audio.formats import check_format, output_format

    if output != "-":
        return output_format(Path(output), format)
    if sys.stdout.isatty():
        raise InputError(
            "output '-': is the terminal; pipe it into a player, or name a file",
            code="invalid_value",
        )
    if stream and format is not None:
        raise InputError(
            f"format '{format}': a streamed pipe is PCM without a header; leave it out",
            code="conflict",
        )
    return check_format(format or "wav")


@contextmanager
def _open_output(
    options: TTSOptions, format: str, sample_rate: int
) -> Iterator[Callable[["np.ndarray"], object]]:
    """A function that writes float samples [N] to the output."""
    from vocalmtp.audio.formats import audio_writer, live_writer, to_pcm
    from vocalmtp.audio.io import Audio

    if options.output != "-":
        writer = live_writer if options.stream else audio_writer
        with writer(options.output, sample_rate, format) as write:
            yield write
        return
    pipe = sys.stdout.buffer
    if options.stream:
        yield lambda samples: (pipe.write(to_pcm(samples)), pipe.flush())
    else:
        yield lambda samples: pipe.write(Audio(samples, sample_rate).to_bytes(format))
        pipe.flush()


def _write_all(
    chunks: Iterator["Audio"],
    write: Callable[["np.ndarray"], object],
    show: Callable[[Written], object],
    start: float | None,
) -> Written:
    """Write chunks as they come; with `start`, report the latency of the first."""
    from vocalmtp.audio.io import shift_words

    written = Written()
    for chunk in chunks:
        write(chunk.samples)
        if start is not None and not written.seconds:
            tell(f"first audio after {(time.perf_counter() - start) * 1000:.0f} ms")
        written.words += shift_words(chunk.words, written.seconds)
        written.seconds += chunk.duration
        written.truncated |= chunk.truncated
        show(written)
    return written


@contextmanager
def _text_progress(text: str, model: "TTS") -> Iterator[Callable[[Written], object]]:
    """A function that shows the progress of a long text."""
    from rich.progress import TextColumn

    words = len(text.split())
    column = TextColumn("{task.fields[seconds]:.0f} s of speech")
    with progress_bar(column, hidden=words < PROGRESS_WORDS) as bar:
        task = bar.add_task("", total=words if model.has_word_times else None, seconds=0.0)
        yield lambda done: bar.update(task, completed=len(done.words), seconds=done.seconds)
