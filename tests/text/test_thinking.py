"""Replies in the template of models that decide whether to think, and the removal of thoughts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.text.thinking import (
    MODES,
    TAGS,
    Reply,
    ThoughtFilter,
    format_reply,
    opening,
    parse_reply,
)

ON = Reply(mode="on", judge="Many steps.", thoughts="2 * 3 = 6", answer="It is 6.")
OFF = Reply(mode="off", judge="One step.", answer="It is 12.")


def pieces_of(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


# -- the template ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [ON, OFF])
def test_a_written_reply_is_read_again(reply):
    text = format_reply(reply)
    assert parse_reply(text) == reply
    assert parse_reply(" ".join(text.split())) == reply  # white space has no meaning
    assert parse_reply(text.removesuffix("\n</answer>")) == reply
    assert text.startswith(opening(reply.judge, reply.mode))


@pytest.mark.parametrize(
    ("text", "problem", "mode", "answer"),
    [
        ("", "no_mode", None, ""),
        ("<answer> 3 </answer>", "no_mode", None, "3"),
        ("<judge> a </judge> <think_on> <think> b </think> 3", "no_answer", "on", ""),
        ("<judge> a </judge> <think_on> <think_off> <answer> 3", "two_modes", None, "3"),
        ("<judge> a </judge> <think_off> <think_off> <answer> 3", "two_modes", "off", "3"),
        (
            "<judge> a </judge> <think_off> <think> b </think> <answer> 3",
            "contradiction",
            "off",
            "3",
        ),
        ("<judge> a </judge> <think_on> <answer> 3", "contradiction", "on", "3"),
        ("<think_off> <answer> 3 </answer>", "malformed", "off", "3"),
        ("<judge> a </judge> <think_off> <answer> 3 <answer> 4", "malformed", "off", "4"),
        ("<judge> a </judge> <think_off> <answer> 3 </answer> 4", "malformed", "off", "3"),
    ],
)
def test_broken_replies_are_named(text, problem, mode, answer):
    found = parse_reply(text)
    assert (found.problem, found.mode, found.answer) == (problem, mode, answer)


@given(st.lists(st.sampled_from([*TAGS, "x", " ", "\n", "<", "</th"])).map("".join))
def test_any_text_is_read(text):
    found = parse_reply(text)
    assert found.problem or (text.count(MODES["on"]) + text.count(MODES["off"]) == 1)


# -- the removal of thoughts -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("opened", [False, None])
@pytest.mark.parametrize("reply", [ON, OFF])
def test_only_the_answer_is_shown(reply, opened, size):
    hidden = []
    shown = ThoughtFilter(opened).filter(
        pieces_of(format_reply(reply) + " Not this.", size), on_thought=hidden.append
    )
    assert "".join(shown).strip() == reply.answer
    assert reply.judge in "".join(hidden) and reply.thoughts in "".join(hidden)
    assert not any(tag in "".join(hidden) for tag in TAGS)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_reply_without_an_answer_tag_is_what_follows_its_last_tag(size):
    for text in ("<judge>a</judge><think_off> It is 3.", "<think_on><think>b</think> It is 3."):
        assert "".join(ThoughtFilter().filter(pieces_of(text, size))) == "It is 3."


# A closing tag alone makes a thought of the text before it, which may have been shown by then.
PARTS = [tag for tag in TAGS if tag != "</think>"] + ["<think> z</think>", "x", " y", "<", "</th"]


@given(st.lists(st.sampled_from(PARTS)), st.integers(1, 9))
def test_pieces_do_not_matter(parts, size):
    text = "".join(parts)
    found = "".join(ThoughtFilter().filter(pieces_of(text, size)))
    assert found.rstrip() == "".join(ThoughtFilter().filter([text])).rstrip()
    assert not any(tag in found for tag in TAGS) or any(
        tag in text.replace(tag, "") for tag in TAGS
    )


@pytest.mark.parametrize("size", [1, 3, 100])
def test_thoughts_are_removed(size):
    text = "<think>Hm, <b>?</think>Yes <3, a<b.<think>or</think> Fine.<think>endless"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    for opened in (False, None):
        assert "".join(ThoughtFilter(opened).filter(pieces)) == "Yes <3, a<b. Fine."
    assert "".join(ThoughtFilter().filter(["a <thin"])) == "a <thin"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_thought_with_only_a_closing_tag_is_removed(size):
    text = "Hm, a <b>?</think>\n\nYes."
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert "".join(ThoughtFilter(opened=True).filter(pieces)) == "Yes."
    unknown = ThoughtFilter(opened=None)
    for _ in range(2):
        assert "".join(unknown.filter(pieces)) == "Yes."
    assert unknown.opened is True
    impatient = ThoughtFilter(opened=None)
    assert "".join(impatient.filter(pieces, patience=0)).endswith("Yes.")
    assert "".join(impatient.filter(pieces, patience=0)) == "Yes."  # known by now


def test_text_is_not_withheld_once_answers_are_known_to_have_no_thoughts():
    thoughts = ThoughtFilter(opened=None)
    assert list(thoughts.filter(["All ", "is well."])) == ["All is well."]
    assert list(thoughts.filter(["All ", "is well."])) == ["All ", "is well."]

    def fails():
        yield "All is"
        raise RuntimeError

    received = []
    with pytest.raises(RuntimeError):
        for piece in ThoughtFilter(opened=None).filter(fails()):
            received.append(piece)
    assert received == ["All is"]
