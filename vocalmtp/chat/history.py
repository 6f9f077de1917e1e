"""The messages of a conversation, as far as they were played, within a limit on tokens."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]
INTERRUPTED = "\u2014 [the user interrupted here and heard no more]"
OVERHEAD = 4  # tokens of a chat template around every message
KEPT_SHARE = 0.7  # of the limit that is filled after turns were dropped

# How the last sentence of a question begins in English.
QUESTION = re.compile(
    r"(?:and|but|so|then)?\W*(?:who|whom|whose|what(?! an?\b)|when|where|why|how|which|is|are|was|were|"
    r"does|did|can|could|will|would|should)\b[^.?!]*\.?$",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"(?<=[.?!])\s+")


def as_written(transcript: str) -> str:
    """Write a recognized turn as it would be typed: with a capital, and questions with their mark.

    Recognizers often leave both out, and small language models then go on with the sentence.
    """
    text = transcript.strip()
    if QUESTION.match(SENTENCE.split(text)[-1]):
        text = text.rstrip(" .") + "?"
    return text[:1].upper() + text[1:]


@dataclass(frozen=True)
class ToolCall:
    """A function call of a language model; the arguments are JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One message of a chat model.

    Attributes:
        text: of an `interrupted` message, only what was played; of a tool, its result.
        calls: functions that the assistant called.
        call_id: of a tool's result, the call that it belongs to.
        spoken: whether the text was recognized in speech.

    """

    role: Role
    text: str
    interrupted: bool = False
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    spoken: bool = False

    @property
    def content(self) -> str:
        """The text for the language model, with a remark if it was interrupted."""
        text = as_written(self.text) if self.spoken else self.text
        return f"{text} {INTERRUPTED}".lstrip() if self.interrupted else text


class History:
    """The messages of a conversation, in order, after a system prompt.

    Args:
        system: the system prompt; empty for none.

    """

    def __init__(self, system: str = ""):
        self.system = system
        self._turns: list[Message] = []
        self._dropped = 0  # the oldest turns, which did not fit

    @property
    def turns(self) -> tuple[Message, ...]:
        """All messages of the user and the assistant."""
        return tuple(self._turns)

    def add(self, message: Message) -> None:
        """Append a message; consecutive messages of the user are joined."""
        if self._turns and self._turns[-1].role == message.role == "user":
            message = replace(message, text=f"{self._turns.pop().text} {message.text}")
        self._turns.append(message)

    def replace(self, messages: Iterable[Message]) -> None:
        """Replace all messages of the user and the assistant."""
        self._turns.clear()
        self._dropped = 0
        for message in messages:
            self.add(message)

    def truncate(self, played_text: str) -> None:
        """Reduce the last answer to the text that was played; remove it if there is none."""
        if self._turns and self._turns[-1].role == "assistant":
            last = self._turns.pop()
            self._dropped = min(self._dropped, len(self._turns))
            if played_text:
                self._turns.append(replace(last, text=played_text, interrupted=True))

    def messages(self, limit: int, count: Callable[[str], int]) -> list[Message]:
        """Return the messages that fit into `limit` tokens.

        The system prompt and the user's last message are always among them. The oldest turns are
        dropped first, so that the first message after the system prompt is one of the user's. Once
        they do not fit, KEPT_SHARE of the limit is kept, since a language model runs all of a
        prompt again whose beginning has changed.

        Args:
            limit: tokens, those of the chat template included.
            count: returns the number of tokens of a text.

        """
        head = [Message("system", self.system)] if self.system else []

        def size(messages: list[Message]) -> int:
            return sum(count(message.content) + OVERHEAD for message in messages)

        kept = self._turns[self._dropped :]
        if size(head + kept) > limit:
            limit = int(limit * KEPT_SHARE)
        while len(kept) > 1 and (kept[0].role != "user" or size(head + kept) > limit):
            kept.pop(0)
        self._dropped = len(self._turns) - len(kept)
        return head + kept
