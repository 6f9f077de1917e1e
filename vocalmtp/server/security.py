"""Who may use a server, and how much a request may send: ASGI middleware.

Programs send an API key as a bearer token, browsers a user and a password.
"""

import asyncio
import base64
import binascii
import secrets
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vocalmtp.errors import InputError
from vocalmtp.server.errors import APIError, error_response

COOKIE = "vocalmtp"
OPEN_PATHS = ("/health", "/ready")  # for the machines that watch a server
KEY_PROTOCOL = "openai-insecure-api-key."  # how a browser sends a key when it opens a socket
UPLOADS = ("/v1/audio/transcriptions", "/v1/audio/voices")  # paths that take recordings
BODY_TIMEOUT = 30.0  # seconds that a part of a body may take


def client_of(request: HTTPConnection) -> str:
    """Return what identifies the client of a request: its key, or its address."""
    key = request.headers.get("authorization")
    return key or (request.client.host if request.client else "")


def same_origin(headers: Headers) -> bool:
    """Return whether a request comes from a page of this server, or a program without an origin."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def check_auth(auth: str) -> None:
    """Raise InputError unless `auth` is "user:password"."""
    user, _, password = auth.partition(":")
    if not (user and password):
        raise InputError("auth: must be user:password", code="invalid_value")


class Authentication:
    """Requires an API key, or HTTP Basic authentication, of requests and sockets.

    A key is accepted as bearer token and as password of any user. After a password, a cookie
    replaces the header, which not every browser sends when it opens a socket.

    Args:
        app: the application to protect.
        auth: "user:password"; None for none.
        keys: API keys.

    """

    def __init__(self, app: ASGIApp, auth: str | None = None, keys: Collection[str] = ()):
        self._app, self._token = app, secrets.token_urlsafe(32)
        self._auth = None if auth is None else auth.encode()
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authenticated request on, and refuse others."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kind, _, value = headers.get("authorization", "").partition(" ")
        basic = kind.lower() == "basic" and self._is_password(value)
        bearer = kind.lower() == "bearer" and self._is_key(value.strip().encode())
        if basic or bearer or self._is_socket_key(headers) or self._has_cookie(headers):
            await self._app(scope, receive, self._with_cookie(send) if basic else send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            challenge = {"WWW-Authenticate": 'Basic realm="vocalmtp", charset="UTF-8"'}
            error = APIError(401, "invalid or no API key", "invalid_api_key", headers=challenge)
            await error_response(error)(scope, receive, send)

    def _is_key(self, given: bytes) -> bool:
        return any([secrets.compare_digest(given, key) for key in self._keys])

    def _is_password(self, given: str) -> bool:
        try:
            credentials = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return False
        known = self._auth is not None and secrets.compare_digest(credentials, self._auth)
        return known or self._is_key(credentials.partition(b":")[2])

    def _is_socket_key(self, headers: Headers) -> bool:
        protocols = headers.get("sec-websocket-protocol", "").split(",")
        given = [p.strip().removeprefix(KEY_PROTOCOL) for p in protocols if KEY_PROTOCOL in p]
        return any(self._is_key(key.encode()) for key in given)

    def _has_cookie(self, headers: Headers) -> bool:
        cookies = headers.get("cookie", "").split("; ")
        expected = f"{COOKIE}={self._token}".encode()
        return any(secrets.compare_digest(cookie.encode(), expected) for cookie in cookies)

    def _with_cookie(self, send: Send) -> Send:
        cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/".encode()

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"set-cookie", cookie)]
            await send(message)

        return send_with_cookie


class BodyLimit:
    """Refuses bodies that are too large, or that do not arrive.

    Args:
        app: the application to protect.
        body: most bytes of a body.
        upload: most bytes of a body on a path that takes recordings.

    """

    def __init__(self, app: ASGIApp, body: int, upload: int):
        self._app, self._body, self._upload = app, body, upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, whose body is checked while it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._upload if scope["path"] in UPLOADS else self._body
        message = f"the body has more than {most} bytes"
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > most:
            refusal = APIError(413, message, "body_too_large", headers={"Connection": "close"})
            await error_response(refusal)(scope, receive, send)
            return
        read, complete = 0, False

        async def checked() -> Message:
            nonlocal read, complete
            if complete:
                return await receive()  # only the end of the connection is left
            try:
                part = await asyncio.wait_for(receive(), BODY_TIMEOUT)
            except asyncio.TimeoutError as error:
                raise HTTPException(408, "the body did not arrive in time") from error
            read += len(part.get("body", b""))
            complete = not part.get("more_body", False)
            if read > most:
                raise HTTPException(413, message)
            return part

        await self._app(scope, checked, send)
