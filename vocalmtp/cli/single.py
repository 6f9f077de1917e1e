"""`vocalmtp tts TEXT`: one text of any length into a file or a pipe."""

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from vocalmtp.audio.io import Audio, Word
    from vocalmtp.decoding.options import Decoding
    from vocalmtp.roles import Role
    from vocalmtp.tts import TTS

LONG = 60  # words of a text that has a progress bar
LONGEST = 1 << 24  # letters of standard input: a pipe may have no end


@dataclass
class Said:
    """What was written so far; the samples are gone."""

    words: list["Word"] = field(default_factory=list)
    seconds: float = 0.0
    truncated: bool = False


def show_text(text: str) -> int:
    """Print what would be said, a sentence a line, and return the exit status."""
    from vocalmtp.text import normalize, split_sentences

    print("\n".join(split_sentences(normalize(_read_stdin() if text == "-" else text))))
    return 0


def speak_text(
    text: str,
    output: str,
    voice: "str | Role | None",
    model: str,
    seed: int,
    options: dict[str, Any],
    stream: bool,
    timestamps: Path | None,
    format: str | None,
    *,
    decoding: "Decoding",
    statistics: bool,
) -> None:
    from vocalmtp.audio.timestamps import save_timestamps, timestamps_format
    from vocalmtp.text import normalize
    from vocalmtp.voices import consent_note

    if text == "-":
        text = _read_stdin()
    # What is wrong is said before the model is loaded.
    normalize(text)
    format = _check_output(output, format, stream)
    if timestamps is not None:
        timestamps_format(timestamps)

    begin = time.perf_counter()
    speaker = load_speaker(model).using(decoding)
    if timestamps is not None and not speaker.has_word_times:
        raise InputError(
            f"timestamps: model '{model}' has no text track; use one that has", code="missing"
        )
    loaded = time.perf_counter()
    who = speaker.find_voice(voice)
    with (
        _open_output(output, format, stream, speaker.sample_rate) as write,
        _bar(text, speaker) as show,
    ):
        if stream:
            chunks = speaker.stream(text, who, seed, **options)
        elif output == "-":  # a WAV in a pipe has to say its length first
            chunks = iter([speaker(text, who, seed, **options)])
        else:
            chunks = speaker.sentences(text, who, seed, **options)
        said = _write_all(chunks, write, show, loaded if stream else None)
        if timestamps is not None:
            save_timestamps(said.words, timestamps)
    spent = time.perf_counter() - loaded
    _tell(
        f"{'standard output' if output == '-' else output}: {said.seconds:.2f} s of speech "
        f"in {spent:.2f} s, after {loaded - begin:.2f} s to load the model"
    )
    if statistics:
        for line in speaker.statistics.report_lines():
            _tell(line)
    if note := consent_note(who):
        _tell(note)
    if said.truncated:
        _tell("warning: the model did not come to an end by itself; the speech was cut off")


def load_speaker(model: str) -> "TTS":
    """The model, with garbage collection off meanwhile: what is imported stays, and to look through
    it again and again takes a fifth of the whole process's time.
    """
    gc.disable()
    try:
        import torch

        from vocalmtp.tts import load

        torch.set_num_threads(1)  # a step is small: sharing it between threads takes twice the time
        return load(model)
    finally:
        gc.enable()
        gc.freeze()


def _read_stdin() -> str:
    try:
        text = sys.stdin.read(LONGEST + 1)
    except UnicodeDecodeError as error:
        raise InputError(
            "text '-': standard input is not UTF-8; convert it first", code="invalid_value"
        ) from error
    if len(text) > LONGEST:
        raise InputError(
            f"text '-': is longer than {LONGEST >> 20} million letters; give it in parts",
            code="wrong_length",
        )
    return text


def _check_output(output: str, format: str | None, stream: bool) -> str:
    """The format to write, or InputError."""
    from vocalmtp.audio.io import check_format, output_format

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
    output: str, format: str, stream: bool, sample_rate: int
) -> Iterator[Callable[["np.ndarray"], object]]:
    """A function that writes float samples [N] to where they were asked for."""
    from vocalmtp.audio.io import Audio, audio_writer, to_pcm

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
    chunks: Iterator["Audio"],
    write: Callable[["np.ndarray"], object],
    show: Callable[[Said], object],
    start: float | None,
) -> Said:
    """Write the chunks as they come, however many; `start` asks for the latency of the first."""
    from vocalmtp.audio.io import later

    said = Said()
    for chunk in chunks:
        write(chunk.samples)
        if start is not None and not said.seconds:
            _tell(f"first audio after {(time.perf_counter() - start) * 1000:.0f} ms")
        said.words += later(chunk.words, said.seconds)
        said.seconds += chunk.duration
        said.truncated |= chunk.truncated
        show(said)
    return said


@contextmanager
def _bar(text: str, speaker: "TTS") -> Iterator[Callable[[Said], object]]:
    """A function that shows how far it is in a long text, if somebody is there to look."""
    from rich import progress as bars
    from rich.console import Console

    from vocalmtp.text import normalize, word_spans

    words = len(word_spans(normalize(text)))
    console = Console(stderr=True)
    columns = (
        bars.BarColumn(),
        bars.TextColumn("{task.fields[seconds]:.0f} s of speech"),
        bars.TimeRemainingColumn(),
    )
    hidden = words < LONG or not console.is_terminal
    with bars.Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=words if speaker.has_word_times else None, seconds=0.0)
        yield lambda said: bar.update(task, completed=len(said.words), seconds=said.seconds)


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
