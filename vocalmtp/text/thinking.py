"""Replies of models that decide whether to think: their template, and the removal of thoughts.

The template is that of KAT-V1 (arXiv 2507.08297): a judge's rationale, one token for the mode, the
thoughts if there are any, and the answer. White space around the tags has no meaning.
"""

import math
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

Mode = Literal["on", "off"]  # of thinking

THINK, END_THINK = "<think>", "</think>"
JUDGE, END_JUDGE = "<judge>", "</judge>"
ANSWER, END_ANSWER = "<answer>", "</answer>"
MODES: dict[Mode, str] = {"on": "<think_on>", "off": "<think_off>"}
TAGS = (JUDGE, END_JUDGE, *MODES.values(), THINK, END_THINK, ANSWER, END_ANSWER)

_TAG = re.compile("|".join(map(re.escape, TAGS)))
_MODE = re.compile("|".join(map(re.escape, MODES.values())))
_OPENING = rf"\s*{JUDGE}(?P<judge>.*?){END_JUDGE}\s*(?P<mode><think_on>|<think_off>)"
_REPLY = re.compile(
    rf"{_OPENING}(?:\s*{THINK}(?P<thoughts>.*?){END_THINK})?"
    rf"\s*{ANSWER}(?P<answer>.*?)(?:{END_ANSWER}\s*|\Z)",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A reply in its parts.

    Attributes:
        mode: None if the reply has no mode, or both.
        problem: how the reply breaks the template; "" if it does not: no_mode, two_modes,
            no_answer, contradiction (thoughts without thinking, or none with it) or malformed.

    """

    mode: Mode | None
    judge: str = ""
    thoughts: str = ""
    answer: str = ""
    problem: str = ""


def format_reply(reply: Reply) -> str:
    """Write a reply in the template. The mode must be known."""
    assert reply.mode is not None
    thoughts = f"{THINK}\n{reply.thoughts}\n{END_THINK}\n\n" if reply.mode == "on" else ""
    return f"{opening(reply.judge, reply.mode)}{thoughts}{ANSWER}\n{reply.answer}\n{END_ANSWER}"


def opening(judge: str, mode: Mode) -> str:
    """Write the beginning of a reply, up to its mode."""
    return f"{JUDGE}\n{judge}\n{END_JUDGE}\n\n{MODES[mode]}\n"


def parse_reply(text: str) -> Reply:
    """Read a reply; one that breaks the template has a `problem`, and the parts that are clear."""
    found = {tag for tag in MODES.values() if tag in text}
    mode: Mode | None = next((m for m, tag in MODES.items() if found == {tag}), None)
    match = _REPLY.fullmatch(text)
    if match is None or len(_MODE.findall(text)) != 1 or _has_tag(match):
        return Reply(mode=mode, answer=_last_answer(text), problem=_problem(text, found))
    thoughts = match["thoughts"]
    contradiction = (thoughts is not None) != (mode == "on")
    return Reply(
        mode=mode,
        judge=match["judge"].strip(),
        thoughts=(thoughts or "").strip(),
        answer=match["answer"].strip(),
        problem="contradiction" if contradiction else "",
    )


def parse_decision(text: str, rationales: Mapping[Mode, str]) -> Mode | None:
    """Read the mode of a reply; None if what is before it breaks the template or contradicts it."""
    match = re.match(_OPENING, text, re.DOTALL)
    if match is None or _TAG.search(match["judge"]):
        return None
    mode: Mode = "on" if match["mode"] == MODES["on"] else "off"
    decision = Reply(mode=mode, judge=match["judge"].strip())
    return None if judge_contradicts(decision, rationales) else mode


def judge_contradicts(reply: Reply, rationales: Mapping[Mode, str]) -> bool:
    """Whether the judge of a reply gives the rationale of the other mode."""
    return any(reply.judge == text and reply.mode != mode for mode, text in rationales.items())


def _has_tag(match: re.Match[str]) -> bool:
    """Whether a part of a reply has a tag inside."""
    return any(_TAG.search(match[part] or "") for part in ("judge", "thoughts", "answer"))


def _last_answer(text: str) -> str:
    return text.rpartition(ANSWER)[2].partition(END_ANSWER)[0].strip() if ANSWER in text else ""


def _problem(text: str, found: set[str]) -> str:
    if not found:
        return "no_mode"
    if len(_MODE.findall(text)) > 1:
        return "two_modes"
    return "malformed" if ANSWER in text else "no_answer"


def answer_now(reply: str) -> str:
    """Return what ends the thoughts of an unfinished reply and begins its answer.

    A reply without a mode gets that of not thinking. "" if the answer has begun.
    """
    tags = _TAG.findall(reply)
    if not tags or ANSWER in tags:
        return ""
    last = tags[-1]
    if not {JUDGE, *MODES.values()} & set(tags):
        return f"\n{END_THINK}\n\n" if last == THINK else ""
    endings = {
        JUDGE: f"\n{END_JUDGE}\n\n{MODES['off']}\n",
        END_JUDGE: f"\n\n{MODES['off']}\n",
        MODES["on"]: f"\n{THINK}\n{END_THINK}\n\n",
        THINK: f"\n{END_THINK}\n\n",
    }
    return endings.get(last, "\n") + f"{ANSWER}\n"


def limit_thoughts(
    write: Callable[[str], Generator[str, None, None]],
    seconds: float | None = None,
    opened: bool | None = False,
) -> Iterator[str]:
    """Yield a reply that has an answer: thoughts that take too long, or have no end, are ended.

    Args:
        write: continues a reply, given what of it there is: "" at first.
        seconds: how long thoughts may take, from the first piece on; None for no limit.
        opened: whether replies begin within a thought; None if that is not known.

    """
    head, reply, deadline = THINK if opened else "", "", math.inf
    with closing(write("")) as pieces:
        for piece in pieces:
            if not reply and seconds is not None:
                deadline = time.monotonic() + seconds
            reply += piece
            yield piece
            if time.monotonic() >= deadline and answer_now(head + reply):
                break
    if ending := answer_now(head + reply):
        yield ending
        yield from write(reply + ending)


class ThoughtFilter:
    """Removes the thoughts of reasoning models from their streamed answers.

    Thoughts stand between <think> and </think>; some chat templates end with <think>, so that the
    answer has only the closing tag. Of a reply in the template above, only the answer is kept; if
    it has no <answer>, what follows its last tag.

    Args:
        opened: whether answers begin within a thought. None if that is not known: then the first
            answer is withheld until a tag or its end decides it, for `patience` seconds at most.

    """

    def __init__(self, opened: bool | None = False):
        self.opened = opened

    def filter(
        self,
        pieces: Iterable[str],
        patience: float = math.inf,
        on_thought: Callable[[str], object] = len,
    ) -> Iterator[str]:
        """Yield a streamed answer without its thoughts and without leading space.

        Args:
            pieces: the reply.
            patience: seconds, see the class.
            on_thought: called with the pieces of thoughts and of the judge's rationale.

        """
        begun = False
        for piece in self._outside(pieces, time.monotonic() + patience, on_thought):
            piece = piece if begun else piece.lstrip()
            if piece:
                begun = True
                yield piece

    def _outside(
        self, pieces: Iterable[str], deadline: float, on_thought: Callable[[str], object]
    ) -> Iterator[str]:
        """Yield the text outside of thoughts; text is withheld until `deadline` if need be."""
        text, state = "", _State(thinking=self.opened is True)
        try:
            for piece in pieces:
                text += piece
                while match := _TAG.search(text):
                    before, text = text[: match.start()], text[match.end() :]
                    if (
                        match[0] == END_THINK and not state.hidden
                    ):  # it was a thought from the start
                        self.opened = True
                        on_thought(before)
                    else:
                        self.opened = bool(self.opened)
                        yield from state.push(before, on_thought)
                    if state.rest.strip():
                        on_thought("\n")  # between two parts
                    state.pass_tag(match[0])
                if self.opened is None and time.monotonic() < deadline:
                    continue
                end = len(text) - _partial_tag(text)
                yield from state.push(text[:end], on_thought)
                text = text[end:]
        except Exception:
            yield from state.push(text, on_thought)
            raise
        self.opened = bool(self.opened)
        yield from state.push(text, on_thought)
        if state.template and not state.answered:
            yield state.rest


@dataclass
class _State:
    """Where in a reply a `ThoughtFilter` is."""

    thinking: bool
    template: bool = False  # the reply is in the template
    answered: bool = False  # its answer has begun
    rest: str = ""  # what was hidden since the last tag

    @property
    def hidden(self) -> bool:
        """Whether text is hidden here."""
        return self.thinking or self.template

    def push(self, text: str, on_thought: Callable[[str], object]) -> Iterator[str]:
        """Yield a text, or hide it."""
        if not self.thinking:
            yield text
        elif text:
            self.rest += text
            on_thought(text)

    def pass_tag(self, tag: str) -> None:
        """Go on after a tag."""
        self.rest = ""
        self.template = self.template or tag in (JUDGE, ANSWER, *MODES.values())
        self.answered = self.answered or tag == ANSWER
        self.thinking = tag in (THINK, JUDGE) or (self.template and tag != ANSWER)


def _partial_tag(text: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of a tag."""
    start = text.rfind("<", -max(map(len, TAGS)))
    tail = text[start:] if start >= 0 else ""
    return len(tail) if any(tag.startswith(tail) for tag in TAGS) else 0
