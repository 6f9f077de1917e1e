"""What was said and heard, within a limit."""

from vocalmtp.chat.history import BROKEN_OFF, History, Message


def words(text: str) -> int:
    return len(text.split())


def filled(turns: int) -> History:
    history = History("Be brief.")
    for number in range(turns):
        history.add(Message("user", f"question {number}"))
        history.add(Message("assistant", f"answer {number}"))
    return history


def test_the_oldest_turns_go_first_and_whole():
    history = filled(10)
    history.add(Message("user", "last"))
    everything = history.messages(10_000, words)
    assert len(everything) == 22
    kept = history.messages(40, words)
    assert [m.content for m in kept] == [
        "Be brief.",
        "question 8",
        "answer 8",
        "question 9",
        "answer 9",
        "last",
    ]
    assert sum(words(m.content) + 4 for m in kept) <= 40


def test_the_system_and_the_last_question_always_stay():
    history = filled(3)
    history.add(Message("user", "word " * 100))
    assert [m.role for m in history.messages(64, words)] == ["system", "user"]
    assert [m.role for m in History().messages(64, words)] == []


def test_a_user_who_goes_on_has_one_message():
    history = History()
    history.add(Message("user", "What is"))
    history.add(Message("user", "the time?"))
    assert [m.text for m in history.said] == ["What is the time?"]


def test_cutting_an_answer():
    history = filled(1)
    history.cut("ans")
    assert history.said[-1].content == f"ans {BROKEN_OFF}"
    history.cut("")
    assert [m.role for m in history.said] == ["user"]
    history.cut("")  # no answer there: nothing to cut
    assert [m.role for m in history.said] == ["user"]
