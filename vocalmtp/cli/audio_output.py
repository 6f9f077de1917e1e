"""Where `vocalmtp tts` writes audio: a file, a pipe, the loudspeaker, at the chosen sample rate."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vocalmtp.cli.options import option
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from vocalmtp.audio.formats import Write

DEFAULT_OUTPUT = "speech.wav"


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The file, pipe or loudspeaker, and the format."""

    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            help="The file to write: .wav, .flac, .ogg, .mp3 or .opus. - is standard output.",
            show_default=f"{DEFAULT_OUTPUT}; no file with --play",
        ),
    ] = None
    format: Annotated[
        str | None,
        option(help="wav, flac, ogg, mp3 or opus.", show_default="by the suffix of the output"),
    ] = None
    sample_rate: Annotated[
        int | None, option(min=1, help="Of the output in Hz.", show_default="the model's")
    ] = None
    play: Annotated[
        bool,
        option("--play", help="Play the audio while it is generated; needs the extra 'terminal'."),
    ] = False
    stream: Annotated[
        bool,
        option(
            "--stream",
            help="Write audio while it is generated, and report the latency of the first. With "
            "'-o -' it is PCM without a header: 16-bit, little-endian, mono.",
        ),
    ] = False

    @property
    def target(self) -> str | None:
        """The file, "-" for standard output, or None for the loudspeaker alone."""
        return DEFAULT_OUTPUT if self.output is None and not self.play else self.output

    @property
    def name(self) -> str:
        """What messages call the output."""
        return {"-": "standard output", None: "loudspeaker"}.get(self.target) or str(self.target)

    def check_output(self, reference: str | None) -> str:
        """Return the format to write, of files at the sample rate.

        Args:
            reference: the voice, which may be a recording.

        Raises:
            InputError: the output cannot be written, or it would overwrite the reference.

        """
        from vocalmtp.audio.formats import check_format, check_rate, output_format
        from vocalmtp.audio.playback import sounddevice

        if self.play:
            sounddevice()
        format = check_format(self.format or "wav")
        if self.target == "-":
            self._check_pipe()
        elif self.target is not None:
            _check_not_reference(Path(self.target), reference)
            format = output_format(Path(self.target), self.format)
        if self.sample_rate is not None:
            check_rate(self.sample_rate, format)
        return format

    def _check_pipe(self) -> None:
        if sys.stdout.isatty():
            raise InputError(
                "output '-': is the terminal; pipe it into a player, or name a file",
                code="invalid_value",
            )
        if self.stream and self.format is not None:
            raise InputError(
                f"format '{self.format}': a streamed pipe is PCM without a header; leave it out",
                code="conflict",
            )

    @contextmanager
    def open_output(self, format: str, model_rate: int) -> "Iterator[Write]":
        """Yield a function that writes float samples [n] at `model_rate` Hz to all outputs."""
        from vocalmtp.audio.formats import resampled
        from vocalmtp.audio.playback import loudspeaker

        rate = self.sample_rate or model_rate
        with ExitStack() as stack:
            writers = []
            if self.target is not None:
                writers.append(stack.enter_context(self._open_target(format, rate)))
            if self.play:
                writers.append(stack.enter_context(loudspeaker(rate)))
            yield stack.enter_context(
                resampled(lambda samples: [write(samples) for write in writers], model_rate, rate)
            )

    @contextmanager
    def _open_target(self, format: str, rate: int) -> "Iterator[Write]":
        from vocalmtp.audio.formats import audio_writer, check_rate, encode, live_writer, to_pcm

        assert self.target is not None, "open_output checks it"
        if self.target != "-":
            writer = live_writer if self.stream else audio_writer
            with writer(self.target, rate, format) as write:
                yield write
            return
        pipe = sys.stdout.buffer
        if self.stream:
            yield lambda samples: (pipe.write(to_pcm(samples)), pipe.flush())
            return
        import numpy as np

        check_rate(rate, format)
        parts: list[np.ndarray] = []  # the header of a WAV in a pipe holds its length
        yield parts.append
        pipe.write(encode(np.concatenate(parts), rate, format))
        pipe.flush()


def _check_not_reference(output: Path, reference: str | None) -> None:
    voice = Path(reference or "")
    if reference and voice.is_file() and output.exists() and voice.samefile(output):
        raise InputError(
            f"output '{output}': is the reference recording, which would be overwritten; "
            "choose another",
            code="conflict",
        )
