"""Encoding of audio that is still being made: bytes leave with every piece of samples.

Letters: n samples of one piece.
"""

from typing import Any, Literal, get_args

import numpy as np

from vocalmtp.audio.formats import WAV_HEADER, to_pcm
from vocalmtp.optional import require

StreamFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
STREAM_FORMATS: tuple[StreamFormat, ...] = get_args(StreamFormat)
MEDIA_TYPES: dict[StreamFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
UNKNOWN_LENGTH = 0xFFFFFFFF  # in the header of a WAV stream
# PyAV: codec, its sample format, container, options of the container
_CODECS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "mp3": ("libmp3lame", "fltp", "mp3", {"write_xing": "0", "id3v2_version": "0"}),
    "opus": ("libopus", "flt", "ogg", {"page_duration": "20000"}),  # microseconds
    "aac": ("aac", "fltp", "adts", {}),
    "flac": ("flac", "s16", "flac", {}),
}


class StreamEncoder:
    """Encodes one stream of samples.

    `push` every piece, then `finish`. Without a change of rate, wav and pcm have the samples as they
    are.

    Args:
        format: of the stream; "pcm" is 16-bit little-endian without a header.
        source_rate: sample rate of the pieces in Hz.
        sample_rate: sample rate of the stream in Hz, one that the format supports.

    Raises:
        InputError: the package av is missing, which formats but wav and pcm need.

    """

    def __init__(self, format: StreamFormat, source_rate: int, sample_rate: int):
        self._resampler = None
        if source_rate != sample_rate:
            import soxr

            self._resampler = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32")
        self._codec: _Codec | _Plain = (
            _Codec(format, sample_rate)
            if format in _CODECS
            else _Plain(sample_rate, header=format == "wav")
        )

    def push(self, samples: np.ndarray) -> bytes:
        """Encode float samples [n]; return the bytes that are complete."""
        return self._codec.encode(self._resampled(samples))

    def finish(self) -> bytes:
        """Return the rest of the stream."""
        rest = self._resampled(np.zeros(0, np.float32), last=True)
        return self._codec.encode(rest) + self._codec.close()

    def _resampled(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        if self._resampler is None:
            return samples
        resampled: np.ndarray = self._resampler.resample_chunk(samples, last=last)
        return resampled


class _Plain:
    """16-bit PCM, after a WAV header of unknown length if there is to be one."""

    def __init__(self, sample_rate: int, header: bool):
        self._head = b""
        if header:
            fields = (b"RIFF", UNKNOWN_LENGTH, b"WAVE", b"fmt ", 16, 1, 1, sample_rate)
            self._head = WAV_HEADER.pack(*fields, 2 * sample_rate, 2, 16, b"data", UNKNOWN_LENGTH)

    def encode(self, samples: np.ndarray) -> bytes:
        head, self._head = self._head, b""
        return head + to_pcm(samples)

    def close(self) -> bytes:
        return b""


class _Codec:
    """A codec of FFmpeg in its container, written to memory."""

    def __init__(self, format: str, sample_rate: int):
        av: Any = require("av")
        codec, self._sample_format, container, options = _CODECS[format]
        self._frame: Any = av.AudioFrame
        self._rate, self._position = sample_rate, 0
        self._sink = _Sink()
        self._container = av.open(
            self._sink, "w", format=container, options={"flush_packets": "1", **options}
        )
        self._stream = self._container.add_stream(codec, rate=sample_rate, layout="mono")
        self._stream.codec_context.format = self._sample_format
        self._stream.codec_context.open()
        size = self._stream.codec_context.frame_size
        self._fifo = av.AudioFifo()
        self._size = size or 1024

    def encode(self, samples: np.ndarray) -> bytes:
        if len(samples):
            self._fifo.write(self._as_frame(samples))
        while frame := self._fifo.read(self._size):
            self._container.mux(self._stream.encode(frame))
        return self._sink.take()

    def close(self) -> bytes:
        if frame := self._fifo.read(0, partial=True):
            self._container.mux(self._stream.encode(frame))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()

    def _as_frame(self, samples: np.ndarray) -> Any:
        samples = np.clip(samples, -1.0, 1.0).astype(np.float32)
        if self._sample_format == "s16":
            samples = np.rint(samples * 32767.0).astype(np.int16)
        frame = self._frame.from_ndarray(samples[None], format=self._sample_format, layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._position
        self._position += len(samples)
        return frame


class _Sink:
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
