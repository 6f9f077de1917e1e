"""Clients of the speech interface in the process of a test."""

from starlette.testclient import TestClient

from vocalmtp.server.app import make_app
from vocalmtp.server.state import ServerState

SPEECH = "/v1/audio/speech"
LOCAL = "http://127.0.0.1:8000"


def client_of(state: ServerState, **options) -> TestClient:
    """A client of a server without the page; `options` go to make_app."""
    app = make_app(state, page=False, **options)
    return TestClient(app, base_url=LOCAL, raise_server_exceptions=False)


def error_of(response) -> tuple[int, str, str | None]:
    """Status, code and parameter of an error; its form is checked."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return response.status_code, error["code"], error["param"]
