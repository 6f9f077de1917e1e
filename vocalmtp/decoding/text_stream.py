"""Speech for a text that is still being written, and its chunks for `for` and `async for`."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from concurrent.futures import Future

from vocalmtp.audio.io import Audio
from vocalmtp.decoding.reading import PAUSES, SHORT_PAUSE
from vocalmtp.decoding.streaming import one_thread
from vocalmtp.errors import InputError
from vocalmtp.text import ClauseSplitter, sayable

PIECE = 1024  # characters that are split into clauses at a time: the cost is linear in the length


def clause_pause(clause: str) -> float:
    """Return the seconds of silence between a clause and the next one."""
    return SHORT_PAUSE if clause.rstrip()[-1] in ",;:\u2014\u2013" else PAUSES["."]


class SpeakableClauses:
    """Splits a text that arrives in pieces into clauses, each with the pause after it.

    Words that cannot be read out are left out.
    """

    def __init__(self) -> None:
        self._splitter = ClauseSplitter()

    def push(self, piece: str) -> Iterator[tuple[str, float]]:
        """Add a piece of any size; yield the clauses that it completes.

        Raises:
            InputError: it is not a string.

        """
        if not isinstance(piece, str):
            raise InputError(
                f"text '{piece!s:.40}': a piece of it is a {type(piece).__name__}; give strings",
                code="invalid_value",
            )
        for start in range(0, len(piece), PIECE):
            yield from _with_pauses(self._splitter.push(piece[start : start + PIECE]))

    def finish(self) -> Iterator[tuple[str, float]]:
        """Yield the rest at the end of the text."""
        yield from _with_pauses(self._splitter.finish())


def _with_pauses(clauses: Iterable[str]) -> Iterator[tuple[str, float]]:
    for clause in clauses:
        if text := sayable(clause):
            yield text, clause_pause(clause)


def speakable_clauses(pieces: Iterable[str]) -> Iterator[tuple[str, float]]:
    """Yield the clauses of a text as soon as they are complete, see `SpeakableClauses`."""
    clauses = SpeakableClauses()
    for piece in pieces:
        yield from clauses.push(piece)
    yield from clauses.finish()


async def arriving_clauses(
    pieces: AsyncIterable[str],
) -> AsyncGenerator[tuple[str, float], None]:
    """As `speakable_clauses`, for an event loop, in which text is not analysed."""
    clauses = SpeakableClauses()
    async for piece in pieces:
        for clause in await asyncio.to_thread(list, clauses.push(piece)):
            yield clause
    for clause in await asyncio.to_thread(list, clauses.finish()):
        yield clause


class ArrivingText:
    """The pieces of an asynchronous text, for a thread that is not that of the event loop.

    Args:
        pieces: read in the event loop that `attach` is called in.

    """

    def __init__(self, pieces: AsyncIterable[str]):
        self._pieces = aiter(pieces)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next: Future[str | None] | None = None
        self._closed = False

    def attach(self) -> None:
        """Read the pieces in the running event loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Stop waiting for the next piece."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()

    def __iter__(self) -> Iterator[str]:
        """Wait for the pieces; raises what their source raises."""
        if self._loop is None:
            raise InputError(
                "text: its pieces arrive asynchronously; read the stream by 'async for'",
                code="unsupported",
            )
        while True:
            self._next = asyncio.run_coroutine_threadsafe(_next_piece(self._pieces), self._loop)
            if self._closed:
                self._next.cancel()
            if (piece := self._next.result()) is None:
                return
            yield piece


async def _next_piece(pieces: AsyncIterator[str]) -> str | None:
    return await anext(pieces, None)


class AudioStream(Iterator[Audio]):
    """Chunks of audio as they are decoded, to be read by `for` or by `async for`.

    `async for` decodes in a thread of its own. A stream that is not read to its end stops when it is
    closed, or no longer referenced.

    Args:
        chunks: decodes them.
        text: the text of the chunks, if it arrives asynchronously.

    """

    def __init__(self, chunks: Generator[Audio, None, None], text: ArrivingText | None = None):
        self._chunks, self._text = chunks, text

    def __next__(self) -> Audio:
        """Decode the next chunk."""
        return next(self._chunks)

    async def __aiter__(self) -> AsyncGenerator[Audio, None]:
        """Yield the chunks."""
        if self._text is not None:
            self._text.attach()
        loop = asyncio.get_running_loop()
        # One thread for all, as a generator cannot be closed while another one runs it.
        pool = one_thread("stream")
        try:
            while (chunk := await loop.run_in_executor(pool, next, self._chunks, None)) is not None:
                yield chunk
        finally:
            if self._text is not None:
                self._text.close()
            pool.submit(self._chunks.close)
            pool.shutdown(wait=False)

    def close(self) -> None:
        """End the synthesis."""
        self._chunks.close()
