"""Replies in the template of models that decide whether to think, and the removal of thoughts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.text.thinking import (
    MODES,
    TAGS,
    Reply,
    ThoughtFilter,
    answer_now,
    format_reply,
    limit_thoughts,
    opening,
    parse_decision,
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


# -- thoughts with a limit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "ending"),
    [
        ("", ""),
        ("All is well.", ""),
        ("<think>Hm.", "</think>"),
        ("<think>Hm.</think>", ""),
        ("<judge>many", "</judge><think_off><answer>"),
        ("<judge>many</judge>", "<think_off><answer>"),
        ("<judge>many</judge><think_off>", "<answer>"),
        ("<judge>many</judge><think_on>", "<think></think><answer>"),
        ("<judge>many</judge><think_on><think>2*3", "</think><answer>"),
        ("<judge>many</judge><think_on><think>2*3</think>", "<answer>"),
        ("<judge>many</judge><think_on><think>2*3</think><answer>", ""),
    ],
)
def test_an_unfinished_reply_is_ended(reply, ending):
    assert "".join(answer_now(reply).split()) == ending


class Replies:
    """Writes the pieces of a reply, and "6" to go on from a given beginning."""

    def __init__(self, *pieces: str):
        self.pieces, self.beginnings, self.closed = pieces, [], False

    def __call__(self, beginning: str):
        self.beginnings.append(beginning)
        try:
            yield from ["6"] if beginning else self.pieces
        finally:
            self.closed = True


@pytest.mark.parametrize("seconds", [0, None])
@pytest.mark.parametrize("reply", [ON, OFF])
def test_a_complete_reply_is_left_alone_unless_its_thoughts_take_too_long(reply, seconds):
    text = format_reply(reply)
    write = Replies(*pieces_of(text, 4))
    found = "".join(limit_thoughts(write, seconds))
    if seconds is None:
        assert found == text and write.beginnings == [""]
        return
    assert write.closed and len(write.beginnings) == 2
    assert found == write.beginnings[1] + "6"
    assert parse_reply(found).answer == "6" and not parse_reply(found).problem


UNANSWERED = [tag for tag in TAGS if "answer" not in tag]


@given(st.lists(st.sampled_from([*UNANSWERED, "x", "\n", "</th"])), st.booleans())
def test_every_reply_in_the_template_has_an_answer(pieces, opened):
    shown = ThoughtFilter(opened).filter(limit_thoughts(Replies(*pieces), 0, opened))
    assert "".join(shown).strip() or not {*pieces} & {"<judge>", *MODES.values()}


def test_thoughts_without_an_end_are_ended():
    write = Replies("Hm. ", "Well.")
    assert "".join(limit_thoughts(write, opened=True)) == "Hm. Well.\n</think>\n\n6"
    assert "".join(limit_thoughts(Replies("Hm. ", "Well."), 0, None)) == "Hm. Well."


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("<judge>\nof its own\n</judge>\n\n<think_on>\n", "on"),
        ("<judge> b </judge><think_off> whatever <think_on>", "off"),
        ("<judge> b </judge><think_on>", None),  # the rationale of the other mode
        ("<judge> a </judge></judge><think_on>", None),
        ("<judge></judge><judge> a </judge><think_on>", None),
        ("<judge> a </judge>", None),
        ("<think_on> 4", None),
    ],
)
def test_a_decision_counts_if_its_judge_keeps_to_the_template(text, mode):
    assert parse_decision(text, {"on": "a", "off": "b"}) == mode
