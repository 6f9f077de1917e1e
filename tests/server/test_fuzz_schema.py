"""Requests that schemathesis makes from the schema: no one may end in an error of the server."""

import os

import pytest
from helpers.chat_fakes import ScriptedLLM
from helpers.speech_client import LOCAL

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402

from vocalmtp.server.app import make_app  # noqa: E402

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", 5000))  # over all routes


@pytest.mark.fuzz
def test_no_request_is_a_server_error(make_state, tmp_path):
    """Valid and invalid requests in equal number; texts are short, so that it ends."""
    state = make_state(voices=tmp_path, llm=ScriptedLLM("Oh."), chars=40)
    state.warm_up()
    app = make_app(state, page=False)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, base_url=LOCAL)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 10
    statuses: dict[str, dict[int, int]] = {}
    for operation in operations:
        seen = statuses.setdefault(operation.label, {})
        modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @settings(
            max_examples=REQUESTS // len(operations) + 1,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(modes))
        def check(case, seen=seen) -> None:
            status = case.call(headers={"host": "127.0.0.1"}).status_code
            seen[status] = seen.get(status, 0) + 1
            assert status < 500, case.as_curl_command()

        check()
    print(statuses, sum(sum(seen.values()) for seen in statuses.values()))
