"""Streamed text: its clauses are spoken as they arrive, and the pieces do not change the audio."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from threading import active_count

import numpy as np
import pytest
from helpers.errors import raises_input_error
from helpers.toy_model import save_toy_model
from helpers.waiting import wait_until
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.audio.io import Audio, join
from vocalmtp.decoding.reading import PAUSES, SHORT_PAUSE
from vocalmtp.decoding.text_stream import speakable_clauses
from vocalmtp.loading import load
from vocalmtp.tts import TTS

TEXT = "It is May 5, 2026. Dr. Smith has $5.20? Yes. All done"
COMMA = "Well then, good morning. How are you?"


@pytest.fixture(scope="module")
def tts(tmp_path_factory: pytest.TempPathFactory) -> TTS:
    return load(save_toy_model(tmp_path_factory.mktemp("toy")))


def clauses_of(*pieces: str) -> list[str]:
    return [clause.rstrip() for clause, _ in speakable_clauses(pieces)]


@given(st.lists(st.integers(0, len(COMMA + TEXT)), max_size=9))
def test_clauses_do_not_depend_on_the_pieces(places):
    text = f"{COMMA} {TEXT}"
    ends = [0, *sorted(places), len(text)]
    pieces = [text[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    assert list(speakable_clauses(pieces)) == list(speakable_clauses([text]))


def test_a_clause_needs_only_the_word_after_it():
    arrived: list[str] = []

    def pieces() -> Iterator[str]:
        for word in f"{COMMA} {TEXT}".split():
            arrived.append(word)
            yield f"{word} "

    words = 0
    for clause, _ in speakable_clauses(pieces()):
        words += len(clause.split())
        assert len(arrived) <= words + 1
    assert words == len(arrived)


@pytest.mark.parametrize(
    ("clause", "pause"), [("Well then, ", SHORT_PAUSE), ("Yes. ", PAUSES["."])]
)
def test_pause_after_a_clause(clause, pause):
    assert next(speakable_clauses([f"{clause}And so on."])) == (clause, pause)


def test_unreadable_words_and_empty_clauses_are_left_out():
    assert clauses_of("\u05e9\u05dc\u05d5\u05dd. Hello \u6771 there. *** ... Bye.\n\n--") == [
        "Hello there.",
        "Bye.",
    ]


def test_megabytes_without_an_end_are_cut():
    assert max(map(len, clauses_of("a" * 300_000))) <= 200


def test_streamed_text_equals_the_whole_text(tts: TTS):
    whole = join(list(tts.stream(TEXT, seed=3, temperature=0.7)))
    parts = join(list(tts.stream(iter(TEXT), seed=3, temperature=0.7)))
    assert np.array_equal(whole.samples, parts.samples)
    assert [w.text for w in whole.words] == [w.text for w in parts.words]


def test_clauses_of_a_sentence_equal_texts_of_their_own(tts: TTS):
    chunks = list(tts.stream(COMMA.split(" How")[:1], seed=3))
    first = list(tts.stream("Well then,", seed=3))
    _, second = tts.sentences("Well then. Good morning.", seed=3)  # seeds count the parts of a text
    pause = Audio(np.zeros(round(SHORT_PAUSE * tts.sample_rate), np.float32), tts.sample_rate)
    expected = join([*first, pause, second]).samples
    np.testing.assert_allclose(join(chunks).samples, expected, atol=1e-5)  # rows of other batches


def test_audio_of_a_clause_comes_before_the_rest_of_the_text(tts: TTS):
    arrived = []

    def pieces() -> Iterator[str]:
        for piece in ("Good morning. ", "How ", "are you?"):
            arrived.append(piece)
            yield piece

    stream = tts.stream(pieces())
    next(stream)
    assert len(arrived) == 2
    stream.close()


def test_arguments_are_checked_before_a_piece_is_read(tts: TTS):
    pieces = iter(["Hello."])
    for options, code in (
        ({"voice": "nobody"}, "not_found"),
        ({"seed": -1}, "out_of_range"),
        ({"temprature": 1.0}, "unknown_name"),
    ):
        with raises_input_error(code):
            tts.stream(pieces, **options)
    assert list(pieces)


@pytest.mark.parametrize("text", [b"Hello.", 5, None])
def test_other_types_are_refused(tts: TTS, text):
    with raises_input_error("invalid_value", "text"):
        tts.stream(text)


def test_a_piece_that_is_no_string_is_refused(tts: TTS):
    with raises_input_error("invalid_value", "text"):
        list(tts.stream(["Hello. ", 5]))


# -- async -------------------------------------------------------------------------------------


async def arriving(*pieces: str, end: float = 0.0) -> AsyncIterator[str]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece
    await asyncio.sleep(end)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_async_iteration_equals_iteration(tts: TTS, asynchronous):
    async def read() -> list[Audio]:
        text = arriving(*TEXT) if asynchronous else TEXT
        return [chunk async for chunk in tts.stream(text, seed=3)]

    whole = join(list(tts.stream(TEXT, seed=3)))
    assert np.array_equal(join(asyncio.run(read())).samples, whole.samples)


def test_asynchronous_text_needs_async_for(tts: TTS):
    with raises_input_error("unsupported", "text"):
        list(tts.stream(arriving("Hello.")))


def test_errors_of_the_source_are_raised(tts: TTS):
    async def broken() -> AsyncIterator[str]:
        yield "Good morning. How"
        raise ConnectionError("gone")

    async def read() -> None:
        async for _ in tts.stream(broken()):
            pass

    with pytest.raises(ConnectionError):
        asyncio.run(read())


@pytest.mark.parametrize("how", ["break", "cancel"])
def test_an_abandoned_stream_leaves_no_thread(tts: TTS, how):
    before = active_count()

    async def read() -> None:
        async for _ in tts.stream(arriving("Good morning. How", end=1000.0)):
            if how == "break":
                return

    async def main() -> None:
        task = asyncio.create_task(read())
        await asyncio.wait([task], timeout=0.5)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    wait_until(lambda: active_count() <= before)
