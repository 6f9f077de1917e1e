"""pocketsphinx as an ear: every turn is decoded in a process beside this one.

The decoder holds Python's lock for as long as it works, a tenth of a second for the search at the
end of a sentence. In the same process, microphones would go unread and answers falter meanwhile.

`python -m vocalmtp.recognizers.pocketsphinx` is that process. It reads commands, each a letter, a length and so
many bytes: "p" 16-bit samples of the turn, "t" what was said so far, "s" the same when the user is
silent, "r" begin anew. It answers "t" and "s" by a length and a text in UTF-8. It ends with its
input.
"""

import os
import signal
import struct
import subprocess
import sys
import threading
from typing import IO, Any

import numpy as np

from vocalmtp.chat.vad import SAMPLE_RATE
from vocalmtp.optional import DEMO, require

MEAN = 1.0  # seconds from which the mean of the cepstra is taken
COMMAND = struct.Struct("<cI")
LENGTH = struct.Struct("<I")


class PocketsphinxRecognizer:
    """The small recogniser that pocketsphinx brings with it; hears while the user speaks.

    Raises InputError if the package is missing.
    """

    name = "pocketsphinx"

    def __init__(self):
        require("pocketsphinx", DEMO)
        self._idle = [_Process()]
        self._lock = threading.Lock()

    def listen(self) -> "_Hearing":
        """Begin to hear a turn."""
        with self._lock:
            while self._idle:
                if (process := self._idle.pop()).alive:
                    return _Hearing(process, self._idle)
        return _Hearing(_Process(), self._idle)


class _Hearing:
    """One turn being heard; its process is idle again when it is closed."""

    def __init__(self, process: "_Process", idle: list["_Process"]):
        self._process, self._idle = process, idle

    def push(self, samples: np.ndarray) -> None:
        pcm = (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
        self._process.tell(b"p", pcm.tobytes())

    def text(self, settled: bool = False) -> str:
        return self._process.ask(b"s" if settled else b"t")

    def close(self) -> None:
        self._process.tell(b"r")
        self._idle.append(self._process)


class _Process:
    """A decoder, used by one turn at a time. Whatever is asked of a dead one is an OSError."""

    def __init__(self):
        # It finds what we find, however we were started.
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vocalmtp.recognizers.pocketsphinx"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def tell(self, command: bytes, data: bytes = b"") -> None:
        self._process.stdin.write(COMMAND.pack(command, len(data)) + data)
        self._process.stdin.flush()

    def ask(self, command: bytes) -> str:
        self.tell(command)
        found = _read(self._process.stdout, LENGTH.size)
        text = None if found is None else _read(self._process.stdout, *LENGTH.unpack(found))
        if text is None:
            raise OSError("pocketsphinx has ended")
        return text.decode()


def _read(stream: IO[bytes], count: int) -> bytes | None:
    """So many bytes; None if the stream ends before."""
    data = stream.read(count)
    return data if len(data) == count else None


class SphinxSettings:
    """Decodes a turn as its samples come, after it has waited for enough to know the channel.

    The mean of the cepstra is taken from the turn's first second: the decoder's own running mean
    starts far from most microphones', and doubled the word errors of short questions. Where the
    user pauses an utterance ends, since the search over a whole one is what takes time at the end.
    """

    def __init__(self, decoder: Any):
        self._decoder = decoder
        self._open = False  # an utterance is being decoded
        self.restart()

    def restart(self) -> None:
        """Begin a new turn."""
        if self._open:
            self._decoder.end_utt()
        self._waiting = b""
        self._known = False  # the mean
        self._open = False
        self._texts: list[str] = []  # of the utterances before it

    def push(self, pcm: bytes) -> None:
        """Take in samples, 16-bit."""
        self._waiting += pcm
        if self._known or len(self._waiting) > 2 * SAMPLE_RATE * MEAN:
            self._decode()

    def text(self, settled: bool) -> str:
        """What was said so far; `settled` if it may be all."""
        if settled and self._waiting:
            self._decode()
        if settled and self._open:
            self._decoder.end_utt()
            self._open = False
            self._texts.append(self._found())
        return " ".join([*self._texts, self._found() if self._open else ""]).strip()

    def _found(self) -> str:
        found = self._decoder.hyp()
        return found.hypstr.strip() if found is not None else ""

    def _decode(self) -> None:
        if not self._known:
            self._decoder.start_utt()
            self._decoder.process_raw(self._waiting, no_search=True, full_utt=True)
            self._decoder.end_utt()
            self._decoder.set_cmn(self._decoder.get_cmn(True))
            self._known = True
        if not self._open:
            self._decoder.start_utt()
            self._open = True
        self._decoder.process_raw(self._waiting, no_search=False, full_utt=False)
        self._waiting = b""


def serve(commands: IO[bytes], answers: IO[bytes]) -> None:
    """Do as `commands` say until they end."""
    decoding = SphinxSettings(require("pocketsphinx", DEMO).Decoder(loglevel="FATAL"))
    while (head := _read(commands, COMMAND.size)) is not None:
        command, length = COMMAND.unpack(head)
        data = _read(commands, length)
        if data is None:
            return
        if command == b"p":
            decoding.push(data)
        elif command == b"r":
            decoding.restart()
        else:
            text = decoding.text(settled=command == b"s").encode()
            answers.write(LENGTH.pack(len(text)) + text)
            answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    serve(sys.stdin.buffer, sys.stdout.buffer)
