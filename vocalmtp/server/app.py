"""The web application: the speech routes, and the chat page if it is wanted."""

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from fastapi import FastAPI, Response, WebSocket
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

import vocalmtp
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.server.completions import completions_router
from vocalmtp.server.errors import add_error_handlers
from vocalmtp.server.page import ASSETS, mount_page
from vocalmtp.server.realtime.socket import MAX_MESSAGE, realtime_router
from vocalmtp.server.recordings import recordings_router
from vocalmtp.server.security import Authentication, BodyLimit, check_auth, same_origin
from vocalmtp.server.service import SpeechService
from vocalmtp.server.socket import serve
from vocalmtp.server.speech import speech_router
from vocalmtp.server.state import ServerState
from vocalmtp.server.status import status_router
from vocalmtp.server.text_socket import text_router
from vocalmtp.server.workers import check_port

LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")
PING = 5.0  # seconds between two pings of a client, and until it has to reply
GRACE = 2  # seconds that open requests have left when the server is to end


def make_app(
    state: ServerState,
    host: str = "127.0.0.1",
    auth: str | None = None,
    keys: Collection[str] = (),
    origins: Collection[str] = (),
    page: bool = True,
) -> FastAPI:
    """Make the application: the speech routes, and the chat page at /.

    Args:
        state: the models and settings; without `speech`, there is only the page.
        host: where it will be served; a local host is served by its local names only, against DNS
            rebinding.
        auth: "user:password", for HTTP Basic authentication; None for none.
        keys: API keys, one of which requests then have to send.
        origins: of pages elsewhere that may use the server (CORS).
        page: whether to serve the chat page.

    Raises:
        InputError: `auth` is not of that form.

    """
    if auth is not None:
        check_auth(auth)
    app = FastAPI(title="vocalmtp", version=vocalmtp.__version__, docs_url=None, redoc_url=None)
    add_error_handlers(app)
    if state.speech is not None:
        add_speech(app, state, state.speech, page)
    if page:
        app = add_page(app, state)
    if auth is not None or keys:
        app.add_middleware(Authentication, auth=auth, keys=keys)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_headers=["*"])
    if host in LOCAL:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])
    return app


def add_speech(app: FastAPI, state: ServerState, service: SpeechService, page: bool) -> None:
    """Add the routes of the speech interface."""
    app.include_router(status_router(service, root=not page))
    app.include_router(speech_router(service))
    app.include_router(recordings_router(service, state.recognizer))
    responder = next(iter(state.responders.values()))
    if isinstance(responder, CascadeResponder):
        app.include_router(completions_router(service, responder.llm))
    app.include_router(text_router(service))
    app.include_router(realtime_router(state, service))
    limits = service.limits
    app.add_middleware(BodyLimit, body=limits.body, upload=limits.upload)


def add_page(app: FastAPI, state: ServerState) -> FastAPI:
    """Add the chat page at /, its socket and static files below /talk."""
    question: list[bytes] = []

    @app.websocket("/talk/socket")
    async def talk(socket: WebSocket) -> None:
        if not same_origin(socket.headers):
            await socket.close()  # before it is accepted: 403
            return
        await socket.accept()
        await serve(socket, state)

    @app.get("/talk/sample.wav", include_in_schema=False)
    def sample() -> Response:
        if not question:
            question.append(state.sample_question())
        return Response(question[0], media_type="audio/wav")

    app.mount("/talk/assets", StaticFiles(directory=ASSETS))
    return mount_page(app, state)


def run(
    app: FastAPI,
    state: ServerState,
    host: str,
    port: int,
    announce: Callable[[], None],
    wyoming: int | None = None,
    listener: socket.socket | None = None,
    encryption: Mapping[str, str] | None = None,
) -> None:
    """Serve until Ctrl-C.

    Args:
        app: the application.
        state: what it shares.
        host: the address.
        port: the port.
        announce: is called once connections are accepted.
        wyoming: the port of the Wyoming protocol; None: it is not served.
        listener: a socket that listens already, in place of `port`.
        encryption: settings of uvicorn for https; None: http.

    Raises:
        InputError: a port is in use.

    """
    for number in (None if listener else port, wyoming):
        if number is not None:
            check_port(host, number)  # another server may have started since the options were read
    _freeze_objects()
    config = {**settings(state), **(encryption or {})}
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(app, state, host, port, announce, wyoming, listener, config))


def _freeze_objects() -> None:
    """Exempt the million objects of libraries from later collections, which would delay steps.

    A signal meanwhile is handled afterwards: Python drops exceptions of handlers in finalizers.
    """
    received: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handled = (signal.SIGTERM, signal.SIGINT) if main else ()
    handlers = {
        number: signal.signal(number, lambda n, _: received.append(n)) for number in handled
    }
    gc.collect()
    gc.freeze()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for each in received:
        signal.raise_signal(each)


async def _serve(
    app: FastAPI,
    state: ServerState,
    host: str,
    port: int,
    announce: Callable[[], None],
    wyoming: int | None,
    listener: socket.socket | None,
    config: dict[str, Any],
) -> None:
    import uvicorn

    logging.getLogger("uvicorn.error").addFilter(_not_cancelled)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

    server = Server(uvicorn.Config(app, host=host, port=port, **config))
    async with AsyncExitStack() as stack:
        if wyoming is not None and state.speech is not None:
            from vocalmtp.server.wyoming import wyoming_server, wyoming_service

            service, public = wyoming_service(state, state.speech), host not in LOCAL
            await stack.enter_async_context(wyoming_server(service, host, wyoming, public))
        await server.serve(None if listener is None else [listener])


def _not_cancelled(record: logging.LogRecord) -> bool:
    """Whether a record is not of a request that the end of the server has cancelled."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def settings(state: ServerState) -> dict[str, Any]:
    """Return the settings of uvicorn: limits of messages and of the end, and lost connections."""
    return {
        "log_level": "warning",
        "ws_max_size": state.limits.message if state.speech is None else MAX_MESSAGE,
        "ws_ping_interval": PING,
        "ws_ping_timeout": PING,
        "timeout_graceful_shutdown": GRACE,
    }
