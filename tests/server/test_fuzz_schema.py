"""Requests that schemathesis makes from the schema: no one may end in an error of the server."""

import os
from collections import Counter

import pytest
from helpers.chat_fakes import ScriptedLLM
from helpers.chat_server import serving

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", 5000))  # over all routes


@pytest.mark.fuzz
def test_no_request_is_a_server_error(make_state, tmp_path):
    """Valid and invalid requests in equal number; texts are short, so that it ends."""
    state = make_state(voices=tmp_path, llm=ScriptedLLM("Oh."), chars=20)
    state.warm_up()
    with serving(state, page=False) as port:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) > 10
        with_input = [op for op in operations if op.body or op.path_parameters]
        count = REQUESTS // len(with_input) + 1
        for operation in operations:
            statuses = send(operation, count if operation in with_input else 1)
            print(operation.label, dict(statuses), flush=True)


def send(operation, count: int) -> Counter[int]:
    """Send so many requests to one route; how often which status was the answer."""
    statuses: Counter[int] = Counter()
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
    health = list(HealthCheck)

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=health)
    @given(case=st.one_of(modes))
    def check(case) -> None:
        status = case.call(timeout=600).status_code
        statuses[status] += 1
        assert status < 500, case.as_curl_command()

    check()
    return statuses
