"""Reading, resampling, trimming and writing of audio."""

import base64
import io
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.errors import raises_input_error

from vocalmtp.audio.formats import FORMATS, audio_writer, live_writer, to_pcm
from vocalmtp.audio.io import Audio, Word, join, read_audio, trim_silence
from vocalmtp.audio.stream_encoder import StreamEncoder
from vocalmtp.errors import ErrorCode

LOSSLESS = ("wav", "flac")


def tone(seconds: float, rate: int = 16_000, pitch: float = 220.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


# -- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_saved_audio_reads_back(tmp_path: Path, format: str) -> None:
    audio = Audio(tone(0.5), 16_000)
    path = audio.save(tmp_path / f"a.{format}")
    assert path is not None
    back = read_audio(path, 16_000)
    assert back.shape == audio.samples.shape and back.dtype == np.float32
    loudness = [float(np.sqrt(np.mean(samples**2))) for samples in (back, audio.samples)]
    assert loudness[0] == pytest.approx(loudness[1], rel=0.05)
    if format in LOSSLESS:
        assert np.abs(back - audio.samples).max() < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("format", FORMATS)
def test_saving_to_a_file_object(format: str) -> None:
    audio, file = Audio(tone(0.2), 16_000), io.BytesIO()
    assert audio.save(file, format=format) is None
    assert len(file.getvalue()) > 100
    assert file.getvalue() == audio.to_bytes(format) or format in ("ogg", "opus")  # random serial
    file.seek(0)
    assert soundfile.info(file).frames == 3_200


def test_file_objects_get_wav_by_default() -> None:
    file = io.BytesIO()
    Audio(tone(0.1), 16_000).save(file)
    assert file.getvalue()[:4] == b"RIFF"


@pytest.mark.parametrize("target", [5, None, ["a.wav"]])
def test_target_that_is_neither_path_nor_file(target: object) -> None:
    with raises_input_error("invalid_value", key="output"):
        Audio(tone(0.1), 16_000).save(target)


def test_resampling_on_save(tmp_path: Path) -> None:
    audio = Audio(tone(0.5), 16_000, [Word("a", 0.1, 0.3)])
    path = audio.save(tmp_path / "a.wav", sample_rate=44_100)
    assert soundfile.info(path).samplerate == 44_100
    assert soundfile.info(path).frames == 22_050
    assert audio.resampled(8_000).words == audio.words
    for rate in (0, -1, "fast", 16_000.5, True):
        with raises_input_error("invalid_value", key="sample_rate"):
            audio.save(tmp_path / "b.wav", sample_rate=rate)
    for rate in (1, 99_999_999):
        with raises_input_error("out_of_range", key="sample_rate"):
            audio.save(tmp_path / "b.wav", sample_rate=rate)


@pytest.mark.parametrize(("format", "rate"), [("opus", 22_050), ("mp3", 96_000)])
def test_rate_that_a_format_lacks(tmp_path: Path, format: str, rate: int) -> None:
    audio = Audio(tone(0.1, rate), rate)
    with raises_input_error("unsupported", key="sample_rate"):
        audio.save(tmp_path / f"a.{format}")
    with raises_input_error("unsupported", key="sample_rate"):
        audio.to_bytes(format)
    assert audio.save(tmp_path / f"a.{format}", sample_rate=48_000) is not None


def test_long_ogg(tmp_path: Path) -> None:
    path = Audio(tone(90), 16_000).save(tmp_path / "long.ogg")
    assert soundfile.info(path).duration == pytest.approx(90, abs=0.01)


def test_format_overrides_the_suffix(tmp_path: Path) -> None:
    path = Audio(tone(0.1), 16_000).save(tmp_path / "a.audio", "flac")
    assert soundfile.info(path).format == "FLAC"


def test_samples_over_full_scale_are_clipped(tmp_path: Path) -> None:
    loud = np.array([2.0, -2.0, 0.0], np.float32)
    Audio(loud, 16_000).save(tmp_path / "a.wav")
    assert np.allclose(read_audio(tmp_path / "a.wav", 16_000), [1, -1, 0], atol=1e-3)
    assert np.frombuffer(to_pcm(loud), "<i2").tolist() == [32767, -32767, 0]


def test_unfinished_file_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    Audio(tone(0.1), 16_000).save(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), audio_writer(path, 16_000) as write:
        write(tone(0.2))
        assert path.read_bytes() == before
        raise RuntimeError
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_writer_concatenates(tmp_path: Path) -> None:
    with audio_writer(tmp_path / "a.wav", 16_000) as write:
        write(tone(0.1))
        write(tone(0.2))
    assert soundfile.info(tmp_path / "a.wav").frames == 4_800


@pytest.mark.parametrize("format", FORMATS)
def test_live_file_is_valid_when_interrupted(tmp_path: Path, format: str) -> None:
    path, parts = tmp_path / f"a.{format}", [tone(1.0), tone(0.5)]
    with pytest.raises(KeyboardInterrupt), live_writer(path, 16_000) as write:
        for part in parts:
            write(part)
        if format == "wav":  # of the others, encoders keep the last part until the end
            assert soundfile.info(path).frames == 24_000
        raise KeyboardInterrupt
    assert soundfile.info(path).frames == 24_000
    if format in LOSSLESS:
        back = read_audio(path, 16_000)
        assert np.abs(back - np.concatenate(parts)).max() < 1e-4


def test_live_wav_equals_saved_wav(tmp_path: Path) -> None:
    with live_writer(tmp_path / "live.wav", 16_000) as write:
        write(tone(0.1))
        write(tone(0.2))
    Audio(np.concatenate([tone(0.1), tone(0.2)]), 16_000).save(tmp_path / "a.wav")
    ours, theirs = (read_audio(tmp_path / name, 16_000) for name in ("live.wav", "a.wav"))
    assert np.abs(ours - theirs).max() < 1e-4


def test_live_file_without_samples_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), live_writer(tmp_path / "a.wav", 16_000):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "code", "key"),
    [
        ("a.aiff", "unsupported", "format"),
        ("a.wave", "unsupported", "format"),
        ("a", "invalid_value", "output"),
        ("none/a.wav", "not_found", "output"),
        (".", "invalid_value", "output"),
    ],
)
def test_invalid_output(tmp_path: Path, name: str, code: ErrorCode, key: str) -> None:
    for save in (Audio(tone(0.1), 16_000).save, lambda p: live_writer(p, 16_000).__enter__()):
        with raises_input_error(code, key=key):
            save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["wav", "flac", "ogg"])
def test_keyboard_interrupt_while_encoding(format: str) -> None:
    """An error in a callback of libsndfile would be printed and lost."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    audio, caught = Audio(tone(1.0), 16_000), 0
    try:
        for _ in range(5):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                for _ in range(1000):
                    audio.to_bytes(format)
            except KeyboardInterrupt:
                caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught >= 4  # Python itself loses what is raised while an object is deleted


def test_notebook_player(tmp_path: Path) -> None:
    html = Audio(tone(0.1), 16_000)._repr_html_()
    data = re.search('src="data:audio/wav;base64,([^"]+)"', html)
    assert data is not None
    path = tmp_path / "played.wav"
    path.write_bytes(base64.b64decode(data[1]))
    assert soundfile.info(path).frames == 1_600


# -- reading -------------------------------------------------------------------------------------


def test_reading_mixes_and_resamples(tmp_path: Path) -> None:
    stereo = np.stack([tone(0.5, 48_000), -tone(0.5, 48_000)], axis=1)
    soundfile.write(tmp_path / "s.wav", stereo, 48_000)
    samples = read_audio(tmp_path / "s.wav", 16_000)
    assert samples.shape == (8_000,) and samples.dtype == np.float32
    assert np.abs(samples).max() < 1e-3
    soundfile.write(tmp_path / "m.wav", tone(0.5, 44_100), 44_100)
    resampled = read_audio(tmp_path / "m.wav", 16_000)
    assert np.abs(resampled[1000:7000] - tone(0.5)[1000:7000]).max() < 1e-2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("none.wav", "not_found"),
        ("text.wav", "unusable"),
        ("empty.wav", "empty"),
        ("nan.wav", "damaged"),
        ("http://example.org/a.wav", "unsupported"),
        ("S3://bucket/a.wav", "unsupported"),
    ],
)
def test_unreadable_audio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: ErrorCode
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("no audio")
    soundfile.write("empty.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write("nan.wav", np.full(10, np.nan, np.float32), 16_000, subtype="FLOAT")
    for path in (name, Path(name)):
        with raises_input_error(code, key="audio", names=name):
            read_audio(path, 16_000)


FFMPEG = """#!{python}
import sys
import numpy as np
arguments = sys.argv
if not arguments[arguments.index("-i") + 1].endswith("good.m4a"):
    sys.exit("Invalid data found when processing input")
rate = int(arguments[arguments.index("-ar") + 1])
seconds = min(2.0, float(arguments[arguments.index("-t") + 1]) if "-t" in arguments else 2.0)
sys.stdout.buffer.write(np.full(int(seconds * rate), 0.25, "<f4").tobytes())
"""


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that decodes good.m4a to two seconds of a constant."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def test_m4a_is_decoded_by_ffmpeg(tmp_path: Path, fake_ffmpeg: Path) -> None:
    for name in ("good.m4a", "bad.webm"):
        (tmp_path / name).write_bytes(b"\0" * 64)
    samples = read_audio(tmp_path / "good.m4a", 16_000)
    assert samples.shape == (32_000,) and samples.dtype == np.float32 and (samples == 0.25).all()
    with raises_input_error("wrong_length", key="audio", names="good.m4a"):
        read_audio(tmp_path / "good.m4a", 16_000, longest=0.5)
    with raises_input_error("unusable", key="audio", names="bad.webm"):
        read_audio(tmp_path / "bad.webm", 16_000)


def test_m4a_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0" * 64)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("vocalmtp.audio.io.find_spec", lambda _: None)
    with raises_input_error("not_installed", key="audio", names="a.m4a"):
        read_audio(tmp_path / "a.m4a", 16_000)


def test_aac_is_decoded_by_av(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="needs av")
    monkeypatch.setenv("PATH", "")
    encoder = StreamEncoder("aac", 16_000, 24_000)
    content = encoder.push(tone(2.0)) + encoder.finish()
    (tmp_path / "a.aac").write_bytes(content)
    samples = read_audio(tmp_path / "a.aac", 16_000)
    assert samples.dtype == np.float32 and len(samples) / 16_000 == pytest.approx(2.0, abs=0.2)
    assert 0.5 < np.sqrt(np.mean(samples**2) / np.mean(tone(2.0) ** 2)) < 1.5
    with raises_input_error("wrong_length", key="audio", names="a.aac"):
        read_audio(tmp_path / "a.aac", 16_000, longest=0.5)
    for name, damaged in (("zeros.m4a", b"\0" * 64), ("text.webm", b"Hello." * 9), ("b.mp4", b"")):
        (tmp_path / name).write_bytes(damaged)
        with raises_input_error("unusable", key="audio", names=name):
            read_audio(tmp_path / name, 16_000)


def test_silence_is_trimmed_to_a_margin() -> None:
    rate = 16_000
    silence = np.zeros(rate, np.float32)
    trimmed = trim_silence(np.concatenate([silence, tone(0.5), silence[: rate // 2]]), rate)
    assert len(trimmed) == pytest.approx(0.6 * rate, abs=0.05 * rate)
    assert len(trim_silence(silence, rate)) == 0
    assert len(trim_silence(silence[:0], rate)) == 0


def test_joining_shifts_words() -> None:
    first = Audio(tone(0.5), 16_000, [Word("one", 0.1, 0.4)])
    second = Audio(tone(0.25), 16_000, [Word("two", 0.0, 0.2)], truncated=True)
    joined = join([first, second])
    assert joined.duration == 0.75 and joined.truncated
    assert joined.words == [Word("one", 0.1, 0.4), Word("two", 0.5, 0.7)]
