"""`vocalmtp tts`: a text of any length to a file or a pipe."""

import gc
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.cli.audio_output import OutputOptions
from vocalmtp.cli.console import progress_bar, tell
from vocalmtp.cli.options import (
    DECODING,
    DecodingOptions,
    ModelOptions,
    ReadingOptions,
    SamplingOptions,
    VoiceOptions,
    option,
)
from vocalmtp.cli.standard_input import FollowedText, read_text
from vocalmtp.engines.base import AUTO
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from vocalmtp.audio.io import Audio, Word
    from vocalmtp.decoding.options import Decoding
    from vocalmtp.decoding.reading import Sentence, TextReader
    from vocalmtp.roles import Role
    from vocalmtp.tts import TTS
    from vocalmtp.voices import Voice

GRAPHS_UNFIT = ("damaged", "mismatch", "unsupported")  # errors after which torch is tried
PROGRESS_WORDS = 60  # texts from this length on have a progress bar


@dataclass(frozen=True, kw_only=True)
class TTSOptions(
    ModelOptions, OutputOptions, VoiceOptions, ReadingOptions, SamplingOptions, DecodingOptions
):
    """Options of `vocalmtp tts`."""

    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")]
    follow: Annotated[
        bool,
        option(
            "--follow",
            help="With - as TEXT: speak standard input while it is being written, clause by clause, "
            "without words that cannot be read. Implies --stream.",
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
    show_text: Annotated[
        bool, option("--show-text", help="Only print the normalized text, one sentence per line.")
    ] = False
    phones: Annotated[
        bool, option("--phones", help="With --show-text: the phones of the words, in IPA.")
    ] = False


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

    vocalmtp tts "It costs $5.20." -o price.wav --voice daniel

    vocalmtp tts "Welcome aboard." -o aboard.wav --role captain

    cat story.txt | vocalmtp tts - -o story.flac --timestamps story.srt

    vocalmtp tts "Live." --stream -o - | aplay -f S16_LE -r 24000

    ollama run llama3.2 "A story" | vocalmtp tts --follow - -o - | aplay -f S16_LE -r 24000

    """
    if options.follow:
        _follow(options)
        return
    text = read_text(options.text)
    from vocalmtp.loading import reads_any_language

    reader = replace(options.reader(), plain=reads_any_language(options.model))
    if options.phones and not options.show_text:
        raise InputError("phones: is for --show-text; give both", code="conflict")
    with _told_warnings():
        sentences = reader.sentences(text)  # before the model is loaded
        if options.show_text:
            print("\n".join(_shown(sentence, options.phones) for sentence in sentences))
            return
        if _is_file(text):
            tell(f"note: the name is spoken; for its content: vocalmtp tts - < {text}")
    _load_and_synthesize(options, text, reader)


def _follow(options: TTSOptions) -> None:
    """Speak standard input while it is being written."""
    if options.text != "-":
        raise InputError(
            f"follow: reads standard input, not '{options.text:.40}'; give - as the text",
            code="conflict",
        )
    for name in ("show_text", "unknown_characters"):
        if (value := getattr(options, name)) != getattr(TTSOptions, name):
            raise InputError(
                f"{name} '{value}': does not go with --follow; leave it out", code="conflict"
            )
    text = FollowedText()
    written = _load_and_synthesize(replace(options, stream=True), text, options.reader())
    if text.error is not None:  # what came before it was spoken
        raise text.error
    if not written.seconds:
        raise InputError("text '-': has nothing to say; pipe a text in", code="empty")


def _load_and_synthesize(
    options: TTSOptions, text: str | FollowedText, reader: "TextReader"
) -> Written:
    decoding, speaker, _ = options.decoding(), options.speaker(), options.sampling()
    if options.timestamps is not None:
        from vocalmtp.audio.timestamps import timestamps_format

        timestamps_format(options.timestamps)
    format = options.check_output(options.voice)
    start = time.perf_counter()
    model, voice = _load_with_voice(options, decoding, reader, speaker)
    if options.timestamps is not None and not model.has_word_times:
        raise InputError(
            f"timestamps: model '{options.model}' has no text track; use one that has",
            code="unsupported",
        )
    return _synthesize(options, text, model, voice, format, start)


def _load_with_voice(
    options: TTSOptions,
    decoding: "Decoding",
    reader: "TextReader",
    speaker: "str | Role | None",
) -> "tuple[TTS, Voice | None]":
    """Load the model and the voice: unless an engine is given, on onnxruntime if it can run both.

    That starts in a third of the time and is faster for one text at a time.
    """

    def loaded(engine: str) -> "tuple[TTS, Voice | None]":
        runtime = options.runtime() | {"engine": engine}
        model = load_tts(options.model, **runtime).using(decoding, reader)
        return model, model.find_voice(speaker)

    if options.engine == AUTO and options.device == "cpu" and _has_graphs(options.model):
        try:
            return loaded("onnx")
        except InputError as error:
            if error.code not in GRAPHS_UNFIT:
                raise
    return loaded(options.engine)


def _has_graphs(model: str) -> bool:
    """Whether a model has graphs, and onnxruntime is installed. Raises InputError if it is missing."""
    from vocalmtp.hub import model_folder
    from vocalmtp.onnx.manifest import MANIFEST

    return find_spec("onnxruntime") is not None and (model_folder(model) / MANIFEST).is_file()


def _shown(sentence: "Sentence", phones: bool) -> str:
    """The normalized text of a sentence; with `phones` in IPA, as models with phones read it."""
    if not phones:
        return sentence.text
    from vocalmtp.text.pronunciation import phonetic

    return phonetic(sentence.text, sentence.phones)


@contextmanager
def _told_warnings() -> Iterator[None]:
    """Print warnings as lines, once each; they are not repeated when the text is read again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        tell(f"warning: {message}")
    warnings.filterwarnings("ignore", message="text", category=UserWarning)


def _is_file(text: str) -> bool:
    """Whether a text looks like a file's name, and is one."""
    if len(text) > 255 or "." not in text or "\n" in text:
        return False
    with suppress(OSError, ValueError):
        return Path(text).is_file()
    return False


def _synthesize(
    options: TTSOptions,
    text: str | FollowedText,
    model: "TTS",
    voice: Any,
    format: str,
    start: float,
) -> Written:
    from vocalmtp.audio.timestamps import save_timestamps
    from vocalmtp.voices import consent_note

    loaded, sampling = time.perf_counter(), options.sampling()
    with (
        options.open_output(format, model.sample_rate) as write,
        _text_progress(text, model) as show,
    ):
        live = options.stream or options.play or isinstance(text, FollowedText)
        speak: Any = model.stream if live else model.sentences
        reading = {name: getattr(options, name) for name in ("language", "instructions", "speed")}
        chunks = speak(text, voice, options.seed, **reading, **sampling)
        begin = partial(_begin, text, loaded) if options.stream else None
        written = _write_all(chunks, write, show, begin)
        if options.timestamps is not None:
            save_timestamps(written.words, options.timestamps)
    spent = time.perf_counter() - loaded
    tell(
        f"{options.name}: {written.seconds:.2f} s of speech in {spent:.2f} s, after "
        f"{loaded - start:.2f} s to load the model"
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
    return written


def _begin(text: str | FollowedText, loaded: float) -> float:
    """When the text was there, by `time.perf_counter`."""
    return text.begin or loaded if isinstance(text, FollowedText) else loaded


def load_tts(model: str, device: str = "cpu", **runtime: Any) -> "TTS":
    """Load a model as `vocalmtp.load`, with garbage collection suspended.

    Imported modules stay: scanning them repeatedly takes a fifth of the start-up time.
    """
    gc.disable()
    try:
        from vocalmtp.loading import load

        return load(model, device, **runtime)
    finally:
        gc.enable()
        gc.freeze()


def _write_all(
    chunks: Iterator["Audio"],
    write: Callable[["np.ndarray"], object],
    show: Callable[[Written], object],
    begin: Callable[[], float] | None,
) -> Written:
    """Write chunks as they come; with `begin`, report the latency of the first."""
    from vocalmtp.audio.io import shift_words

    written = Written()
    for chunk in chunks:
        write(chunk.samples)
        if begin is not None and not written.seconds:
            tell(f"first audio after {(time.perf_counter() - begin()) * 1000:.0f} ms")
        written.words += shift_words(chunk.words, written.seconds)
        written.seconds += chunk.duration
        written.truncated |= chunk.truncated
        show(written)
    return written


@contextmanager
def _text_progress(text: str | FollowedText, model: "TTS") -> Iterator[Callable[[Written], object]]:
    """A function that shows the progress of a long text."""
    from rich.progress import TextColumn

    words = len(text.split()) if isinstance(text, str) else 0
    column = TextColumn("{task.fields[seconds]:.0f} s of speech")
    with progress_bar(column, hidden=words < PROGRESS_WORDS) as bar:
        task = bar.add_task("", total=words if model.has_word_times else None, seconds=0.0)
        yield lambda done: bar.update(task, completed=len(done.words), seconds=done.seconds)
