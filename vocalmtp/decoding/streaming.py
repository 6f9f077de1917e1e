"""From decoded steps to audio: one sentence while its steps arrive, or many in the background."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from vocalmtp.arrays import Array, as_float, codec_stream, host, namespace, stack
from vocalmtp.audio.io import Audio, add_silence, join, scale_words, shift_words
from vocalmtp.audio.stretch import TimeStretcher
from vocalmtp.audio.timestamps import word_times
from vocalmtp.decoding.generate import Generated, StepUnpacker, unpack
from vocalmtp.decoding.reading import Sentence
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.streams import ADVANCE

if TYPE_CHECKING:
    from vocalmtp.tokenizers import SpeechTokenizer

CHUNKS = (1, 2, 4)  # steps of each chunk: few for a fast start, then more for less work

Decode = Callable[[int, Generated], Audio]  # the number of an utterance and its codes
Due = tuple[int, Generated, "Future[Audio]"]


class SentenceStream:
    """Converts the steps of one sentence to chunks of audio; joined, they equal decoding it whole.

    `push` every step, then `finish`.

    Args:
        sentence: what is spoken.
        layout: the layout of the steps.
        tokenizer: the speech tokenizer, which can stream.
        speaker: its speaker vector, [1, D_s].
        speed: divisor of the duration.

    """

    def __init__(
        self,
        sentence: Sentence,
        layout: TokenLayout,
        tokenizer: "SpeechTokenizer",
        speaker: Array | None,
        speed: float = 1.0,
    ):
        self.sentence, self.layout, self.spec = sentence, layout, tokenizer.spec
        self.stretcher = TimeStretcher(speed, self.spec.sample_rate)
        self.tracked = layout.streams[0].name == ADVANCE
        self.tokenizer = tokenizer
        with codec_stream(tokenizer):
            self.codec = tokenizer.stream(speaker)
        self.unpacker = StepUnpacker(layout)
        self.sizes = chain(CHUNKS, repeat(CHUNKS[-1]))
        self.due = next(self.sizes)  # complete steps of the next chunk
        self.waiting: list[Array] = []  # [Q, t] frames that are not decoded yet
        self.pointers = np.zeros(0, np.int64)  # [T] character of every frame so far
        self.begun = False  # whether the codec has frames
        self.ended = False  # whether there was an end token
        self.num_words = 0  # returned so far
        self.num_samples = 0  # returned so far

    def push(self, tokens: Array) -> Audio | None:
        """Add a step [K]; return the next chunk if it is complete."""
        self.ended |= int(tokens[0]) == self.layout.slots[0].end_id
        frames = self.unpacker.push(tokens)  # [Q, t]
        if frames.shape[1]:
            self.waiting.append(frames)
        if sum(f.shape[1] for f in self.waiting) < self.due * self.layout.frames_per_step:
            return None
        self.due = next(self.sizes)
        samples = self._decode()
        return self._chunk(samples, last=False) if len(samples) else None

    def finish(self) -> Audio:
        """Return the rest after the last step; `truncated` if there was no end token."""
        self.waiting.append(self.unpacker.flush())
        samples = self._decode()
        if self.begun:
            with codec_stream(self.tokenizer):
                rest = to_samples(self.codec.flush())
            rest = self.stretcher.push(rest)
            samples = np.concatenate([samples, rest, self.stretcher.flush()])
        audio = self._chunk(samples, last=True)
        audio.truncated = not self.ended
        return audio

    def _decode(self) -> np.ndarray:
        """Decode the waiting frames to samples [n]."""
        codes = namespace(self.waiting[0]).concatenate(self.waiting, 1)  # [Q, t]
        self.waiting = []
        if self.tracked:
            moved = host(codes[0].cumsum(0))
            start = self.pointers[-1] if len(self.pointers) else 0
            pointers = np.minimum(start + moved, len(self.sentence.text) - 1)
            self.pointers = np.concatenate([self.pointers, pointers])
            codes = codes[1:]
        if not codes.shape[1]:
            return np.zeros(0, np.float32)
        self.begun = True
        with codec_stream(self.tokenizer):
            samples = to_samples(self.codec.push(codes[None]))
        return self.stretcher.push(samples)

    def _chunk(self, samples: np.ndarray, last: bool) -> Audio:
        words = []
        if self.tracked:
            text, written = self.sentence.text, self.sentence.written
            rate = self.spec.frame_rate
            words = word_times(text, self.pointers, rate, complete=last, written=written)
            words = scale_words(words[self.num_words :], 1 / self.stretcher.speed)
        self.num_words += len(words)
        rate = self.spec.sample_rate
        audio = Audio(samples, rate, shift_words(words, -self.num_samples / rate))
        lead = 0.0 if self.num_samples else self.sentence.lead
        self.num_samples += len(samples)
        return add_silence(audio, lead, self.sentence.pause if last else 0.0)


class WholeSentence:
    """A `SentenceStream` of a single chunk, for tokenizers that cannot stream.

    Args:
        layout: the layout of the steps.
        decode: converts the codes of the utterance to audio.

    """

    def __init__(self, layout: TokenLayout, decode: Callable[[Generated], Audio]):
        self.layout, self.decode = layout, decode
        self.steps: list[Array] = []  # [K] each

    def push(self, tokens: Array) -> None:
        """Add a step [K]."""
        self.steps.append(tokens)

    def finish(self) -> Audio:
        """Return the audio after the last step."""
        return self.decode(unpack(stack(self.steps), self.layout))


def to_samples(wav: Array) -> np.ndarray:
    """Convert a waveform [1, n] of any device and dtype to samples float32 [n]."""
    return host(as_float(wav[0]))


def one_thread(name: str) -> ThreadPoolExecutor:
    """Return a pool of one thread, in which torch uses as many cores as in this one, not all."""
    torch = sys.modules.get("torch")
    limit = None if torch is None else partial(torch.set_num_threads, torch.get_num_threads())
    return ThreadPoolExecutor(1, name, limit)


def decode_in_background(
    utterances: Iterable[tuple[int, Generated]], decode: Decode, most: int
) -> Iterator[tuple[int, Audio]]:
    """Decode numbered utterances to audio in a thread of its own, while the next are generated.

    No more than `most` wait to be decoded; the calling thread decodes too where it would only wait. If
    the iteration is abandoned, what waits is dropped, and the thread has ended when the iterator is
    closed.

    Yields:
        The number and the audio of every utterance, in the order of `utterances`.

    """
    pool = one_thread("codec")
    due: deque[Due] = deque()
    try:
        for number, generated in utterances:
            due.append((number, generated, pool.submit(decode, number, generated)))
            while due and (due[0][2].done() or len(due) > most):
                yield _take_first(due, decode)
        while due:
            yield _take_first(due, decode)
    finally:
        pool.shutdown(cancel_futures=True)


def _take_first(due: deque[Due], decode: Decode) -> tuple[int, Audio]:
    """Wait for the first audio that is due; meanwhile decode others that no thread has begun."""
    for place, (number, generated, future) in enumerate(list(due)):
        if due[0][2].done():
            break
        if future.cancel():
            own: Future[Audio] = Future()
            try:
                own.set_result(decode(number, generated))
            except Exception as error:  # raised when it is its turn
                own.set_exception(error)
            due[place] = number, generated, own
    number, _, future = due.popleft()
    return number, future.result()


class TextAssembler:
    """Joins the audio of sentences, which finish in any order, to the audio of their texts.

    `add_text` every text before any of its sentences, which are numbered consecutively over all
    texts, then `add_audio` every sentence.
    """

    def __init__(self) -> None:
        self._owner: dict[int, int] = {}  # text of every sentence that is not there yet
        self._missing: dict[int, int] = {}  # by text: sentences that are not there yet
        self._parts: dict[int, dict[int, Audio]] = {}  # by text: audio by sentence
        self._sentences = 0

    def add_text(self, text: int, sentences: int) -> None:
        """Expect so many more sentences, all of text number `text`."""
        first, self._sentences = self._sentences, self._sentences + sentences
        self._owner |= dict.fromkeys(range(first, self._sentences), text)
        self._missing[text], self._parts[text] = sentences, {}

    def add_audio(self, sentence: int, audio: Audio) -> tuple[int, Audio] | None:
        """Add a sentence; return the number and the audio of its text if that is complete."""
        text = self._owner.pop(sentence)
        self._parts[text][sentence] = audio
        self._missing[text] -= 1
        if self._missing[text]:
            return None
        del self._missing[text]
        return text, join([part for _, part in sorted(self._parts.pop(text).items())])
