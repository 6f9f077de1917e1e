"""Reading, trimming and writing audio."""

import base64
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalmtp.audio.io import (
    Audio,
    Word,
    audio_writer,
    join,
    read_audio,
    to_pcm,
    trim_silence,
)
from vocalmtp.errors import InputError


def tone(seconds: float, rate: int = 16_000, pitch: float = 220.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


@pytest.mark.parametrize(("suffix", "most"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.1)])
def test_saved_audio_reads_back(tmp_path, suffix, most):
    audio = Audio(tone(0.5), 16_000)
    path = audio.save(tmp_path / f"a.{suffix}")
    back = read_audio(path, 16_000)
    assert back.shape == audio.samples.shape and back.dtype == np.float32
    assert np.abs(back - audio.samples).max() < most
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_long_ogg_can_be_written(tmp_path):
    audio = Audio(tone(90), 16_000)
    assert soundfile.info(audio.save(tmp_path / "long.ogg")).duration == pytest.approx(90, abs=0.01)


def test_the_format_can_differ_from_the_suffix(tmp_path):
    path = Audio(tone(0.1), 16_000).save(tmp_path / "a.audio", "flac")
    assert soundfile.info(path).format == "FLAC"


def test_overs_are_clipped_not_wrapped(tmp_path):
    loud = np.array([2.0, -2.0, 0.0], np.float32)
    back = read_audio(Audio(loud, 16_000).save(tmp_path / "a.wav"), 16_000)
    assert np.allclose(back, [1, -1, 0], atol=1e-3)
    assert np.frombuffer(to_pcm(loud), "<i2").tolist() == [32767, -32767, 0]


def test_a_file_in_the_making_keeps_the_old_one(tmp_path):
    path = tmp_path / "a.wav"
    Audio(tone(0.1), 16_000).save(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), audio_writer(path, 16_000) as write:
        write(tone(0.2))
        assert path.read_bytes() == before
        raise RuntimeError
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_the_writer_joins_what_it_is_given(tmp_path):
    with audio_writer(tmp_path / "a.wav", 16_000) as write:
        write(tone(0.1))
        write(tone(0.2))
    assert soundfile.info(tmp_path / "a.wav").frames == 4_800


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.mp3", "format '.mp3': not supported; choose one of: flac, ogg, wav"),
        ("a.wave", "did you mean 'wav'"),
        ("a", "has no suffix"),
        ("none/a.wav", "does not exist; create it"),
        (".", "has no suffix|is a folder"),
    ],
)
def test_outputs_that_will_not_do(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        Audio(tone(0.1), 16_000).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_reading_mixes_and_resamples(tmp_path):
    stereo = np.stack([tone(0.5, 48_000), -tone(0.5, 48_000)], axis=1)
    soundfile.write(tmp_path / "s.wav", stereo, 48_000)
    samples = read_audio(tmp_path / "s.wav", 16_000)
    assert samples.shape == (8_000,) and samples.dtype == np.float32
    assert np.abs(samples).max() < 1e-3
    soundfile.write(tmp_path / "m.wav", tone(0.5, 44_100), 44_100)
    resampled = read_audio(tmp_path / "m.wav", 16_000)
    assert np.abs(resampled[1000:7000] - tone(0.5)[1000:7000]).max() < 1e-2


def test_unreadable_audio_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan, np.float32), 16_000, subtype="FLOAT")
    for name, message in [
        ("none.wav", "no such file"),
        ("text.wav", "not readable"),
        ("empty.wav", "no samples"),
        ("nan.wav", "not finite"),
    ]:
        with pytest.raises(InputError, match=message):
            read_audio(tmp_path / name, 16_000)


def test_silence_is_trimmed_to_a_margin():
    rate = 16_000
    padded = np.concatenate(
        [np.zeros(rate, np.float32), tone(0.5), np.zeros(rate // 2, np.float32)]
    )
    trimmed = trim_silence(padded, rate)
    assert len(trimmed) == pytest.approx(0.6 * rate, abs=0.05 * rate)
    assert len(trim_silence(np.zeros(rate, np.float32), rate)) == 0
    assert len(trim_silence(np.zeros(0, np.float32), rate)) == 0


def test_joining_moves_the_words():
    first = Audio(tone(0.5), 16_000, [Word("one", 0.1, 0.4)])
    second = Audio(tone(0.25), 16_000, [Word("two", 0.0, 0.2)], truncated=True)
    whole = join([first, second])
    assert whole.duration == 0.75 and whole.truncated
    assert whole.words == [Word("one", 0.1, 0.4), Word("two", 0.5, 0.7)]


def test_a_notebook_gets_a_player(tmp_path):
    html = Audio(tone(0.1), 16_000)._repr_html_()
    data = re.search('src="data:audio/wav;base64,([^"]+)"', html)
    path = Path(tmp_path / "played.wav")
    path.write_bytes(base64.b64decode(data[1]))
    assert soundfile.info(path).frames == 1_600


@pytest.mark.parametrize("format", ["wav", "flac", "ogg"])
def test_ctrl_c_is_heard_while_audio_is_encoded(format):
    """An error in a callback of libsndfile would be printed and lost."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    audio, heard = Audio(tone(1.0), 16_000), 0
    try:
        for _ in range(5):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                for _ in range(1000):
                    audio.to_bytes(format)
            except KeyboardInterrupt:
                heard += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard >= 4  # Python itself loses what is raised while an object is deleted
