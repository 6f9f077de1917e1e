"""Messages of the Realtime interface: parsing of what clients send, and the form of errors."""

import base64
import binascii
import json
from typing import Any

from vocalmtp.errors import InputError

Event = dict[str, Any]


def error_fields(message: str, code: str) -> Event:
    """Return an error in the form in which events have it."""
    return {"type": "server_error", "code": code, "message": message, "param": None}


def parse_event(message: str | bytes) -> Event:
    """Return an event of the client as an object. Raises InputError unless it is one."""
    try:
        event = json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError("event: is not JSON", code="damaged") from error
    if not isinstance(event, dict):
        raise InputError("event: must be an object", code="invalid_value")
    return event


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def decode_audio(data: Any, name: str) -> bytes:
    """Return 16-bit samples; raises InputError unless `data` is those in base64."""
    try:
        pcm = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InputError(f"{name}: is not base64", code="invalid_value") from error
    if len(pcm) % 2:
        raise InputError(f"{name}: has half a sample", code="invalid_value")
    return pcm
