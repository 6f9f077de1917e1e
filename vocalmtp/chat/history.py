"""The messages of a conversation, as far as they were played, within a limit on tokens."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Role = Literal["system", "user", "assistant"]
INTERRUPTED = "\u2014 [the user interrupted here and heard no more]"
OVERHEAD = 4  # tokens of a chat template around every message


@dataclass(frozen=True)
class Message:
    """One message of a chat model; an `interrupted` one has only the text that was played."""

    role: Role
    text: str
    interrupted: bool = False

    @property
    def content(self) -> str:
        """The text for the language model, with a remark if it was interrupted."""
        return f"{self.text} {INTERRUPTED}".lstrip() if self.interrupted else self.text


class History:
    """The messages of a conversation, in order, after a system prompt.

    Args:
        system: the system prompt; empty for none.

    """

    def __init__(self, system: str = ""):
        self.system = system
        self._turns: list[Message] = []

    @property
    def turns(self) -> tuple[Message, ...]:
        """All messages of the user and the assistant."""
        return tuple(self._turns)

    def add(self, message: Message) -> None:
        """Append a message; consecutive messages of the user are joined."""
        if self._turns and self._turns[-1].role == message.role == "user":
            message = replace(message, text=f"{self._turns.pop().text} {message.text}")
        self._turns.append(message)

    def truncate(self, played_text: str) -> None:
        """Reduce the last answer to the text that was played; remove it if there is none."""
        if self._turns and self._turns[-1].role == "assistant":
            last = self._turns.pop()
            if played_text:
                self._turns.append(replace(last, text=played_text, interrupted=True))

    def messages(self, limit: int, count: Callable[[str], int]) -> list[Message]:
        """Return the messages that fit into `limit` tokens.

        The system prompt and the user's last message are always among them. The oldest turns are
        dropped first, so that the first message after the system prompt is one of the user's.

        Args:
            limit: tokens, those of the chat template included.
            count: returns the number of tokens of a text.

        """
        head = [Message("system", self.system)] if self.system else []

        def size(messages: list[Message]) -> int:
            return sum(count(message.content) + OVERHEAD for message in messages)

        kept = list(self._turns)
        while len(kept) > 1 and (kept[0].role == "assistant" or size(head + kept) > limit):
            kept.pop(0)
        return head + kept
