"""A language model behind an OpenAI-compatible endpoint: POST /chat/completions, streamed."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vocalmtp.chat.answer import AnswerError, AnswerSink
from vocalmtp.chat.history import Message
from vocalmtp.chat.llm import LLMS, without_thoughts
from vocalmtp.errors import InputError
from vocalmtp.optional import require

if TYPE_CHECKING:
    import httpx

KEY = "OPENAI_API_KEY"  # the environment variable
CONNECT = 5.0  # seconds to wait for a connection
LETTERS_PER_TOKEN = 4  # of English text, roughly: the endpoint's tokenizer is not known
LONGEST_EVENT = 1 << 20  # bytes

UNREACHABLE = "Sorry, I cannot reach my language model."
SLOW = "Sorry, my language model is too slow at the moment."
BROKEN = "Sorry, something went wrong with my language model."


@LLMS.register("openai")
def open_endpoint(
    url: str | None = None, model: str | None = None, device: str = "cpu"
) -> "OpenAIChat":
    """Return the language model `model` at `url`; raises InputError if either is missing."""
    if url is None:
        raise InputError("llm 'openai': needs an address; give openai=URL", code="missing")
    if model is None:
        raise InputError(
            f"llm '{url}': the model's name is missing; give --llm-model NAME", code="missing"
        )
    return OpenAIChat(url, model)


class OpenAIChat:
    """Asks `model` at `url`, such as http://localhost:8000/v1; the key is in OPENAI_API_KEY.

    `timeout` is for the first token, and between any two, in seconds. `max_tokens` is only sent if
    it is given: not every endpoint knows it, and answers are cut anyway. Raises InputError if `url`
    is no address, or httpx is missing.
    """

    def __init__(self, url: str, model: str, timeout: float = 20.0, max_tokens: int | None = None):
        httpx = require("httpx")
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InputError(
                f"llm '{url}': not an address ({error})", code="invalid_value"
            ) from error
        if address.scheme not in ("http", "https") or not address.host:
            raise InputError(
                f"llm '{url}': not an address; give http://HOST:PORT/v1", code="invalid_value"
            )
        self.name = f"{model} at {address.host}"
        self._url = f"{url.rstrip('/').removesuffix('/chat/completions')}/chat/completions"
        self._body: dict[str, Any] = {"model": model, "stream": True}
        if max_tokens is not None:
            self._body["max_tokens"] = max_tokens
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Timeout(timeout, connect=min(CONNECT, timeout))
        self._timeout = timeout
        self._client = httpx.Client(headers=headers, timeout=limits)

    def count_tokens(self, text: str) -> int:
        return len(text) // LETTERS_PER_TOKEN + 1

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        import httpx

        body = self._body | {
            "messages": [{"role": message.role, "content": message.content} for message in messages]
        }
        try:
            with (
                self._client.stream("POST", self._url, json=body) as response,
                out.on_cancel(lambda: _hang_up(response)),
            ):
                _check(response)
                yield from without_thoughts(_deltas(response, self._timeout))
        except httpx.ConnectError as error:
            raise AnswerError(f"{self.name} cannot be reached ({error})", UNREACHABLE) from error
        except httpx.ConnectTimeout as error:
            raise AnswerError(f"{self.name} cannot be reached in time", UNREACHABLE) from error
        except httpx.TimeoutException as error:
            raise AnswerError(f"{self.name} did not answer in time", SLOW) from error
        except httpx.HTTPError as error:
            raise AnswerError(f"{self.name} broke off: {error}", BROKEN) from error


def _hang_up(response: "httpx.Response") -> None:
    """End a response that another thread is waiting for."""
    stream = response.extensions.get("network_stream")
    line = stream.get_extra_info("socket") if stream is not None else None
    if line is not None:
        with suppress(OSError):  # it may have ended by itself
            line.shutdown(socket.SHUT_RDWR)


def _check(response: "httpx.Response") -> None:
    if response.status_code == 200:
        return
    text = b"".join(response.iter_bytes()).decode(errors="replace")
    with suppress(ValueError):
        text = _message(json.loads(text))
    raise AnswerError(f"the language model said {response.status_code}: {text[:200]}", BROKEN)


def _deltas(response: "httpx.Response", patience: float) -> Iterator[str]:
    """The pieces of text in a stream of server-sent events; the first within `patience` seconds,
    whatever else comes to keep the line open.
    """
    written, over, begin = False, False, time.monotonic()
    for line in _lines(response):
        if not written and time.monotonic() - begin > patience:
            raise AnswerError("the language model did not answer in time", SLOW)
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            over = True
            break
        try:
            event = json.loads(data)
            if "error" in event:
                raise AnswerError(f"the language model said: {_message(event)}", BROKEN)
            choices = event["choices"]
            text = choices[0]["delta"].get("content") if choices else None
            over = over or bool(choices and choices[0].get("finish_reason"))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise AnswerError(f"the language model sent garbage: {data[:80]}", BROKEN) from error
        if isinstance(text, str) and text:
            written = True
            yield text
    if not over:
        raise AnswerError("the language model broke off its answer", BROKEN)
    if not written:
        raise AnswerError("the language model wrote nothing", BROKEN)


def _lines(response: "httpx.Response") -> Iterator[str]:
    """The lines of a response, none of them endless."""
    rest = b""
    for piece in response.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LONGEST_EVENT:
            raise AnswerError("the language model sent garbage", BROKEN)
        yield from (line.decode(errors="replace").rstrip("\r") for line in lines)
    if rest:
        yield rest.decode(errors="replace")


def _message(answer: Any) -> str:
    """The words of an error, as OpenAI and others put them."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]
