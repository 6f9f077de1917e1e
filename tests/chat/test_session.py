"""Sessions: turns, answers, interruptions, roles, failures, and concurrent sessions."""

import threading

import numpy as np
import pytest
from helpers.chat_fakes import (
    CLERK,
    WORD,
    Clock,
    CountingRecognizer,
    CountingStream,
    ScriptedLLM,
    ToneTTS,
    error_codes,
    kinds,
    llm_failure,
    say,
    silence,
    tone,
    until,
)
from helpers.errors import raises_input_error

from vocalmtp.chat.answer_stream import APOLOGIES
from vocalmtp.chat.history import INTERRUPTED
from vocalmtp.chat.llm import Echo
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.session import ChatSession


def test_spoken_turn_is_transcribed_and_answered_in_text_and_audio(make_session):
    session = make_session(ScriptedLLM("Hello there, ", "good friend."))
    say(session)
    events = until(session, "finished")
    assert kinds([e for e in events if e.kind != "transcript"])[:3] == [
        "listening",
        "speech_started",
        "speech_ended",
    ]
    finals = [e.text for e in events if e.kind == "transcript" and e.final]
    assert finals == ["5 tenths"]
    assert "".join(e.text for e in events if e.kind == "text_delta") == "Hello there, good friend."
    chunks = [e for e in events if e.kind == "audio_chunk"]
    words = [word for chunk in chunks for word in chunk.words]
    answer = "Hello there, good friend."
    assert [answer[slice(*word.span)] for word in words] == ["Hello", "there,", "good", "friend."]
    # The clauses have a short pause between them.
    assert [word.start for word in words] == pytest.approx([0.0, 0.25, 0.6, 0.85])
    assert chunks[-1].start + WORD == pytest.approx(events[-1].seconds) == 1.1
    assert [(m.role, m.text) for m in session.history.turns] == [
        ("user", "5 tenths"),
        ("assistant", answer),
    ]


def test_latency_of_every_part_is_reported(make_session):
    session = make_session()
    say(session)
    found = {e.part: e.seconds for e in until(session, "finished") if e.kind == "timing"}
    assert set(found) == {
        "silence",
        "recognition",
        "first_text",
        "first_clause",
        "first_audio",
        "total",
    }
    assert 0.55 < found["silence"] < 0.7  # by frames, not by the clock
    assert found["first_text"] <= found["first_clause"] <= found["first_audio"]
    assert found["total"] >= found["recognition"] + found["first_audio"]


@pytest.mark.parametrize("size", [7, 160, 511, 512, 4001, 10**6])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_audio_of_any_block_size_and_rate_gives_the_same_turn(make_session, size, rate):
    if rate * 7 // size > 100_000:
        pytest.skip("covered by larger blocks")
    session = make_session(ScriptedLLM("Yes."))
    length = np.arange(round(0.5 * rate)) * 2 * np.pi * 300 / rate
    sound = np.concatenate([0.2 * np.sin(length), np.zeros(rate)]).astype(np.float32)
    for start in range(0, len(sound), size):
        session.feed(sound[start : start + size], rate)
    finals = [e for e in until(session, "finished") if e.kind == "transcript" and e.final]
    assert [e.text for e in finals] == ["5 tenths"]


def test_stereo_int16_and_bytes_are_accepted(make_session):
    for sound in (
        np.stack([np.concatenate([tone(0.5, level=0.4), silence(0.8)]), silence(1.3)], axis=1),
        (np.concatenate([tone(0.5), silence(0.8)]) * 32767).astype(np.int16),
        (np.concatenate([tone(0.5), silence(0.8)]) * 32767).astype("<i2").tobytes(),
    ):
        session = make_session()
        session.feed(sound)
        assert until(session, "finished")[-1].text


@pytest.mark.parametrize(
    ("pcm", "rate", "code", "key"),
    [
        (b"abc", 16_000, "invalid_value", "pcm"),
        (np.zeros((2, 2, 2), np.float32), 16_000, "invalid_value", "pcm"),
        (np.array(["a"]), 16_000, "invalid_value", "pcm"),
        (np.full(10, np.nan, np.float32), 16_000, "damaged", "pcm"),
        (np.zeros(10, np.float32), 4_000, "out_of_range", "sample_rate"),
        (np.zeros(10, np.float32), "16000", "out_of_range", "sample_rate"),
        ("sound", 16_000, "invalid_value", "pcm"),
    ],
)
def test_invalid_audio_is_refused_and_session_continues(make_session, pcm, rate, code, key):
    session = make_session()
    with raises_input_error(code, key=key):
        session.feed(pcm, rate)
    say(session)
    assert until(session, "finished")


def test_short_noise_is_dropped(make_session):
    session = make_session()
    session.feed(np.concatenate([tone(0.12), silence(0.8)]))
    events = [e for e in until(session, "listening", 2) if e.kind != "transcript" or e.final]
    assert kinds(events) == ["listening", "speech_started", "listening"]
    say(session)
    assert until(session, "finished")
    assert [m.text for m in session.history.turns][0] == "5 tenths"


def test_pause_within_a_turn_does_not_end_it(make_session):
    session = make_session()
    session.feed(np.concatenate([tone(0.3), silence(0.4), tone(0.3), silence(0.8)]))
    finals = [e.text for e in until(session, "finished") if e.kind == "transcript" and e.final]
    assert finals == ["6 tenths"]


def test_long_turn_is_cut(make_session):
    session = make_session(max_turn=1.0)
    session.feed(tone(1.5))
    assert until(session, "speech_ended")[-1].seconds == pytest.approx(1.0, abs=0.1)


def test_typed_turn_is_answered_and_empty_one_refused(make_session):
    session = make_session(ScriptedLLM("Fine."))
    session.ask(" How are you? ")
    assert until(session, "finished")[-1].text == "Fine."
    assert session.history.turns[0].text == "How are you?"
    with raises_input_error("empty", key="text"):
        session.ask("  ")


@pytest.mark.parametrize(
    ("seconds", "played_text"),
    [(0.0, ""), (0.3, "One"), (0.56, "One two"), (0.65, "One two"), (0.8, "One two three,")],
)
def test_barge_in_truncates_answer_and_history_to_the_last_played_word(
    make_session, seconds, played_text
):
    clock = Clock()
    llm = ScriptedLLM("One two three, four five.")
    session = make_session(llm, clock=clock)
    say(session)
    until(session, "finished")
    clock.now += seconds
    session.feed(tone(0.2))
    event = until(session, "interrupted")[-1]
    assert (event.played_text, event.turn) == (played_text, 1)
    assert event.seconds == pytest.approx(seconds)
    session.feed(np.concatenate([tone(0.2), silence(0.8)]))
    until(session, "finished")
    if played_text:
        answer, question = llm.requests[1][-2:]
        assert answer == ("assistant", f"{played_text} {INTERRUPTED}")
        assert question == ("user", "4 tenths")
    else:  # nothing was played: the user has only continued
        assert llm.requests[1][-1] == ("user", "5 tenths 4 tenths")


@pytest.mark.parametrize(
    ("sound", "barge_in", "interrupts"),
    [(0.1, 0.16, False), (0.3, 0.16, True), (0.2, 0.3, False), (0.4, 0.3, True)],
)
def test_only_speech_of_barge_in_length_interrupts(make_session, sound, barge_in, interrupts):
    clock = Clock()
    session = make_session(ScriptedLLM("One two three."), clock=clock, barge_in=barge_in)
    say(session)
    until(session, "finished")
    clock.now += 0.3
    session.feed(np.concatenate([silence(0.2), tone(sound)]))
    events = list(session.events(0.1))
    assert ("interrupted" in kinds(events)) == interrupts
    assert ("speech_started" in kinds(events)) == interrupts
    session.feed(silence(0.8))
    if interrupts:  # the turn includes its onset
        finals = [e.text for e in until(session, "finished") if e.kind == "transcript" and e.final]
        assert finals == [f"{round(10 * sound)} tenths"]


def test_barge_in_stops_an_answer_that_is_still_being_written(make_session):
    clock = Clock()
    llm = ScriptedLLM("One two three. ", "Four ", 3600.0, "five.")
    session = make_session(llm, clock=clock)
    say(session)
    until(session, "audio_chunk", 3)
    clock.now += 0.6
    session.interrupt()
    assert until(session, "interrupted")[-1].played_text == "One two"
    say(session)
    events = until(session, "audio_chunk")
    assert {e.turn for e in events if e.kind in ("text_delta", "audio_chunk")} == {2}


def test_role_changes_prompt_and_voice_from_the_next_answer_on(make_session):
    llm, tts = ScriptedLLM("One.", 0.3, " Two."), ToneTTS()
    session = make_session(llm, tts, system="Be kind.")
    session.ask("who")
    until(session, "text_delta")
    session.role = CLERK  # the current answer does not change
    until(session, "finished")
    session.ask("and now")
    until(session, "finished")
    session.voice = "ann"  # the persona with another voice
    session.ask("again")
    until(session, "finished")
    session.role = None
    session.ask("at last")
    until(session, "finished")
    systems = [messages[0] for messages in llm.requests]
    assert systems == [("system", text) for text in ("Be kind.", *["You file."] * 2, "Be kind.")]
    assert tts.used == ["ann"] * 2 + ["bob"] * 2 + ["ann"] * 4


def test_role_greets_only_before_the_first_turn(make_session):
    llm, tts, clock = ScriptedLLM("One."), ToneTTS(), Clock()
    session = make_session(llm, tts, clock=clock)
    session.greet()  # no role, no greeting
    session.role = CLERK
    session.greet()
    assert until(session, "finished")[-1].text == "Next!" and tts.used == ["bob"]
    session.greet()
    clock.now += 60.0
    session.ask("who")
    until(session, "finished")
    session.greet()
    assert [m.role for m in session.history.turns] == ["assistant", "user", "assistant"]
    assert [role for role, _ in llm.requests[0]] == ["system", "user"]  # chat templates require it
    assert tts.used == ["bob"] * 2


def test_persona_that_exceeds_the_history_is_refused(make_session):
    endless = CLERK.model_copy(update={"persona": "word " * 100})
    session = make_session(history_tokens=64)
    with raises_input_error("wrong_length", key="role", names="clerk"):
        session.role = endless
    assert session.role is None
    with raises_input_error("wrong_length", key="role"):
        ChatSession(session.responder, CountingRecognizer(), config=session.config, role=endless)


def test_answer_that_was_played_is_not_interrupted(make_session):
    clock = Clock()
    session = make_session(clock=clock)
    say(session)
    until(session, "finished")
    clock.now += 60.0
    say(session)
    assert "interrupted" not in kinds(until(session, "finished"))
    assert [m.role for m in session.history.turns] == ["user", "assistant"] * 2


def test_report_of_the_player_overrides_the_clock(make_session):
    clock = Clock()
    session = make_session(ScriptedLLM("One two three four."), clock=clock)
    say(session)
    until(session, "finished")
    clock.now += 60.0
    session.report_playback(0.5)  # the player had stopped
    session.interrupt()
    assert until(session, "interrupted")[-1].played_text == "One two"


def test_synthesis_is_limited_to_max_lead(make_session):
    clock = Clock()
    session = make_session(ScriptedLLM("a b c d e f g h i j k l."), clock=clock, max_lead=1.0)
    session.ask("go")
    until(session, "audio_chunk", 5)  # the last one exceeds the limit
    assert not [e for e in session.events(0.3) if e.kind == "audio_chunk"]
    clock.now += 0.5
    until(session, "audio_chunk", 2)
    assert not [e for e in session.events(0.3) if e.kind == "audio_chunk"]


@pytest.mark.parametrize(
    "pieces", [(llm_failure(),), ("Well, I think ", llm_failure()), (llm_failure(), "x")]
)
def test_llm_failure_speaks_apology_and_keeps_session(make_session, pieces):
    llm = ScriptedLLM(*pieces)
    session = make_session(llm)
    say(session)
    events = until(session, "finished")
    assert error_codes(events) == ["llm_failed"]
    apology = APOLOGIES["llm_failed"]
    assert events[-1].text.endswith(apology)
    spans = [w.span for e in events if e.kind == "audio_chunk" for w in e.words]
    spoken = " ".join(events[-1].text[slice(*span)] for span in spans)
    assert spoken.endswith(apology)
    llm.pieces = ("Fine.",)
    say(session)
    assert until(session, "finished")[-1].text == "Fine."


def test_exceptions_of_responder_and_recognizer_are_reported_and_session_continues(
    make_session, monkeypatch
):
    session = make_session(ScriptedLLM(RuntimeError("boom")))
    say(session)
    error = until(session, "error")[-1]
    assert (error.code, error.turn) == ("answer_failed", 1) and "boom" in error.message
    monkeypatch.setattr(CountingStream, "text", lambda self, settled=False: 1 / 0)
    say(session)
    assert until(session, "error")[-1].code == "recognition_failed"
    monkeypatch.undo()


def test_unspeakable_text_is_shown_but_not_spoken(make_session):
    session = make_session(ScriptedLLM("Fine. \u65e5\u672c\u8a9e. \U0001f642 Good."))
    session.ask("go")
    events = until(session, "finished")
    assert events[-1].text == "Fine. \u65e5\u672c\u8a9e. \U0001f642 Good."
    words = [w for e in events if e.kind == "audio_chunk" for w in e.words]
    assert [events[-1].text[slice(*w.span)] for w in words] == ["Fine.", "Good."]


def test_long_answer_is_cut(make_session):
    session = make_session(ScriptedLLM(*["on and "] * 1000), max_answer_chars=100)
    session.ask("go")
    assert len(until(session, "finished")[-1].text) == 100


def test_recognizer_is_required_unless_responder_is_end_to_end(make_session):
    class Level:
        name, end_to_end, recognizer = "level", True, None

        def answer(self, request, out):
            out.text(f"{np.abs(request.samples).max():.1f}")

        def say(self, text, request, out):
            out.text(text)

        def count_tokens(self, text):
            return 1

    cascade = make_session().responder
    with ChatSession(Level()) as session:
        say(session, level=0.4)
        assert until(session, "finished")[-1].text == "0.4"
    with raises_input_error("missing", key="recognizer"):
        ChatSession(cascade)


def test_concurrent_sessions_do_not_mix(make_session):
    responder = CascadeResponder(ToneTTS(), Echo())
    sessions = [make_session() for _ in range(6)]
    for session in sessions:
        session.responder = responder
    inputs = [np.concatenate([tone(0.3 + 0.2 * n), silence(0.8)]) for n in range(6)]
    for start in range(0, max(map(len, inputs)), 1000):  # the first two, interleaved
        for session, samples in zip(sessions[:2], inputs[:2], strict=True):
            session.feed(samples[start : start + 1000])
    threads = [
        threading.Thread(target=session.feed, args=(samples,))
        for session, samples in zip(sessions[2:], inputs[2:], strict=True)
    ]
    for thread in threads:
        thread.start()
    for number, session in enumerate(sessions):
        events = until(session, "finished")
        assert events[-1].text == f"{3 + 2 * number} tenths"
        assert {e.turn for e in events if hasattr(e, "turn")} == {1}
    for thread in threads:
        thread.join()


def test_close_ends_the_threads_and_later_calls_do_nothing(make_session):
    before = set(threading.enumerate())
    session = make_session(ScriptedLLM("One two. Three", 3600.0))
    say(session)
    until(session, "audio_chunk")
    session.close()
    assert set(threading.enumerate()) <= before
    session.close()
    list(session.events())
    say(session)
    session.ask("hello")
    assert list(session.events(0.05)) == []
