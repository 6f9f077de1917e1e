"""The web application: the Gradio page at its root, the socket and static files below /talk."""

import base64
import secrets
import socket
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Response, WebSocket
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vocalmtp.errors import InputError
from vocalmtp.server.page import ASSETS, mount_page
from vocalmtp.server.socket import serve
from vocalmtp.server.state import ServerState

LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")
COOKIE = "vocalmtp"
PING = 5.0  # seconds between two pings of a client, and until it has to reply


def make_app(state: ServerState, host: str = "127.0.0.1", auth: str | None = None) -> FastAPI:
    """Make the application: the page at /, its socket at /talk/socket.

    Args:
        state: the models and settings.
        host: where it will be served; a local host is served by its local names only, against DNS
            rebinding.
        auth: "user:password", for HTTP Basic authentication; None for none.

    Raises:
        InputError: `auth` is not of that form.

    """
    if auth is not None:
        check_auth(auth)
    app = FastAPI(title="vocalmtp", docs_url=None, redoc_url=None, openapi_url=None)
    question: list[bytes] = []

    @app.websocket("/talk/socket")
    async def talk(socket: WebSocket) -> None:
        if not same_origin(socket.headers):
            await socket.close()  # before it is accepted: 403
            return
        await socket.accept()
        await serve(socket, state)

    @app.get("/talk/sample.wav")
    def sample() -> Response:
        if not question:
            question.append(state.sample_question())
        return Response(question[0], media_type="audio/wav")

    app.mount("/talk/assets", StaticFiles(directory=ASSETS))
    app = mount_page(app, state)
    if auth is not None:
        app.add_middleware(BasicAuth, auth=auth)
    if host in LOCAL:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])
    return app


def run(app: FastAPI, state: ServerState, host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, **settings(state))


def settings(state: ServerState) -> dict[str, Any]:
    """Return the settings of uvicorn, which limit messages and detect lost connections."""
    return {
        "log_level": "warning",
        "ws_max_size": state.limits.message,
        "ws_ping_interval": PING,
        "ws_ping_timeout": PING,
    }


def check_port(host: str, port: int) -> None:
    """Raise InputError unless the server can listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(
            f"host '{host}': not an address ({error.strerror}); give 127.0.0.1, or 0.0.0.0",
            code="invalid_value",
        ) from error
    try:
        with socket.socket(family, kind) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
    except OSError as error:
        raise InputError(
            f"port '{port}': cannot be used on {host} ({error.strerror}); give another --port",
            code="unusable",
        ) from error


def same_origin(headers: Headers) -> bool:
    """Return whether a request comes from a page of this server, or a program without an origin."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def check_auth(auth: str) -> None:
    """Raise InputError unless `auth` is "user:password"."""
    user, _, password = auth.partition(":")
    if not (user and password):
        raise InputError("auth: must be user:password", code="invalid_value")


class BasicAuth:
    """Middleware for HTTP Basic authentication of pages and sockets.

    A cookie replaces the header, which not every browser sends when it opens a socket.

    Args:
        app: the application to protect.
        auth: "user:password".

    """

    def __init__(self, app: ASGIApp, auth: str):
        self._app, self._token = app, secrets.token_urlsafe(32)
        self._credentials = b"Basic " + base64.b64encode(auth.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authenticated request on, and refuse others."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization", "").encode()
        known = secrets.compare_digest(given, self._credentials)
        if known or self._has_cookie(scope):
            await self._app(scope, receive, self._with_cookie(send) if known else send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            challenge = {"WWW-Authenticate": 'Basic realm="vocalmtp", charset="UTF-8"'}
            await Response("Please sign in.", 401, challenge)(scope, receive, send)

    def _has_cookie(self, scope: Scope) -> bool:
        cookies = Headers(scope=scope).get("cookie", "").split("; ")
        expected = f"{COOKIE}={self._token}".encode()
        return any(secrets.compare_digest(cookie.encode(), expected) for cookie in cookies)

    def _with_cookie(self, send: Send) -> Send:
        cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/".encode()

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"set-cookie", cookie)]
            await send(message)

        return send_with_cookie
