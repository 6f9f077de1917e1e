"""The items of a Realtime conversation, in the form in which they are sent."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, Field

from vocalmtp.chat.history import Message, ToolCall
from vocalmtp.config import parse
from vocalmtp.errors import InputError

Item = dict[str, Any]

ROOT = "root"  # stands for the place before the first item
MAX_ITEMS = 10_000
PARTS = {
    "system": ("input_text",),
    "user": ("input_text", "input_audio"),
    "assistant": ("output_text", "output_audio"),
}


class ContentPart(BaseModel):
    """A part of a message of a client."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio", "text", "audio"]
    text: str | None = Field(default=None, max_length=1_000_000)
    audio: str | None = None
    transcript: str | None = Field(default=None, max_length=1_000_000)


class ClientMessage(BaseModel):
    """A message that a client adds."""

    id: str | None = Field(default=None, min_length=1, max_length=64)
    type: Literal["message"]
    role: Literal["system", "user", "assistant"]
    content: list[ContentPart] = Field(min_length=1, max_length=100)


class ClientCall(BaseModel):
    """A function call that a client adds, such as one of an earlier session."""

    id: str | None = Field(default=None, min_length=1, max_length=64)
    type: Literal["function_call"]
    call_id: str = Field(default_factory=lambda: new_id("call"), max_length=64)
    name: str = Field(max_length=64)
    arguments: str = ""


class ClientResult(BaseModel):
    """The result of a function call."""

    id: str | None = Field(default=None, min_length=1, max_length=64)
    type: Literal["function_call_output"]
    call_id: str = Field(max_length=64)
    output: str = Field(max_length=1_000_000)


KINDS: dict[str, type[BaseModel]] = {
    "message": ClientMessage,
    "function_call": ClientCall,
    "function_call_output": ClientResult,
}


def new_id(kind: str) -> str:
    """Return an identifier that nothing else has."""
    return f"{kind}_{uuid4().hex[:24]}"


def parse_item(value: Any) -> Item:
    """Return the item of a client in the form in which it is kept; raises InputError."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in KINDS:
        raise InputError(
            f"item.type '{kind!s:.40}': must be one of: {', '.join(KINDS)}",
            code="invalid_value",
            key="item.type",
        )
    item: Item = parse(KINDS[kind], value, "item").model_dump(exclude_none=True)
    item = Item(id=new_id("item"), object="realtime.item", status="completed") | item
    for part in item.get("content", ()):
        if item["role"] == "assistant":  # "text" and "audio" are names of the beta
            part["type"] = f"output_{part['type'].removeprefix('output_')}"
        if part["type"] not in PARTS[item["role"]]:
            raise InputError(
                f"item.content.type '{part['type']}': is not for the role '{item['role']}'; "
                f"choose one of: {', '.join(PARTS[item['role']])}",
                code="invalid_value",
            )
    return item


def message_item(role: str, part: Item, status: str = "completed") -> Item:
    """Return a new message of one part."""
    about = {"id": new_id("item"), "object": "realtime.item", "type": "message", "status": status}
    return about | {"role": role, "content": [part]}


def text_of(item: Item) -> str:
    """Return the text of a message, that of its audio included."""
    parts = (part.get("text") or part.get("transcript") or "" for part in item["content"])
    return " ".join(filter(None, (part.strip() for part in parts)))


class Conversation:
    """The items in their order."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def previous_id(self, item_id: str) -> str | None:
        """Return the identifier of the item before another one; None at the beginning."""
        previous = None
        for item in self._items:
            if item["id"] == item_id:
                return previous
            previous = item["id"]
        return None

    def find(self, item_id: Any) -> Item:
        """Return an item. Raises InputError if there is none of that identifier."""
        for item in self._items:
            if item["id"] == item_id:
                return item
        raise InputError(f"item_id '{item_id!s:.64}': no such item", code="not_found")

    def add(self, item: Item, previous: str | None = None) -> str | None:
        """Insert an item after another one, or at the end; return the identifier of that one.

        Raises:
            InputError: the other one does not exist, the identifier is taken, or there are too many.

        """
        if any(known["id"] == item["id"] for known in self._items):
            raise InputError(f"item.id '{item['id']}': is taken", code="conflict")
        if len(self._items) >= MAX_ITEMS:
            raise InputError("item: the conversation has too many", code="out_of_range")
        place = len(self._items)
        if previous is not None:
            place = 0 if previous == ROOT else self._items.index(self.find(previous)) + 1
        self._items.insert(place, item)
        return self._items[place - 1]["id"] if place else None

    def delete(self, item_id: Any) -> None:
        """Remove an item; raises InputError if there is none of that identifier."""
        self._items.remove(self.find(item_id))

    def system_texts(self) -> list[str]:
        """Return the texts of the system's messages."""
        return [text_of(item) for item in self._items if item.get("role") == "system"]

    def messages(self) -> list[Message]:
        """Return the items as messages of a chat model, without those of the system."""
        found: list[Message] = []
        for item in self._items:
            if item["type"] == "function_call_output":
                found.append(Message("tool", item["output"], call_id=item["call_id"]))
            elif item["type"] == "function_call":
                call = ToolCall(item["call_id"], item["name"], item["arguments"])
                if not found or found[-1].role != "assistant":
                    found.append(Message("assistant", ""))
                found[-1] = replace(found[-1], calls=(*found[-1].calls, call))
            elif item["role"] != "system" and (text := text_of(item)):
                interrupted = item["status"] == "incomplete"
                found.append(Message(item["role"], text, interrupted=interrupted))
        return found
