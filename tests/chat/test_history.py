"""The history of a conversation within a limit on tokens."""

import pytest

from vocalmtp.chat.history import INTERRUPTED, History, Message, as_written


def count_words(text: str) -> int:
    return len(text.split())


def make_history(turns: int) -> History:
    history = History("Be brief.")
    for number in range(turns):
        history.add(Message("user", f"question {number}"))
        history.add(Message("assistant", f"answer {number}"))
    return history


def test_oldest_turns_are_dropped_first_with_their_answers():
    history = make_history(10)
    history.add(Message("user", "last"))
    assert len(history.messages(10_000, count_words)) == 22
    kept = history.messages(40, count_words)
    assert [m.content for m in kept] == [
        "Be brief.",
        "question 9",
        "answer 9",
        "last",
    ]
    history.add(Message("assistant", "answer last"))
    history.add(Message("user", "next"))
    later = history.messages(40, count_words)  # begins alike, so that it is not run again
    assert later[: len(kept)] == kept and len(later) == len(kept) + 2


def test_system_prompt_and_last_question_are_always_kept():
    history = make_history(3)
    history.add(Message("user", "word " * 100))
    assert [m.role for m in history.messages(64, count_words)] == ["system", "user"]
    assert [m.role for m in History().messages(64, count_words)] == []


def test_consecutive_messages_of_the_user_are_joined():
    history = History()
    history.add(Message("user", "What is"))
    history.add(Message("user", "the time?"))
    assert [m.text for m in history.turns] == ["What is the time?"]


def test_interrupted_answer_is_truncated_or_removed():
    history = make_history(1)
    history.truncate("ans")
    assert history.turns[-1].content == f"ans {INTERRUPTED}"
    history.truncate("")
    assert [m.role for m in history.turns] == ["user"]
    history.truncate("")  # there is no answer
    assert [m.role for m in history.turns] == ["user"]


@pytest.mark.parametrize(
    ("transcript", "written"),
    [
        ("who painted the mona lisa.", "Who painted the mona lisa?"),
        ("hello. so what is this called", "Hello. so what is this called?"),
        ("What is it?", "What is it?"),
        ("stop there.", "Stop there."),
        ("what a nice day", "What a nice day"),
        ("I know what it is.", "I know what it is."),
        ("  ", ""),
        ("was ist das?", "Was ist das?"),
    ],
)
def test_transcripts_are_written_as_one_types(transcript, written):
    assert as_written(transcript) == written
    assert Message("user", transcript, spoken=True).content == written
    assert Message("user", transcript).content == transcript  # as it was typed
