"""The speech routes: formats, events, batches, captions, limits and errors."""

import base64
import io
import json
import threading
from itertools import pairwise

import numpy as np
import pytest
from helpers.command_line import run
from helpers.speech_client import SPEECH, client_of, error_of

from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.io import join
from vocalmtp.audio.stream_encoder import MEDIA_TYPES, STREAM_FORMATS
from vocalmtp.server.voices import OPENAI_VOICES
from vocalmtp.tts import SynthesisRequest

TEXT = "Oh. Hi!"


def body(**fields) -> dict:
    return {"input": TEXT, "voice": "ann", **fields}


def decoded(data: bytes) -> tuple[int, np.ndarray]:
    """Sample rate and samples of an audio file."""
    import av

    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        assert stream.layout.nb_channels == 1
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return stream.rate, np.concatenate(frames, axis=1)[0]


@pytest.mark.parametrize("format", STREAM_FORMATS)
def test_every_format_has_the_audio_at_24_khz(client, tts, format):
    response = client.post(SPEECH, json=body(response_format=format))
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPES[format]
    seconds = join(list(tts.stream(TEXT, "ann"))).duration
    data = response.content
    if format == "pcm":
        count, rate = len(data) // 2, 24_000
    else:
        rate, samples = decoded(data)
        count = len(samples)
    assert rate == (48_000 if format == "opus" else 24_000)  # opus is always decoded at 48 kHz
    assert count / rate == pytest.approx(seconds, abs=0.15)
    if format == "wav":
        assert data[4:8] == data[40:44] == b"\xff" * 4  # the length is not known yet


def test_mp3_is_the_default(client):
    assert client.post(SPEECH, json=body()).headers["content-type"] == "audio/mpeg"


def test_audio_equals_that_of_the_command_line(client, folder, tts, tmp_path):
    options = ("--voice", "ann", "--seed", 3, "--temperature", 1.3)
    assert run("tts", TEXT, "--model", folder, "--stream", "-o", tmp_path / "a.wav", *options) == 0
    fields = body(response_format="wav", sample_rate=tts.sample_rate, seed=3, temperature=1.3)
    data = client.post(SPEECH, json=fields).content
    assert data[44:] == (tmp_path / "a.wav").read_bytes()[44:]


def test_audio_of_concurrent_clients_equals_that_of_each_alone(make_state, mini):
    state = make_state(mini, rows=3)
    requests = [
        body(input=text, voice=voice, seed=seed, temperature=temperature)
        for seed, temperature in ((0, None), (5, 1.3))
        for voice in ("heart", "daniel")
        for text in (TEXT, "Yes.")
    ]
    found = {}

    def post(number: int) -> None:
        fields = requests[number] | {"response_format": "pcm", "sample_rate": mini.sample_rate}
        found[number] = client_of(state).post(SPEECH, json=fields).content

    threads = [threading.Thread(target=post, args=(n,)) for n in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, fields in enumerate(requests):
        sampling = {"temperature": fields["temperature"]} if fields["temperature"] else {}
        alone = join(
            list(mini.stream(fields["input"], fields["voice"], fields["seed"], **sampling))
        )
        assert found[number] == to_pcm(alone.samples), fields


@pytest.mark.parametrize("speed", [0.25, 0.7, 2.0, 4.0])
def test_speed_changes_the_duration(client, tts, speed):
    seconds = join(list(tts.stream(TEXT, "ann"))).duration / speed
    response = client.post(SPEECH, json=body(response_format="pcm", speed=speed))
    assert len(response.content) / 48_000 == pytest.approx(seconds, rel=0.1, abs=0.1)


def test_events_carry_the_audio_twice_and_end_with_usage(client):
    whole = client.post(SPEECH, json=body(response_format="pcm")).content
    response = client.post(SPEECH, json=body(response_format="pcm", stream_format="sse"))
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in response.text.split("\n\n") if line]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert all(event["audio"] == event["delta"] for event in deltas)
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == whole
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["input_tokens"] == len(TEXT) and done["usage"]["total_tokens"] > len(TEXT)


def test_voices_are_names_objects_and_aliases(client, make_state, tts):
    fields = body(response_format="pcm")
    bob = client.post(SPEECH, json=fields | {"voice": {"id": "BOB"}}).content
    default = {key: value for key, value in fields.items() if key != "voice"}
    assert bob == client.post(SPEECH, json=default).content  # the card's default
    alias = client.post(SPEECH, json=fields | {"voice": "Ash"}).content  # the second of two voices
    assert alias == bob
    listed = client.get("/v1/audio/voices").json()["voices"]
    assert {"ann", "bob", *OPENAI_VOICES} == {voice["id"] for voice in listed}
    unknown = client.post(SPEECH, json=fields | {"voice": "bop"})
    assert error_of(unknown) == (400, "unknown_name", "voice") and "bob" in unknown.text
    lenient = client_of(make_state(lenient=True))
    assert lenient.post(SPEECH, json=fields | {"voice": "bop"}).content == bob


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"input": ""}, 400, "string_too_short", "input"),
        ({"input": "a" * 5000}, 400, "string_above_max_length", "input"),
        ({"input": "ab" * 500}, 400, "wrong_length", "text"),
        ({"input": 5}, 400, "string_type", "input"),
        ({"speed": 5}, 400, "less_than_equal", "speed"),
        ({"speed": "fast"}, 400, "float_parsing", "speed"),
        ({"response_format": "ogg"}, 400, "literal_error", "response_format"),
        ({"seed": -1}, 400, "greater_than_equal", "seed"),
        ({"seed": 2**70}, 400, "less_than", "seed"),
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"voice": "../../etc/passwd"}, 400, "unknown_name", "voice"),
        ({"voice": "/etc/passwd.wav"}, 400, "unknown_name", "voice"),
        ({"voice": "http://host/a.wav"}, 400, "unknown_name", "voice"),
        ({"role": "nobody"}, 400, "conflict", "role"),
        ({"voice": None, "role": "../roles/captain.yaml"}, 400, "unknown_name", "role"),
    ],
)
def test_invalid_requests_name_the_field(client, fields, status, code, param):
    assert error_of(client.post(SPEECH, json=body(**fields))) == (status, code, param)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b'{"input": NaN}', b'{"input": "a", "speed": NaN}', b"\xff"]
    + [b'{"input": "\\ud800"}', b'{"input": "a", "speed": Infinity}', b"[" * 100_000],
)
def test_malformed_bodies_are_refused(client, content):
    headers = {"content-type": "application/json"}
    response = client.post(SPEECH, content=content, headers=headers)
    assert error_of(response)[0] == 400


def test_bodies_beyond_the_limit_are_refused(make_state):
    client = client_of(make_state(body=10_000))
    big = b'{"input": "' + b"a" * 20_000 + b'"}'
    assert error_of(client.post(SPEECH, content=big))[:2] == (413, "body_too_large")
    parts = (big[start : start + 1000] for start in range(0, len(big), 1000))  # no content-length
    response = client.post(SPEECH, content=parts, headers={"content-type": "application/json"})
    assert error_of(response)[0] == 413


def test_unknown_paths_and_methods_have_the_form_of_errors(client):
    assert error_of(client.get("/v1/nothing"))[:2] == (404, "not_found")
    assert error_of(client.get(SPEECH))[:2] == (405, "method_not_allowed")


def test_batch_has_a_status_for_every_item(client, tts):
    items = [
        {"input": "A.", "response_format": "pcm", "sample_rate": tts.sample_rate},
        {"input": "Two.", "voice": "nobody"},
        {"input": "B.", "voice": "ann", "response_format": "wav"},
    ]
    found = client.post(f"{SPEECH}/batch", json={"items": items}).json()
    assert (found["total"], found["succeeded"], found["failed"]) == (3, 2, 1)
    one, two, three = found["results"]
    assert base64.b64decode(one["audio_data"]) == to_pcm(join(list(tts.stream("A."))).samples)
    assert (two["status"], two["error"]["code"]) == ("error", "unknown_name")
    assert three["media_type"] == "audio/wav"
    for count in (0, 33):
        refused = client.post(f"{SPEECH}/batch", json={"items": items[:1] * count})
        assert error_of(refused)[0] == 400


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_captions_have_the_times_of_the_words(make_state, mini, speed):
    client = client_of(make_state(mini))
    fields = body(voice="heart", response_format="pcm", sample_rate=mini.sample_rate, speed=speed)
    response = client.post("/dev/captioned_speech", json=fields)
    lines = [json.loads(line) for line in response.text.splitlines()]
    whole = client.post("/dev/captioned_speech", json=fields | {"stream": False}).json()
    assert b"".join(base64.b64decode(line["audio"]) for line in lines) == base64.b64decode(
        whole["audio"]
    )
    times = [time for line in lines for time in line["timestamps"]]
    for time, other in zip(times, whole["timestamps"], strict=True):
        assert time["end_time"] == pytest.approx(other["end_time"], abs=0.002)
    expected = join(list(mini.stream(TEXT, "heart", speed=speed))).words
    assert [time["word"] for time in times] == [word.text for word in expected]
    for time, word in zip(times, expected, strict=True):
        assert time["start_time"] == pytest.approx(word.start, abs=0.002)
        assert time["end_time"] == pytest.approx(word.end, abs=0.002)
    assert all(a["end_time"] <= b["start_time"] + 0.001 for a, b in pairwise(times))


def test_full_queue_is_a_503_with_retry_after(make_state):
    state = make_state(rows=1, queue=0)
    engine = state.speech.engine
    job = engine.submit(engine.tts.plan(SynthesisRequest(text=TEXT * 20)), lambda _: None)
    response = client_of(state).post(SPEECH, json=body())
    assert error_of(response)[:2] == (503, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    engine.cancel(job)
    assert client_of(state).post(SPEECH, json=body()).status_code == 200


def test_clients_have_a_limit_of_their_own(make_state):
    state = make_state(per_client=1)
    with state.speech.admitted("testclient"):
        refused = client_of(state).post(SPEECH, json=body())
        assert error_of(refused)[:2] == (429, "rate_limit_exceeded")
        other = {"authorization": "Bearer other"}
        assert client_of(state).post(SPEECH, json=body(), headers=other).status_code == 200
    assert client_of(state).post(SPEECH, json=body()).status_code == 200
    assert not state.speech.active
