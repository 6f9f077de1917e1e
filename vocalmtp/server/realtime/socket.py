"""The WebSocket of the Realtime interface."""

import asyncio
import json
from contextlib import suppress

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from vocalmtp.chat.session import ChatSession
from vocalmtp.server.realtime.messages import Event, error_fields
from vocalmtp.server.realtime.session import RealtimeSession
from vocalmtp.server.security import same_origin
from vocalmtp.server.service import SpeechService
from vocalmtp.server.socket import CLOSE_MESSAGES, POLICY, SEND_TIMEOUT, TOO_BIG, TRY_LATER
from vocalmtp.server.state import ServerState

PROTOCOL = "realtime"  # a subprotocol that browsers offer beside their key
MAX_MESSAGE = 16 << 20  # bytes: more than the 15 MiB of audio that OpenAI accepts


def realtime_router(state: ServerState, speech: SpeechService) -> APIRouter:
    """Return the route of the interface."""
    router = APIRouter()

    @router.websocket("/v1/realtime")
    async def realtime(socket: WebSocket, model: str = "") -> None:
        if not same_origin(socket.headers):
            await socket.close()  # before it is accepted: 403
            return
        offered = socket.headers.get("sec-websocket-protocol", "").split(",")
        await socket.accept(PROTOCOL if PROTOCOL in map(str.strip, offered) else None)
        await _Connection(socket, state, speech).run(model)

    return router


class _Connection:
    """The events of one session in both directions, within the server's limits."""

    def __init__(self, socket: WebSocket, state: ServerState, speech: SpeechService):
        self._socket, self._state, self._speech = socket, state, speech
        self._loop = asyncio.get_running_loop()
        self._outgoing: asyncio.Queue[Event] = asyncio.Queue()

    async def run(self, model: str) -> None:
        """Hold one session; at its end, everything that it requested is cancelled."""
        state = self._state
        if state.active >= state.limits.sessions:
            await self._refuse("busy", CLOSE_MESSAGES["busy"], TRY_LATER)
            return
        state.active += 1
        chat: ChatSession | None = None
        tasks: list[asyncio.Task[None]] = []
        try:
            chat = await asyncio.to_thread(state.open_session)
            session = await asyncio.to_thread(self._begin, chat, model)
            tasks = [asyncio.create_task(work) for work in (self._receive(session), self._send())]
            limit = state.limits.minutes * 60
            await asyncio.wait(tasks, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not any(task.done() for task in tasks):
                await self._refuse("time_limit", CLOSE_MESSAGES["time_limit"], POLICY)
        finally:
            state.active -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if chat is not None:
                chat.close(timeout=0)  # its answer is cancelled now, its threads end a little later
                await asyncio.to_thread(chat.close)

    def _begin(self, chat: ChatSession, model: str) -> RealtimeSession:
        voice = self._speech.engine.tts.find_voice(chat.voice)
        return RealtimeSession(
            chat,
            lambda event: self._queue(event),
            self._speech.voices.resolve,
            self._state.recognizer,
            model or self._speech.model,
            None if voice is None else voice.name,
        )

    def _queue(self, event: Event) -> None:
        """Queue an event, from any thread."""
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(self._outgoing.put_nowait, event)

    async def _receive(self, session: RealtimeSession) -> None:
        invalid = 0
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("text") or message.get("bytes") or b""
            if len(data) > MAX_MESSAGE:
                reason = "message_too_large"
                await self._refuse(reason, CLOSE_MESSAGES["message_too_large"], TOO_BIG)
                return
            invalid += not await asyncio.to_thread(session.handle, data)
            if invalid > self._state.limits.invalid_messages:
                reason = "invalid_messages"
                await self._refuse(reason, CLOSE_MESSAGES["invalid_messages"], POLICY)
                return

    async def _send(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
            while True:
                text = json.dumps(await self._outgoing.get())
                await asyncio.wait_for(self._socket.send_text(text), SEND_TIMEOUT)

    async def _refuse(self, code: str, message: str, status: int) -> None:
        """Send an error and close the connection, unless the client no longer receives."""
        event = {"type": "error", "event_id": "event_0", "error": error_fields(message, code)}
        with suppress(WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
            await asyncio.wait_for(self._socket.send_text(json.dumps(event)), SEND_TIMEOUT)
            await asyncio.wait_for(self._socket.close(status), SEND_TIMEOUT)
