"""A conversation: turns, answers, interruptions, and that many of them never mix."""

import threading
import time

import numpy as np
import pytest
from helpers.chat_fakes import (
    CLERK,
    WORD,
    Clock,
    CountingEar,
    ScriptedWriter,
    ToneTTS,
    broken,
    kinds,
    say,
    silence,
    tone,
    until,
)

from vocalmtp.chat.history import BROKEN_OFF
from vocalmtp.chat.llm import Echo
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError


def test_a_turn_is_heard_and_answered_in_text_and_sound(make_session):
    session = make_session(ScriptedWriter("Hello there, ", "good friend."))
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
    said = "Hello there, good friend."
    assert [said[slice(*word.place)] for word in words] == ["Hello", "there,", "good", "friend."]
    # Between the clauses there is a short pause; every chunk knows where it begins.
    assert [word.start for word in words] == pytest.approx([0.0, 0.25, 0.6, 0.85])
    assert chunks[-1].start + WORD == pytest.approx(events[-1].seconds) == 1.1
    assert [(m.role, m.text) for m in session.history.said] == [
        ("user", "5 tenths"),
        ("assistant", said),
    ]


def test_all_parts_of_the_way_are_timed(make_session):
    session = make_session()
    say(session)
    found = {e.part: e.seconds for e in until(session, "finished") if e.kind == "timing"}
    assert set(found) == {"silence", "ear", "first_text", "first_clause", "first_audio", "total"}
    assert 0.55 < found["silence"] < 0.7
    assert found["first_text"] <= found["first_clause"] <= found["first_audio"]
    assert found["total"] == pytest.approx(found["ear"] + found["first_audio"], abs=0.05)


@pytest.mark.parametrize("size", [7, 160, 511, 512, 4001, 10**6])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_sound_in_any_pieces_at_any_rate_is_the_same_turn(make_session, size, rate):
    if rate * 7 // size > 100_000:
        pytest.skip("a hundred thousand pieces say no more than ten thousand")
    session = make_session(ScriptedWriter("Yes."))
    length = np.arange(round(0.5 * rate)) * 2 * np.pi * 300 / rate
    sound = np.concatenate([0.2 * np.sin(length), np.zeros(rate)]).astype(np.float32)
    for start in range(0, len(sound), size):
        session.feed(sound[start : start + size], rate)
    finals = [e for e in until(session, "finished") if e.kind == "transcript" and e.final]
    assert [e.text for e in finals] == ["5 tenths"]


def test_stereo_bytes_and_integers_are_sound_too(make_session):
    for sound in (
        np.stack([np.concatenate([tone(0.5, level=0.4), silence(0.8)]), silence(1.3)], axis=1),
        (np.concatenate([tone(0.5), silence(0.8)]) * 32767).astype(np.int16),
        (np.concatenate([tone(0.5), silence(0.8)]) * 32767).astype("<i2").tobytes(),
    ):
        session = make_session()
        session.feed(sound)
        assert until(session, "finished")[-1].text


@pytest.mark.parametrize(
    ("pcm", "rate", "said"),
    [
        (b"abc", 16_000, "16-bit"),
        (np.zeros((2, 2, 2), np.float32), 16_000, "array"),
        (np.array(["a"]), 16_000, "type"),
        (np.full(10, np.nan, np.float32), 16_000, "finite"),
        (np.zeros(10, np.float32), 4_000, "8000"),
        (np.zeros(10, np.float32), "16000", "8000"),
        ("sound", 16_000, "array"),
    ],
)
def test_what_is_no_sound_is_refused_and_the_session_lives(make_session, pcm, rate, said):
    session = make_session()
    with pytest.raises(InputError, match=said):
        session.feed(pcm, rate)
    say(session)
    assert until(session, "finished")


def test_a_short_noise_is_no_turn(make_session):
    session = make_session()
    session.feed(np.concatenate([tone(0.12), silence(0.8)]))
    events = [e for e in until(session, "listening", 2) if e.kind != "transcript" or e.final]
    assert kinds(events) == ["listening", "speech_started", "listening"]
    say(session)  # and the next turn is one
    assert until(session, "finished")
    assert [m.text for m in session.history.said][0] == "5 tenths"


def test_a_pause_within_a_turn_does_not_end_it(make_session):
    session = make_session()
    session.feed(np.concatenate([tone(0.3), silence(0.4), tone(0.3), silence(0.8)]))
    finals = [e.text for e in until(session, "finished") if e.kind == "transcript" and e.final]
    assert finals == ["6 tenths"]


def test_an_endless_turn_is_cut(make_session):
    session = make_session(longest=1.0)
    session.feed(tone(1.5))
    assert until(session, "speech_ended")[-1].seconds == pytest.approx(1.0, abs=0.1)


def test_typed_turns(make_session):
    session = make_session(ScriptedWriter("Fine."))
    session.ask(" How are you? ")
    assert until(session, "finished")[-1].text == "Fine."
    assert session.history.said[0].text == "How are you?"
    with pytest.raises(InputError, match="empty"):
        session.ask("  ")


@pytest.mark.parametrize(
    ("seconds", "heard"),
    [(0.0, ""), (0.3, "One"), (0.56, "One two"), (0.65, "One two"), (0.8, "One two three,")],
)
def test_barge_in_cuts_back_to_the_last_word_heard_and_the_next_answer_knows(
    make_session, seconds, heard
):
    clock = Clock()
    writer = ScriptedWriter("One two three, four five.")
    session = make_session(writer, clock=clock)
    say(session)
    until(session, "finished")
    clock.now += seconds
    session.feed(tone(0.2))
    event = until(session, "interrupted")[-1]
    assert (event.heard, event.turn) == (heard, 1)
    assert event.seconds == pytest.approx(seconds)
    session.feed(np.concatenate([tone(0.2), silence(0.8)]))
    until(session, "finished")
    if heard:
        answer, question = writer.asked[1][-2:]
        assert answer == ("assistant", f"{heard} {BROKEN_OFF}")
        assert question == ("user", "4 tenths")
    else:  # nothing was heard: the user has only gone on
        assert writer.asked[1][-1] == ("user", "5 tenths 4 tenths")


@pytest.mark.parametrize(
    ("sound", "barge_in", "interrupts"),
    [(0.1, 0.16, False), (0.3, 0.16, True), (0.2, 0.3, False), (0.4, 0.3, True)],
)
def test_only_speech_that_lasts_interrupts_an_answer(make_session, sound, barge_in, interrupts):
    clock = Clock()
    session = make_session(ScriptedWriter("One two three."), clock=clock, barge_in=barge_in)
    say(session)
    until(session, "finished")
    clock.now += 0.3
    session.feed(np.concatenate([silence(0.2), tone(sound)]))
    events = list(session.events(0.1))
    assert ("interrupted" in kinds(events)) == interrupts
    assert ("speech_started" in kinds(events)) == interrupts
    session.feed(silence(0.8))
    if interrupts:  # the turn has its beginning all the same
        finals = [e.text for e in until(session, "finished") if e.kind == "transcript" and e.final]
        assert finals == [f"{round(10 * sound)} tenths"]


def test_barge_in_while_the_answer_is_written_stops_it(make_session):
    clock = Clock()
    writer = ScriptedWriter("One two three. ", "Four ", 30.0, "five.")
    session = make_session(writer, clock=clock)
    say(session)
    until(session, "audio_chunk", 3)
    clock.now += 0.6
    begin = time.monotonic()
    session.interrupt()
    assert until(session, "interrupted")[-1].heard == "One two"
    say(session)
    events = until(session, "audio_chunk")
    assert time.monotonic() - begin < 10
    assert {e.turn for e in events if e.kind in ("text_delta", "audio_chunk")} == {2}


def test_a_role_answers_from_the_next_answer_on(make_session):
    writer, tts = ScriptedWriter("One.", 0.3, " Two."), ToneTTS()
    session = make_session(writer, tts, system="Be kind.")
    session.ask("who")
    until(session, "text_delta")
    session.role = CLERK  # this answer goes on as it was
    until(session, "finished")
    session.ask("and now")
    until(session, "finished")
    session.voice = "ann"  # the persona with another voice
    session.ask("again")
    until(session, "finished")
    session.role = None
    session.ask("at last")
    until(session, "finished")
    systems = [asked[0] for asked in writer.asked]
    assert systems == [("system", text) for text in ("Be kind.", *["You file."] * 2, "Be kind.")]
    assert tts.used == ["ann"] * 2 + ["bob"] * 2 + ["ann"] * 4


def test_a_role_greets_before_anything_is_said_and_only_then(make_session):
    writer, tts, clock = ScriptedWriter("One."), ToneTTS(), Clock()
    session = make_session(writer, tts, clock=clock)
    session.greet()  # nobody in particular has no greeting
    session.role = CLERK
    session.greet()
    assert until(session, "finished")[-1].text == "Next!" and tts.used == ["bob"]
    session.greet()
    clock.now += 60.0
    session.ask("who")
    until(session, "finished")
    session.greet()
    assert [m.role for m in session.history.said] == ["assistant", "user", "assistant"]
    assert [role for role, _ in writer.asked[0]] == ["system", "user"]  # templates begin so
    assert tts.used == ["bob"] * 2


def test_a_persona_that_leaves_no_place_is_refused_in_one_line(make_session):
    endless = CLERK.model_copy(update={"persona": "word " * 100})
    session = make_session(history_tokens=64)
    with pytest.raises(InputError, match="role 'clerk': its persona takes 100 tokens .* 64"):
        session.role = endless
    assert session.role is None
    with pytest.raises(InputError, match="role 'clerk'"):
        ChatSession(session.answerer, CountingEar(), config=session.config, role=endless)


def test_after_the_last_sound_there_is_nothing_to_interrupt(make_session):
    clock = Clock()
    session = make_session(clock=clock)
    say(session)
    until(session, "finished")
    clock.now += 60.0
    say(session)
    assert "interrupted" not in kinds(until(session, "finished"))
    assert [m.role for m in session.history.said] == ["user", "assistant"] * 2


def test_the_player_knows_better_than_the_clock(make_session):
    clock = Clock()
    session = make_session(ScriptedWriter("One two three four."), clock=clock)
    say(session)
    until(session, "finished")
    clock.now += 60.0
    session.played(0.5)  # it had stood still
    session.interrupt()
    assert until(session, "interrupted")[-1].heard == "One two"


def test_audio_is_made_no_further_ahead_than_asked(make_session):
    clock = Clock()
    session = make_session(ScriptedWriter("a b c d e f g h i j k l."), clock=clock, ahead=1.0)
    session.ask("go")
    until(session, "audio_chunk", 5)  # the one that goes beyond it is the last
    assert not [e for e in session.events(0.3) if e.kind == "audio_chunk"]
    clock.now += 0.5
    until(session, "audio_chunk", 2)
    assert not [e for e in session.events(0.3) if e.kind == "audio_chunk"]


@pytest.mark.parametrize("pieces", [(broken(),), ("Well, I think ", broken()), (broken(), "x")])
def test_a_writer_that_fails_is_excused_aloud_and_the_session_lives(make_session, pieces):
    writer = ScriptedWriter(*pieces)
    session = make_session(writer)
    say(session)
    events = until(session, "finished")
    assert [e.message for e in events if e.kind == "error"] == ["no model there"]
    assert events[-1].text.endswith("Sorry, something broke.")
    words = [w.text for e in events if e.kind == "audio_chunk" for w in e.words]
    assert words[-3:] == ["sorry", "something", "broke"]
    writer.pieces = ("Fine.",)
    say(session)
    assert until(session, "finished")[-1].text == "Fine."


def test_whatever_else_breaks_is_told_and_the_session_lives(make_session, monkeypatch):
    session = make_session(ScriptedWriter(RuntimeError("boom")))
    say(session)
    assert "boom" in until(session, "error")[-1].message
    monkeypatch.setattr(CountingEar, "text", lambda self, settled=False: 1 / 0)
    say(session)
    assert "could not hear" in until(session, "error")[-1].message
    monkeypatch.undo()


def test_what_cannot_be_said_is_shown_and_left_out(make_session):
    session = make_session(ScriptedWriter("Fine. \u65e5\u672c\u8a9e. \U0001f642 Good."))
    session.ask("go")
    events = until(session, "finished")
    assert events[-1].text == "Fine. \u65e5\u672c\u8a9e. \U0001f642 Good."
    words = [w for e in events if e.kind == "audio_chunk" for w in e.words]
    assert [events[-1].text[slice(*w.place)] for w in words] == ["Fine.", "Good."]


def test_an_endless_answer_is_cut(make_session):
    session = make_session(ScriptedWriter(*["on and "] * 1000), longest_answer=100)
    session.ask("go")
    assert len(until(session, "finished")[-1].text) == 100


def test_an_ear_is_needed_only_by_who_does_not_hear(make_session, monkeypatch):
    class Loudness:
        name, hears = "loudness", True

        def answer(self, turn, out):
            out.text(f"{np.abs(turn.samples).max():.1f}")

        def count_tokens(self, text):
            return 1

    make_session()
    with ChatSession(Loudness()) as session:
        say(session, level=0.4)
        assert until(session, "finished")[-1].text == "0.4"
    with pytest.raises(InputError, match="ear"):
        ChatSession(Silent())


class Silent:
    """An answerer that reads."""

    name, hears = "silent", False


def test_two_sessions_interleaved_and_many_in_threads_never_mix(make_session):
    """Each one repeats what only it was told, with its own count of turns."""
    from vocalmtp.chat.responders import CascadeResponder

    answerer = CascadeResponder(Echo(), ToneTTS())
    sessions = [make_session() for _ in range(6)]
    for session in sessions:
        session.answerer = answerer
    sounds = [np.concatenate([tone(0.3 + 0.2 * n), silence(0.8)]) for n in range(6)]
    for start in range(0, max(map(len, sounds)), 1000):  # the first two, by turns
        for session, sound in zip(sessions[:2], sounds[:2], strict=True):
            session.feed(sound[start : start + 1000])
    threads = [
        threading.Thread(target=session.feed, args=(sound,))
        for session, sound in zip(sessions[2:], sounds[2:], strict=True)
    ]
    for thread in threads:
        thread.start()
    for number, session in enumerate(sessions):
        events = until(session, "finished")
        assert events[-1].text == f"{3 + 2 * number} tenths"
        assert {e.turn for e in events if hasattr(e, "turn")} == {1}
    for thread in threads:
        thread.join()


def test_a_closed_session_ends_everything(make_session):
    before = threading.active_count()
    session = make_session(ScriptedWriter("One two. Three", 30.0))
    say(session)
    until(session, "audio_chunk")
    session.close()
    session.close()
    list(session.events())
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
    say(session)  # nothing happens any more
    session.ask("hello")
    assert list(session.events(0.05)) == []
