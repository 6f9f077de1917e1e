"""Transcription, and voices that clients make."""

import io
import os

import numpy as np
import pytest
from helpers.chat_fakes import tone
from helpers.sounds import buzz
from helpers.speech_client import SPEECH, client_of, error_of

from vocalmtp.audio.io import Audio
from vocalmtp.tts import TTS
from vocalmtp.voices import Voice

VOICES, TRANSCRIPTIONS = "/v1/audio/voices", "/v1/audio/transcriptions"


def recording(samples: np.ndarray, format: str = "wav") -> bytes:
    file = io.BytesIO()
    Audio(samples, 16_000).save(file, format)
    return file.getvalue()


SAMPLE = recording(buzz(2.0))


def create(client, name="Cy", consent="I am Cy and I agree.", sample=SAMPLE, file="cy.wav"):
    data = {"name": name, "consent": consent}
    return client.post(VOICES, data=data, files={"audio_sample": (file, sample)})


@pytest.mark.parametrize("format", ["wav", "flac", "mp3"])
def test_recording_is_transcribed(client, format):
    files = {"file": ("a.bin", recording(tone(0.5), format))}
    assert client.post(TRANSCRIPTIONS, files=files).json() == {"text": "5 tenths"}
    plain = client.post(TRANSCRIPTIONS, files=files, data={"response_format": "text"})
    assert plain.text == "5 tenths\n"


def test_verbose_transcript_has_segments_and_words(client):
    files = {"file": ("a.wav", recording(tone(0.9)))}
    data = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
    found = client.post(TRANSCRIPTIONS, files=files, data=data).json()
    assert found["text"] == "9 tenths" and found["duration"] == 0.9
    assert [word["word"] for word in found["words"]] == ["9", "tenths"]
    assert 0 <= found["words"][0]["start"] < found["words"][1]["end"] <= 0.9
    assert found["segments"][0]["text"] == "9 tenths"
    srt = client.post(TRANSCRIPTIONS, files=files, data={"response_format": "srt"}).text
    assert srt.startswith("1\n00:00:00,") and "9 tenths" in srt


@pytest.mark.parametrize(
    ("content", "data", "code", "param"),
    [
        (b"", {}, "unusable", "file"),
        (b"no audio", {}, "unusable", "file"),
        (SAMPLE[:20_000], {}, "damaged", "file"),
        (SAMPLE, {"language": "de"}, "unsupported", "language"),
        (SAMPLE, {"response_format": "xml"}, "literal_error", "response_format"),
    ],
)
def test_unusable_recordings_are_refused_without_a_path(client, content, data, code, param):
    response = client.post(TRANSCRIPTIONS, files={"file": ("/etc/a.wav", content)}, data=data)
    assert error_of(response) == (400, code, param)
    assert "/tmp" not in response.text and "vocalmtp-" not in response.text
    assert error_of(client.post(TRANSCRIPTIONS, data=data))[:2] == (400, "missing")


def test_long_recordings_are_refused(make_state):
    client = client_of(make_state(seconds=1.0))
    response = client.post(TRANSCRIPTIONS, files={"file": ("a.wav", SAMPLE)})
    assert error_of(response)[:2] == (400, "wrong_length")


def test_voice_is_stored_used_listed_and_deleted(make_state, tts: TTS, tmp_path):
    client = client_of(make_state(voices=tmp_path))
    made = create(client)
    assert made.status_code == 201
    id = made.json()["id"]
    (file,) = tmp_path.iterdir()
    assert file.name == f"{id}.safetensors"
    voice = Voice.load(file)
    assert voice.name == "Cy" and "I am Cy and I agree." in voice.consent
    assert {"id": id, "name": "Cy"} in client.get(VOICES).json()["voices"]
    fields = {"input": "A.", "response_format": "pcm"}
    spoken = [client.post(SPEECH, json=fields | {"voice": v}).content for v in (id, "cy", "ann")]
    assert spoken[0] == spoken[1] != spoken[2]
    other = client_of(make_state(voices=tmp_path))  # as another process
    assert other.post(SPEECH, json=fields | {"voice": id}).content == spoken[0]
    assert client.delete(f"{VOICES}/{id}").json()["deleted"]
    assert not list(tmp_path.iterdir())
    assert error_of(other.post(SPEECH, json=fields | {"voice": id}))[:2] == (400, "unknown_name")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"consent": "  "}, "consent_missing"),
        ({"name": "ann"}, "conflict"),
        ({"name": "a\x00b"}, "invalid_value"),
        ({"sample": b"no audio"}, "unusable"),
        ({"sample": recording(np.zeros(32_000, np.float32))}, "empty"),
        ({"sample": recording(buzz(0.3))}, "wrong_length"),
    ],
)
def test_voices_that_cannot_be_made(make_state, tmp_path, changes, code):
    client = client_of(make_state(voices=tmp_path))
    response = create(client, **changes)
    assert error_of(response)[:2] == (400, code)
    assert str(tmp_path) not in response.text and not list(tmp_path.iterdir())


def test_names_never_become_paths(make_state, tmp_path):
    folder = tmp_path / "voices"
    folder.mkdir()
    client = client_of(make_state(voices=folder))
    assert create(client, name="../../evil", file="../../evil.wav").status_code == 201
    assert [path.name for path in tmp_path.iterdir()] == ["voices"]
    outside = tmp_path / "voice_0123456789abcdef.safetensors"
    outside.write_bytes(b"x")
    for id in ("../voice_0123456789abcdef", "..%2Fvoice_0123456789abcdef", "ann"):
        assert client.delete(f"{VOICES}/{id}").status_code in (400, 404)
    assert outside.exists()


def test_server_without_a_folder_stores_no_voices(client):
    assert error_of(create(client))[:2] == (400, "unsupported")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_full_disk_is_a_507_and_nothing_is_left(make_state, tmp_path, monkeypatch):
    import safetensors.numpy

    def full(*_, **__) -> None:
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    client = client_of(make_state(voices=tmp_path))
    response = create(client)
    assert error_of(response)[:2] == (507, "storage_failed")
    assert str(tmp_path) not in response.text and not list(tmp_path.iterdir())
