"""pocketsphinx as a recognizer; streams are decoded in child processes.

The decoder holds Python's global lock while it works, up to a tenth of a second at the end of an
utterance: in the same process, audio input and synthesis would stall for as long.

`python -m vocalmtp.recognizers.pocketsphinx OPTIONS` is a child process; OPTIONS is a JSON object of
decoder options. Commands on its standard input are a letter, a length and that many bytes: "p"
appends 16-bit samples, "t" requests the transcript so far, "s" the transcript of all samples, "r"
begins a new utterance. It replies to "t" and "s" with a length and text in UTF-8, and ends at the
end of its input.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.io.read import digest, reason
from vocalmtp.optional import DEMO, require
from vocalmtp.recognizers.base import RECOGNIZERS, SAMPLE_RATE, Recognizer, plain_words
from vocalmtp.recognizers.ngrams import NGrams

MEAN = 1.0  # seconds over which the mean of the cepstra is estimated
COMMAND = struct.Struct("<cI")
LENGTH = struct.Struct("<I")
LANGUAGE_MODEL, DICTIONARY = "language.arpa", "words.dict"


@RECOGNIZERS.register("pocketsphinx")
class PocketsphinxRecognizer(Recognizer):
    """pocketsphinx with its US English models.

    Args:
        texts: a file of expected texts, one a line: their trigrams replace the language model.
        device: not used; pocketsphinx runs on the CPU.

    Raises:
        InputError: the package is missing, or the file has no words.

    """

    parallel = True

    def __init__(self, texts: Path | str | None = None, device: str = "cpu"):
        require("pocketsphinx", DEMO)
        self.name = self.description = "pocketsphinx"
        self._options: dict[str, str] = {}  # of the decoder
        self._idle: list[_DecoderProcess] = []
        self._lock = threading.Lock()
        if texts is not None:
            path = Path(texts)
            lines = expected_lines(path)
            self.name += f"-{digest(path)}"
            self.description += f" with trigrams of the texts in {path.name}"
            self._folder = TemporaryDirectory()
            write_language_model(lines, Path(self._folder.name))
            self._options = {
                "lm": str(Path(self._folder.name) / LANGUAGE_MODEL),
                "dict": str(Path(self._folder.name) / DICTIONARY),
            }

    def __getstate__(self) -> dict[str, Any]:  # child processes and the folder stay here
        kept = {"name": self.name, "description": self.description, "_options": self._options}
        return kept | {"_idle": [], "_lock": None}

    def transcribe(self, samples: np.ndarray) -> str:
        """Transcribe samples [N], float32 at SAMPLE_RATE, in lower case.

        Every recording has a decoder of its own: a decoder adapts to the utterances before, which
        would make transcripts depend on the order of the recordings.
        """
        if samples.size == 0:
            return ""
        decoder = require("pocketsphinx", DEMO).Decoder(loglevel="FATAL", **self._options)
        decoder.start_utt()
        # The complete utterance at once: the mean of its cepstra is then taken over all of it.
        decoder.process_raw(_pcm(samples), no_search=False, full_utt=True)
        decoder.end_utt()
        return plain_words(_hypothesis(decoder))

    def open_stream(self) -> "PocketsphinxStream":
        """Return a stream for one utterance, in an idle child process or a new one."""
        with self._lock:
            while self._idle:
                if (process := self._idle.pop()).alive:
                    return PocketsphinxStream(process, self._idle)
        return PocketsphinxStream(_DecoderProcess(self._options), self._idle)

    def warm_up(self) -> None:
        """Start a child process for the first stream."""
        self.open_stream().close()


class PocketsphinxStream:
    """One utterance in a child process, which becomes idle when the stream is closed."""

    def __init__(self, process: "_DecoderProcess", idle: list["_DecoderProcess"]):
        self._process, self._idle = process, idle

    @property
    def pid(self) -> int:
        """Id of the child process."""
        return self._process.pid

    def push(self, samples: np.ndarray) -> None:
        """Append samples [n]; raises OSError if the child process has ended."""
        self._process.send(b"p", _pcm(samples))

    def text(self, settled: bool = False) -> str:
        """Return the transcript so far; raises OSError if the child process has ended."""
        return self._process.request(b"s" if settled else b"t")

    def close(self) -> None:
        """Make the child process available to other streams."""
        self._process.send(b"r")
        self._idle.append(self._process)


class _DecoderProcess:
    """A child process, used by one stream at a time; raises OSError if it has ended."""

    def __init__(self, options: dict[str, str]):
        # The child finds the packages of this process, however this process was started.
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vocalmtp.recognizers.pocketsphinx", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, command: bytes, data: bytes = b"") -> None:
        commands = self._process.stdin
        assert commands is not None
        commands.write(COMMAND.pack(command, len(data)) + data)
        commands.flush()

    def request(self, command: bytes) -> str:
        self.send(command)
        replies = self._process.stdout
        assert replies is not None
        length = _read_exactly(replies, LENGTH.size)
        text = None if length is None else _read_exactly(replies, *LENGTH.unpack(length))
        if text is None:
            raise OSError("the process of pocketsphinx has ended")
        return text.decode()


class UtteranceDecoder:
    """Decodes an utterance while its samples arrive.

    Decoding begins after MEAN seconds, from which the mean of the cepstra is taken: the decoder's
    running mean starts far from most microphones', which doubled the word errors of short
    questions. At every pause the decoder's utterance ends and another one begins, since its final
    search is what takes time at the end.
    """

    def __init__(self, decoder: Any):
        self._decoder = decoder
        self._in_utterance = False
        self.restart()

    def restart(self) -> None:
        """Begin a new utterance."""
        if self._in_utterance:
            self._decoder.end_utt()
        self._waiting = b""
        self._has_mean = False
        self._in_utterance = False
        self._texts: list[str] = []  # of the parts before the last pause

    def push(self, pcm: bytes) -> None:
        """Append 16-bit samples."""
        self._waiting += pcm
        if self._has_mean or len(self._waiting) > 2 * SAMPLE_RATE * MEAN:
            self._decode()

    def text(self, settled: bool) -> str:
        """Return the transcript so far, see `RecognizerStream`."""
        if settled and self._waiting:
            self._decode()
        if settled and self._in_utterance:
            self._decoder.end_utt()
            self._in_utterance = False
            self._texts.append(_hypothesis(self._decoder))
        last = _hypothesis(self._decoder) if self._in_utterance else ""
        return " ".join([*self._texts, last]).strip()

    def _decode(self) -> None:
        if not self._has_mean:
            self._decoder.start_utt()
            self._decoder.process_raw(self._waiting, no_search=True, full_utt=True)
            self._decoder.end_utt()
            self._decoder.set_cmn(self._decoder.get_cmn(True))
            self._has_mean = True
        if not self._in_utterance:
            self._decoder.start_utt()
            self._in_utterance = True
        self._decoder.process_raw(self._waiting, no_search=False, full_utt=False)
        self._waiting = b""


def _hypothesis(decoder: Any) -> str:
    found = decoder.hyp()
    return found.hypstr.strip() if found is not None else ""


def _pcm(samples: np.ndarray) -> bytes:
    """Convert samples [n] to 16-bit little-endian integers."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def expected_lines(texts: Path) -> list[str]:
    """Return the lines of a file that have words; raises InputError if there are none."""
    try:
        lines = texts.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"recognizer 'pocketsphinx={texts}': {reason(error)}; give a file of texts",
            code="unusable",
        ) from error
    lines = [line for line in lines if plain_words(line)]
    if not lines:
        raise InputError(
            f"recognizer 'pocketsphinx={texts}': no words; give a file of texts, one a line",
            code="empty",
        )
    return lines


def write_language_model(texts: Iterable[str], folder: Path) -> None:
    """Write trigrams of `texts` and the pronunciations of their known words into `folder`.

    The complete dictionary would take a second to be read for every recording.
    """
    model = NGrams([plain_words(text) for text in texts])
    model.write(folder / LANGUAGE_MODEL)
    words = set(model.words)
    known = require("pocketsphinx", DEMO).get_model_path("en-us/cmudict-en-us.dict")
    with Path(known).open(encoding="utf-8") as lines:
        kept = [line for line in lines if line.split()[0].partition("(")[0] in words]
    (folder / DICTIONARY).write_text("".join(kept), encoding="utf-8")


def _read_exactly(stream: IO[bytes], count: int) -> bytes | None:
    """Read `count` bytes; None if the stream ends before."""
    data = stream.read(count)
    return data if len(data) == count else None


def serve(commands: IO[bytes], replies: IO[bytes], options: dict[str, str]) -> None:
    """Execute commands until their stream ends, see the module's description."""
    decoder = UtteranceDecoder(require("pocketsphinx", DEMO).Decoder(loglevel="FATAL", **options))
    while (head := _read_exactly(commands, COMMAND.size)) is not None:
        command, length = COMMAND.unpack(head)
        data = _read_exactly(commands, length)
        if data is None:
            return
        if command == b"p":
            decoder.push(data)
        elif command == b"r":
            decoder.restart()
        else:
            text = decoder.text(settled=command == b"s").encode()
            replies.write(LENGTH.pack(len(text)) + text)
            replies.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    serve(sys.stdin.buffer, sys.stdout.buffer, json.loads(sys.argv[1]))
