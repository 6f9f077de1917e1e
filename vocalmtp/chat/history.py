"""What was said, as far as it was heard, within a limit on tokens."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Role = Literal["system", "user", "assistant"]
BROKEN_OFF = "\u2014 [the user interrupted here and heard no more]"
OVERHEAD = 4  # tokens of a chat template around every message


@dataclass(frozen=True)
class Message:
    """One message, as chat models take it; `interrupted` if only this start of it was heard."""

    role: Role
    text: str
    interrupted: bool = False

    @property
    def content(self) -> str:
        """The text, and that it was broken off."""
        return f"{self.text} {BROKEN_OFF}".lstrip() if self.interrupted else self.text


class History:
    """The messages of a conversation, in order; the system's is always the first."""

    def __init__(self, system: str = ""):
        self.system = system
        self._said: list[Message] = []

    @property
    def said(self) -> tuple[Message, ...]:
        """The user's messages and the answers, unlimited."""
        return tuple(self._said)

    def add(self, message: Message) -> None:
        """Take in what was said; a user who goes on before there was an answer says one message."""
        if self._said and self._said[-1].role == message.role == "user":
            message = replace(message, text=f"{self._said.pop().text} {message.text}")
        self._said.append(message)

    def cut(self, heard: str) -> None:
        """Only `heard` of the last answer was heard; all of it is forgotten if that is nothing."""
        if self._said and self._said[-1].role == "assistant":
            last = self._said.pop()
            if heard:
                self._said.append(replace(last, text=heard, interrupted=True))

    def messages(self, limit: int, count: Callable[[str], int]) -> list[Message]:
        """What fits into `limit` tokens, as `count` counts those of a text.

        The system's message and the user's last one are always in it, and after the system's it
        begins with one of the user's; the oldest turns go first, an answer with its question.
        """
        head = [Message("system", self.system)] if self.system else []

        def size(messages: list[Message]) -> int:
            return sum(count(message.content) + OVERHEAD for message in messages)

        kept = list(self._said)
        while len(kept) > 1 and (kept[0].role == "assistant" or size(head + kept) > limit):
            kept.pop(0)
        return head + kept
