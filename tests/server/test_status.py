"""The routes that describe the server, and who may use it."""

import base64

import pytest
from helpers.chat_server import serving, serving_process
from helpers.errors import raises_input_error
from helpers.speech_client import SPEECH, client_of

from vocalmtp.bench.serve import run_serve_bench
from vocalmtp.cli.serve import ServeOptions


def test_model_and_aliases_are_listed(client):
    names = {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert names == {"toy", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"}
    assert {model["id"] for model in client.get("/v1/audio/models").json()["models"]} == names
    assert client.get("/v1/models/tts-1").json()["id"] == "tts-1"
    assert client.get("/v1/models/other").status_code == 404


def test_ready_after_warm_up_only(make_state):
    state = make_state()
    client = client_of(state)
    assert client.get("/health").status_code == 200
    waiting = client.get("/ready")
    assert waiting.status_code == 503 and waiting.headers["retry-after"]
    state.warm_up()
    assert client.get("/ready").status_code == 200


def test_metrics_count_what_was_served(client):
    assert client.post(SPEECH, json={"input": "Oh."}).status_code == 200
    lines = dict(
        line.rsplit(" ", 1)
        for line in client.get("/metrics").text.splitlines()
        if not line.startswith("#")
    )
    assert float(lines['vocalmtp_requests_total{outcome="complete"}']) == 1
    assert float(lines["vocalmtp_audio_seconds_total"]) > 0
    for name in ("first_audio_seconds", "real_time_factor"):
        assert float(lines[f"vocalmtp_{name}_count"]) == 1
    for name in ("chunk_gap_seconds_count", "underrun_seconds_total", "queue_length"):
        assert f"vocalmtp_{name}" in lines
    assert float(lines["vocalmtp_batch_rows_count"]) > 1


def test_running_server_is_measured(make_state):
    state = make_state()
    state.warm_up()
    with serving(state, page=False) as port:
        metrics = run_serve_bench(f"http://127.0.0.1:{port}/", clients=(1, 2), seconds=0.5)
    found = {(metric.name, metric.system): metric.estimate.value for metric in metrics}
    for system in ("1 client", "2 clients"):
        assert found["requests served", system] > 0
        assert found["first audio, 50th percentile", system] > 0
        assert found["requests failed", system] == 0


def test_schema_describes_the_routes(client):
    schema = client.get("/openapi.json").json()
    assert {SPEECH, f"{SPEECH}/batch", "/v1/audio/voices", "/v1/audio/transcriptions"} <= set(
        schema["paths"]
    )


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic !", 401),
        ("Bearer secret", 200),
        ("bearer second", 200),
        ("Basic " + base64.b64encode(b"me:secret").decode(), 200),
    ],
)
def test_keys_are_required(make_state, header, status):
    client = client_of(make_state(), keys=["secret", "second"])
    headers = {} if header is None else {"authorization": header}
    response = client.get("/v1/models", headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.json()["error"]["code"] == "invalid_api_key"
    assert client.get("/health").status_code == 200


def test_cross_origin_requests_are_refused_unless_allowed(make_state):
    state = make_state()
    headers = {"origin": "http://elsewhere"}
    assert "access-control-allow-origin" not in client_of(state).get("/", headers=headers).headers
    allowed = client_of(state, origins=["http://elsewhere"]).get("/", headers=headers)
    assert allowed.headers["access-control-allow-origin"] == "http://elsewhere"


def test_origins_are_those_that_browsers_send():
    assert ServeOptions(cors=["https://a.test", "http://[::1]:8000", "*"]).origins()
    for origin in ("https://a.test/", "a.test", "ftp://a.test", "https://a.test/page"):
        with raises_input_error("invalid_value", key="cors"):
            ServeOptions(cors=[origin]).origins()


def test_other_host_names_are_refused_on_a_local_address(make_state):
    client = client_of(make_state())
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_server_that_is_ended_as_soon_as_it_listens_ends(folder):
    with serving_process("--model", folder, "--llm", "echo") as (process, _):
        process.terminate()
        assert process.wait(60) != 0
