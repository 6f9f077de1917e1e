"""A Realtime session without its socket: events of the client in, events of the server out.

Everything else, such as voice activity, transcription and answers, is the ChatSession's.
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from vocalmtp.audio.io import resample
from vocalmtp.chat import events
from vocalmtp.chat.responders import AnswerOptions
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import SAMPLE_RATE, Recognizer
from vocalmtp.server.realtime.config import RATE, SessionConfig
from vocalmtp.server.realtime.items import (
    Conversation,
    Item,
    message_item,
    new_id,
    parse_item,
)
from vocalmtp.server.realtime.messages import Event, decode_audio, error_fields, parse_event
from vocalmtp.server.realtime.response import ResponseEvents
from vocalmtp.voices import AnyVoice

FAILURES = ("llm_unreachable", "llm_timeout", "llm_failed", "not_understood", "answer_failed")
MAX_AHEAD = 120.0  # seconds of audio that may arrive faster than real time
MAX_LEAD = 10.0  # seconds of audio that are sent ahead of playback

FindVoice = Callable[[str], AnyVoice]


class RealtimeSession:
    """Translates between the events of the interface and a ChatSession.

    `handle` every event of the client, one at a time.

    Args:
        chat: the conversation; its events are taken.
        send: called with every event of the server, in order, from any thread. It must not block.
        find_voice: returns the voice of a name; raises InputError.
        recognizer: for recordings that are added as items.
        model: what the client calls the model.
        voice: the name of the first voice.

    """

    def __init__(
        self,
        chat: ChatSession,
        send: Callable[[Event], None],
        find_voice: FindVoice,
        recognizer: Recognizer,
        model: str = "",
        voice: str | None = None,
    ):
        self._chat, self._send, self._find_voice = chat, send, find_voice
        self._recognizer = recognizer
        self._config = SessionConfig(model=model, instructions=chat.config.system)
        self._config.audio.output.voice = voice
        self._id, self._expires = new_id("sess"), round(time.time()) + 3600
        self._conversation = Conversation()
        self._turn_items: dict[int, Item] = {}  # the user's message, by turn, until its transcript
        self._durations: dict[int, float] = {}  # seconds of those turns
        self._speaking: Item | None = None  # the message that the user is speaking
        self._response: ResponseEvents | None = None  # the last one
        self._reason = "turn_detected"  # of an interruption
        self._begin, self._received = time.monotonic(), 0.0  # seconds of audio
        self._handlers: dict[str, Callable[[Event], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.truncate": self._truncate_item,
            "conversation.item.delete": self._delete_item,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }
        with chat.lock:
            chat.subscribe(self._on_event)
            self._apply()
            self._emit("session.created", session=self._session())

    def handle(self, message: str | bytes) -> bool:
        """Process an event of the client; return whether it was valid.

        An invalid one is answered by an error, and the session continues.
        """
        event_id = None
        try:
            event = parse_event(message)
            event_id = event.get("event_id")
            kind = event.get("type")
            if not isinstance(kind, str) or kind not in self._handlers:
                raise InputError(f"type '{kind!s:.64}': no such event", code="unknown_name")
            if kind == "input_audio_buffer.append":
                self._append(event)  # takes the lock for every frame
            else:
                with self._chat.lock:
                    self._handlers[kind](event)
        except InputError as error:
            self._refuse(error, event_id)
            return False
        return True

    # -- events of the client, under the lock --------------------------------------------------

    def _update(self, event: Event) -> None:
        config = self._config.updated(event.get("session"))
        voice = config.audio.output.voice
        if voice is not None and voice != self._config.audio.output.voice:
            self._chat.voice = self._find_voice(voice)
        self._config = config
        self._apply()
        self._emit("session.updated", session=self._session())

    def _apply(self) -> None:
        """Let the settings take effect."""
        system = "\n\n".join([self._config.instructions, *self._conversation.system_texts()])
        self._chat.configure(max_lead=MAX_LEAD, **self._config.chat_settings(system))
        self._chat.tools = self._config.chat_tools()

    def _append(self, event: Event) -> None:
        pcm = decode_audio(event.get("audio"), "audio")
        self._received += len(pcm) / 2 / RATE
        if self._received > time.monotonic() - self._begin + MAX_AHEAD:
            raise InputError("audio: arrives too fast; send it in real time", code="out_of_range")
        self._chat.feed(pcm, RATE)

    def _commit(self, event: Event) -> None:
        if not self._chat.end_turn():
            raise InputError(
                "input_audio_buffer: is empty; append audio before a commit", code="empty"
            )

    def _clear(self, event: Event) -> None:
        self._chat.drop_turn()
        self._emit("input_audio_buffer.cleared")

    def _create_item(self, event: Event) -> None:
        item = parse_item(event.get("item"))
        for part in item.get("content", ()):
            if audio := part.pop("audio", None):
                part["transcript"] = self._recognize(decode_audio(audio, "item.content.audio"))
        last = next(reversed([*self._conversation]), None)
        previous = self._conversation.add(item, event.get("previous_item_id"))
        for kind in ("added", "done"):
            self._emit(f"conversation.item.{kind}", previous_item_id=previous, item=item)
        if item.get("role") == "system":
            self._apply()
        elif previous == (last and last["id"]):
            for message in _only(item).messages():
                self._chat.history.add(message)
        else:
            self._rewrite_history()

    def _retrieve_item(self, event: Event) -> None:
        item = self._conversation.find(event.get("item_id"))
        self._emit("conversation.item.retrieved", item=item)

    def _delete_item(self, event: Event) -> None:
        item = self._conversation.find(event.get("item_id"))
        self._conversation.delete(item["id"])
        self._emit("conversation.item.deleted", item_id=item["id"])
        self._apply() if item.get("role") == "system" else self._rewrite_history()

    def _truncate_item(self, event: Event) -> None:
        item = self._conversation.find(event.get("item_id"))
        end = event.get("audio_end_ms")
        if not isinstance(end, int | float) or isinstance(end, bool) or not 0 <= end < math.inf:
            raise InputError(
                f"audio_end_ms '{end!s:.40}': must be a number, 0 or more", code="invalid_value"
            )
        if item.get("role") != "assistant":
            raise InputError(
                f"item_id '{item['id']}': is not an answer with audio", code="invalid_value"
            )
        response = self._response
        if response is not None and response.item is item:
            self._chat.report_playback(end / 1000, response.turn)
            self._interrupt("client_cancelled")
            text = self._chat.played_text(response.turn, end / 1000)
            if text is not None:
                item["content"] = [{"type": "output_audio", "transcript": text}]
                item["status"] = "incomplete"
                self._rewrite_history()
        self._emit(
            "conversation.item.truncated",
            item_id=item["id"],
            content_index=0,
            audio_end_ms=int(end),
        )

    def _create_response(self, event: Event) -> None:
        if self._response is not None and not self._response.done:
            raise InputError(
                f"response '{self._response.id}': is still in progress; cancel it, or wait",
                code="conflict",
                key="response",
            )
        wanted = event.get("response") or {}
        if not isinstance(wanted, dict):
            raise InputError("response: must be an object", code="invalid_value")
        if wanted.get("conversation") not in (None, "auto") or wanted.get("input") is not None:
            raise InputError(
                "response.conversation: responses outside of the conversation are not supported",
                code="unsupported",
            )
        fields = ("instructions", "output_modalities")
        config = self._config.updated({key: wanted[key] for key in fields if key in wanted})
        system = None if wanted.get("instructions") is None else config.instructions
        spoken = "audio" in config.output_modalities
        turn = self._chat.respond(AnswerOptions(system=system, spoken=spoken))
        if not self._chat.closed:
            self._begin_response(turn, spoken, wanted.get("metadata"))

    def _cancel_response(self, event: Event) -> None:
        response, wanted = self._response, event.get("response_id")
        if response is None or response.done or wanted not in (None, response.id):
            raise InputError("response: none is in progress", code="not_found")
        self._interrupt("client_cancelled")
        if not response.done:  # it had not begun
            response.cancel("client_cancelled", "", self._input_tokens(), self._count_tokens)

    # -- events of the conversation, under the lock --------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.SpeechStarted():
                self._on_speech_started(event)
            case events.SpeechEnded():
                self._on_speech_ended(event)
            case events.Listening() if self._speaking is not None:  # it was noise
                self._on_speech_stopped(self._received)
                self._turn_items = {
                    n: i for n, i in self._turn_items.items() if i is not self._speaking
                }
                self._speaking = None
            case events.Transcript(final=True):
                self._on_transcript(event)
            case events.Error(code="recognition_failed") if event.turn in self._turn_items:
                self._emit(
                    "conversation.item.input_audio_transcription.failed",
                    item_id=self._turn_items[event.turn]["id"],
                    content_index=0,
                    error=error_fields(event.message, event.code),
                )
            case events.Interrupted():
                self._on_interrupted(event)
            case _:
                self._on_answer(event)

    def _on_speech_started(self, event: events.SpeechStarted) -> None:
        item = message_item("user", {"type": "input_audio", "transcript": None})
        self._turn_items[event.turn] = self._speaking = item
        if self._config.audio.input.turn_detection is not None:
            self._emit(
                "input_audio_buffer.speech_started",
                item_id=item["id"],
                audio_start_ms=round(event.start * 1000),
            )

    def _on_speech_stopped(self, end: float) -> None:
        assert self._speaking is not None
        if self._config.audio.input.turn_detection is not None:
            self._emit(
                "input_audio_buffer.speech_stopped",
                item_id=self._speaking["id"],
                audio_end_ms=round(end * 1000),
            )

    def _on_speech_ended(self, event: events.SpeechEnded) -> None:
        assert self._speaking is not None
        self._on_speech_stopped(event.end)
        item, self._speaking = self._speaking, None
        self._durations[event.turn] = event.seconds
        previous = self._conversation.add(item)
        self._emit("input_audio_buffer.committed", item_id=item["id"], previous_item_id=previous)
        for kind in ("added", "done"):
            self._emit(f"conversation.item.{kind}", previous_item_id=previous, item=item)

    def _on_transcript(self, event: events.Transcript) -> None:
        item, seconds = self._turn_items.pop(event.turn), self._durations.pop(event.turn)
        item["content"][0]["transcript"] = event.text
        if self._config.audio.input.transcription is None:
            return
        place = {"item_id": item["id"], "content_index": 0}
        name = "conversation.item.input_audio_transcription"
        if event.text:
            self._emit(f"{name}.delta", **place, delta=event.text)
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        self._emit(f"{name}.completed", **place, transcript=event.text, usage=usage)

    def _on_interrupted(self, event: events.Interrupted) -> None:
        response = self._response
        if response is None or response.turn != event.turn:
            return
        if not response.done:
            tokens = self._input_tokens(), self._count_tokens
            response.cancel(self._reason, event.played_text, *tokens)
        else:  # it was playing: the client says what of it is kept
            self._rewrite_history()

    def _on_answer(self, event: events.Event) -> None:
        """Process an event of an answer, which may be its first one."""
        known = events.TextDelta | events.AudioChunk | events.ToolCalled | events.Finished
        if not isinstance(event, known | events.Error):
            return
        response = self._response
        if response is None or response.turn != event.turn:
            spoken = "audio" in self._config.output_modalities
            response = self._begin_response(event.turn, spoken, None)
        match event:
            case events.TextDelta():
                response.text(event.text)
            case events.AudioChunk():
                response.audio(event.samples, event.sample_rate)
            case events.ToolCalled():
                response.call(event.call)
            case events.Error() if event.code in FAILURES:
                response.error = {"type": "server_error", "code": event.code}
            case events.Finished():
                response.finish(self._input_tokens(), self._count_tokens)

    # -- both ----------------------------------------------------------------------------------

    def _begin_response(self, turn: int, spoken: bool, metadata: Any) -> ResponseEvents:
        about = {"conversation_id": self._id, "metadata": metadata}
        modality: Any = "audio" if spoken else "text"
        self._response = ResponseEvents(turn, self._emit, self._conversation, modality, about)
        return self._response

    def _interrupt(self, reason: str) -> None:
        self._reason = reason
        self._chat.interrupt()
        self._reason = "turn_detected"

    def _rewrite_history(self) -> None:
        self._chat.history.replace(self._conversation.messages())

    def _recognize(self, pcm: bytes) -> str:
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0
        return self._recognizer.transcribe(resample(samples, RATE, SAMPLE_RATE))

    def _count_tokens(self, text: str) -> int:
        return self._chat.responder.count_tokens(text) if text.strip() else 0

    def _input_tokens(self) -> int:
        texts = [self._config.instructions, *(m.text for m in self._conversation.messages())]
        return sum(map(self._count_tokens, texts))

    def _session(self) -> Event:
        about = {"object": "realtime.session", "id": self._id, "expires_at": self._expires}
        return about | self._config.model_dump()

    def _emit(self, kind: str, **fields: Any) -> None:
        self._send({"type": kind, "event_id": new_id("event"), **deepcopy(fields)})

    def _refuse(self, error: InputError, event_id: Any) -> None:
        about = {"type": "invalid_request_error", "param": error.key or None}
        fields = error_fields(str(error), error.code) | about
        fields["event_id"] = event_id if isinstance(event_id, str) else None
        self._emit("error", error=fields)


def _only(item: Item) -> Conversation:
    conversation = Conversation()
    conversation.add(item)
    return conversation
