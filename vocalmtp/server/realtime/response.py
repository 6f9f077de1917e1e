"""The events of one response, from its creation to its end."""

import base64
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from vocalmtp.audio.stream_encoder import StreamEncoder
from vocalmtp.chat.history import ToolCall
from vocalmtp.server.realtime.config import RATE
from vocalmtp.server.realtime.items import Conversation, Item, message_item, new_id

Emit = Callable[..., None]  # the type of an event, and its fields
Status = Literal["in_progress", "completed", "cancelled", "failed"]

AUDIO_TOKENS = 20  # per second of audio


class ResponseEvents:
    """Emits the events of a response, whose items become part of the conversation.

    Args:
        turn: the number of the answer in the session.
        emit: sends an event.
        conversation: receives the items.
        modality: "audio" (with a transcript) or "text".
        about: fields of the response object, such as the metadata of the client.

    Attributes:
        done: the last event was emitted.
        item: the message; None before its first piece.

    """

    def __init__(
        self,
        turn: int,
        emit: Emit,
        conversation: Conversation,
        modality: Literal["audio", "text"],
        about: dict[str, Any],
    ):
        self.turn, self.done, self.modality = turn, False, modality
        self.item: Item | None = None
        self.error: dict[str, Any] | None = None
        self._emit, self._conversation, self._about = emit, conversation, about
        self._id, self._status = new_id("resp"), "in_progress"
        self._text, self._seconds = "", 0.0
        self._outputs: list[Item] = []
        self._calls: list[ToolCall] = []
        self._encoder: StreamEncoder | None = None  # None before the first audio
        emit("response.created", response=self._object())

    @property
    def id(self) -> str:
        """The identifier."""
        return self._id

    def text(self, delta: str) -> None:
        """Add a piece of the text."""
        self._begin_message()
        self._text += delta
        self._emit_part(f"response.output_{self._text_name}.delta", delta=delta)

    def audio(self, samples: np.ndarray, sample_rate: int) -> None:
        """Add samples [n] of the audio, float32."""
        self._begin_message()
        self._seconds += len(samples) / sample_rate
        if self._encoder is None:
            self._encoder = StreamEncoder("pcm", sample_rate, RATE)
        self._send_audio(self._encoder.push(samples))

    def call(self, call: ToolCall) -> None:
        """Add a function call, which is emitted after the message."""
        self._calls.append(call)

    def finish(self, input_tokens: int, count: Callable[[str], int]) -> None:
        """Emit the end of a complete, or failed, response.

        Args:
            input_tokens: of the conversation.
            count: returns the number of tokens of a text.

        """
        self._end_message("completed", self._text)
        for call in self._calls:
            self._emit_call(call)
        status: Status = "completed" if self.error is None else "failed"
        details = None if self.error is None else {"type": "failed", "error": self.error}
        self._end(status, details, input_tokens, count)

    def cancel(
        self, reason: str, played_text: str, input_tokens: int, count: Callable[[str], int]
    ) -> None:
        """Emit the end of a response that is interrupted, whose message keeps what was played."""
        self._end_message("incomplete", played_text)
        details = {"type": "cancelled", "reason": reason}
        self._end("cancelled", details, input_tokens, count)

    @property
    def _text_name(self) -> str:
        return "audio_transcript" if self.modality == "audio" else "text"

    def _begin_message(self) -> None:
        if self.item is not None:
            return
        self.item = message_item("assistant", {}, "in_progress")
        self.item["content"] = []
        self._begin_item(self.item)
        self._emit_part("response.content_part.added", part=self._part(""))

    def _begin_item(self, item: Item) -> None:
        index = len(self._outputs)
        self._outputs.append(item)
        previous = self._conversation.add(item)
        self._emit(
            "response.output_item.added", response_id=self._id, output_index=index, item=item
        )
        self._emit("conversation.item.added", previous_item_id=previous, item=item)

    def _end_item(self, item: Item, index: int) -> None:
        self._emit("response.output_item.done", response_id=self._id, output_index=index, item=item)
        previous = self._conversation.previous_id(item["id"])
        self._emit("conversation.item.done", previous_item_id=previous, item=item)

    def _end_message(self, status: str, kept: str) -> None:
        """Emit the end of the message, of whose text `kept` stays in the conversation."""
        if self.item is None:
            return
        name, part = self._text_name, self._part(self._text)
        if self.modality == "audio":
            if self._encoder is not None and status == "completed":
                self._send_audio(self._encoder.finish())
            self._emit_part("response.output_audio.done")
        self._emit_part(
            f"response.output_{name}.done", **{key: part[key] for key in part if key != "type"}
        )
        self._emit_part("response.content_part.done", part=part)
        self.item["status"] = status
        self.item["content"] = [self._part(kept) | {"type": f"output_{self.modality}"}]
        self._end_item(self.item, 0)

    def _emit_call(self, call: ToolCall) -> None:
        item: Item = {
            "id": new_id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call.id or new_id("call"),
            "name": call.name,
            "arguments": "",
        }
        index = len(self._outputs)
        self._begin_item(item)
        place = {"response_id": self._id, "item_id": item["id"], "output_index": index}
        place["call_id"] = item["call_id"]
        name = "response.function_call_arguments"
        self._emit(f"{name}.delta", delta=call.arguments, **place)
        self._emit(f"{name}.done", arguments=call.arguments, name=call.name, **place)
        item |= {"status": "completed", "arguments": call.arguments}
        self._end_item(item, index)

    def _part(self, text: str) -> Item:
        key = "transcript" if self.modality == "audio" else "text"
        return {"type": self.modality, key: text}

    def _emit_part(self, kind: str, **fields: Any) -> None:
        assert self.item is not None
        place = {"response_id": self._id, "item_id": self.item["id"]}
        self._emit(kind, **place, output_index=0, content_index=0, **fields)

    def _send_audio(self, data: bytes) -> None:
        if data:
            delta = base64.b64encode(data).decode()
            self._emit_part("response.output_audio.delta", delta=delta)

    def _end(
        self,
        status: Status,
        details: dict[str, Any] | None,
        input_tokens: int,
        count: Callable[[str], int],
    ) -> None:
        self.done, self._status = True, status
        text, audio = count(self._text), round(self._seconds * AUDIO_TOKENS)
        usage = {
            "total_tokens": input_tokens + text + audio,
            "input_tokens": input_tokens,
            "output_tokens": text + audio,
            "input_token_details": {
                "text_tokens": input_tokens,
                "audio_tokens": 0,
                "cached_tokens": 0,
            },
            "output_token_details": {"text_tokens": text, "audio_tokens": audio},
        }
        response = self._object() | {"status_details": details, "usage": usage}
        self._emit("response.done", response=response)

    def _object(self) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self._id,
            "status": self._status,
            "status_details": None,
            "output": self._outputs,
            "output_modalities": [self.modality],
            "usage": None,
        } | self._about
