"""A language model behind an OpenAI-compatible endpoint: POST /chat/completions, streamed."""

import json
import math
import os
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vocalmtp.chat.answer_stream import AnswerError, AnswerSink
from vocalmtp.chat.history import Message, ToolCall
from vocalmtp.chat.llm import LLMS
from vocalmtp.errors import InputError
from vocalmtp.optional import require
from vocalmtp.text.thinking import END_THINK, THINK, ThoughtFilter, limit_thoughts

if TYPE_CHECKING:
    import httpx

KEY = "OPENAI_API_KEY"  # the environment variable
CONNECT = 5.0  # seconds to wait for a connection
CHARS_PER_TOKEN = 4  # of English text, approximately: the endpoint's tokenizer is not known
# Continue the last message, as vLLM and SGLang do if so asked, and llama.cpp always.
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
MAX_LINE = 1 << 20  # bytes
WITHHOLD = 3.0  # seconds: how long the first live answer waits for a tag, see `ThoughtFilter`


class OpenAIChat:
    """A client of one model; the key is in OPENAI_API_KEY.

    Args:
        url: such as http://localhost:8000/v1.
        model: its name at the endpoint.
        timeout: seconds until the first token, and between two tokens.
        max_tokens: of an answer; sent only if given, as some endpoints do not know it.
        thinks: whether answers begin within a thought; None to find out from the first answer.

    Attributes:
        url: where completions are requested.
        headers: of every request.

    Raises:
        InputError: `url` is invalid, or the package httpx is missing.

    """

    def __init__(
        self,
        url: str,
        model: str,
        timeout: float = 20.0,
        max_tokens: int | None = None,
        thinks: bool | None = None,
    ):
        httpx, address = require("httpx"), parse_address(url)
        self.name = f"{model} at {address.host}"
        self.model, self.headers = model, _headers()
        self.url = f"{url.rstrip('/').removesuffix('/chat/completions')}/chat/completions"
        self._body: dict[str, Any] = {"model": model, "stream": True}
        if max_tokens is not None:
            self._body["max_tokens"] = max_tokens
        limits = httpx.Timeout(timeout, connect=min(CONNECT, timeout))
        self._timeout = timeout
        self._client = httpx.Client(headers=self.headers, timeout=limits)
        self._thoughts = ThoughtFilter(thinks)

    def count_tokens(self, text: str) -> int:
        """Estimate the number of tokens of a text."""
        return len(text) // CHARS_PER_TOKEN + 1

    def prepare(self, system: str) -> None:
        """Do nothing: the endpoint keeps its own caches."""

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        """Yield the answer to `messages`, see `LLM`."""
        calls: dict[int, dict[str, str]] = {}

        def reply(beginning: str) -> Generator[str, None, None]:
            return self.reply(messages, out, beginning, calls)

        limited = limit_thoughts(reply, out.think_seconds, self._thoughts.opened)
        patience = WITHHOLD if out.live else math.inf
        written = False
        for piece in self._thoughts.filter(limited, patience, out.thought):
            written = True
            yield piece
        for call in calls.values():
            out.call(ToolCall(**call))
        if not (written or calls):
            raise AnswerError(f"{self.name} wrote no answer", "llm_failed")

    def reply(
        self,
        messages: list[Message],
        out: AnswerSink,
        beginning: str = "",
        calls: dict[int, dict[str, str]] | None = None,
    ) -> Generator[str, None, None]:
        """Yield the reply to `messages` in pieces, with its thoughts between their tags.

        Args:
            messages: the conversation.
            out: see `LLM`.
            beginning: what of the reply there is, for the model to continue.
            calls: receives the fields of every function call by its index; None for no functions.

        Raises:
            AnswerError: the endpoint fails.

        """
        body = self._body | {"messages": [_as_json(message) for message in messages]}
        if out.tools and calls is not None:
            body["tools"] = list(out.tools)
        if beginning:
            body["messages"].append({"role": "assistant", "content": beginning})
            body |= CONTINUE
        with (
            self._failures(),
            self._client.stream("POST", self.url, json=body) as response,
            out.on_cancel(lambda: _disconnect(response)),
        ):
            _check_status(response)
            yield from _deltas(response, self._timeout, {} if calls is None else calls)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise AnswerError for the errors of a request inside the block."""
        import httpx

        try:
            yield
        except httpx.ConnectError as error:
            raise AnswerError(
                f"{self.name} cannot be reached ({error})", "llm_unreachable"
            ) from error
        except httpx.ConnectTimeout as error:
            raise AnswerError(
                f"{self.name} cannot be reached in time", "llm_unreachable"
            ) from error
        except httpx.TimeoutException as error:
            raise AnswerError(f"{self.name} did not answer in time", "llm_timeout") from error
        except httpx.HTTPError as error:
            raise AnswerError(
                f"{self.name} closed the connection: {error}", "llm_failed"
            ) from error


@LLMS.register("openai")
def open_endpoint(
    url: str | None = None, model: str | None = None, device: str = "cpu"
) -> OpenAIChat:
    """Return a client of `model` at `url`; raises InputError if either is missing or invalid."""
    if url is None:
        raise InputError("llm 'openai': needs an address; give openai=URL", code="missing")
    parse_address(url)
    if model is None:
        raise InputError(
            f"llm '{url}': the model's name is missing; give --llm-model NAME", code="missing"
        )
    return OpenAIChat(url, model)


def parse_address(url: str) -> Any:
    """Parse the address of an endpoint.

    Raises:
        InputError: it is not one of http or https, or the package httpx is missing.

    """
    httpx = require("httpx")
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"llm '{url}': not an address ({error})", code="invalid_value") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise InputError(
            f"llm '{url}': not an address; give http://HOST:PORT/v1", code="invalid_value"
        )
    return address


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _disconnect(response: "httpx.Response") -> None:
    """End a response that another thread is reading."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        with suppress(OSError):  # it may be closed already
            connection.shutdown(socket.SHUT_RDWR)


def _check_status(response: "httpx.Response") -> None:
    if response.status_code == 200:
        return
    text = b"".join(response.iter_bytes()).decode(errors="replace")
    with suppress(ValueError):
        text = _error_message(json.loads(text))
    raise AnswerError(
        f"the language model responded {response.status_code}: {text[:200]}", "llm_failed"
    )


def _as_json(message: Message) -> dict[str, Any]:
    """Return a message in the form of the endpoint."""
    known: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.call_id:
        known["tool_call_id"] = message.call_id
    if message.calls:
        known["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    return known


def _deltas(
    response: "httpx.Response", timeout: float, calls: dict[int, dict[str, str]]
) -> Iterator[str]:
    """Yield the pieces of text in a stream of server-sent events.

    Thoughts in a field of their own are put between their tags. The first event has to arrive
    within `timeout` seconds, whatever else keeps the connection alive.

    Args:
        response: the stream.
        timeout: in seconds.
        calls: receives the fields of every `ToolCall`, by its index.

    """
    written, complete, thinking, begin = False, False, False, time.monotonic()
    for line in _lines(response):
        if not (written or calls) and time.monotonic() - begin > timeout:
            raise AnswerError("the language model did not answer in time", "llm_timeout")
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            complete = True
            break
        try:
            event = json.loads(data)
            if "error" in event:
                message = _error_message(event)
                raise AnswerError(f"the language model failed: {message}", "llm_failed")
            choices = event["choices"]
            delta = choices[0]["delta"] if choices else {}
            text = delta.get("content")
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            for part in delta.get("tool_calls") or ():
                _add_call(calls, part)
            complete = complete or bool(choices and choices[0].get("finish_reason"))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise AnswerError(
                f"the language model sent an invalid event: {data[:80]}", "llm_failed"
            ) from error
        for part, is_thought in ((thought, True), (text, False)):
            if isinstance(part, str) and part:
                if thinking != is_thought:
                    thinking = is_thought
                    yield THINK if is_thought else END_THINK
                written = True
                yield part
    if not complete:
        raise AnswerError("the language model did not complete its answer", "llm_failed")


def _add_call(calls: dict[int, dict[str, str]], part: dict[str, Any]) -> None:
    """Add a piece of a function call."""
    call = calls.setdefault(part.get("index", 0), {"id": "", "name": "", "arguments": ""})
    function = part.get("function") or {}
    call["id"] += part.get("id") or ""
    call["name"] += function.get("name") or ""
    call["arguments"] += function.get("arguments") or ""


def _lines(response: "httpx.Response") -> Iterator[str]:
    """Yield the lines of a response; raises AnswerError if one has no end."""
    rest = b""
    for piece in response.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE:
            raise AnswerError("the language model sent a line without an end", "llm_failed")
        yield from (line.decode(errors="replace").rstrip("\r") for line in lines)
    if rest:
        yield rest.decode(errors="replace")


def _error_message(answer: Any) -> str:
    """Return the message of an error object, in the form of OpenAI or of other servers."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]
