"""`vocalmtp tts` and `vocalmtp voices` on the command line."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from helpers.command_line import pipe_in
from helpers.errors import error_code
from helpers.sounds import buzz
from helpers.toy_model import save_toy_model
from helpers.waiting import wait_until

from vocalmtp.voices import Voice

YES = "--i-have-consent"


@pytest.mark.parametrize(
    ("name", "format"), [("a.wav", "WAV"), ("a.flac", "FLAC"), ("a.ogg", "OGG")]
)
def test_a_file_is_written(run, model, capsys, name, format):
    assert run("tts", "Hello there.", "-o", name, "-m", model) == 0
    info = soundfile.info(name)
    assert (info.format, info.samplerate, info.channels) == (format, 16_000, 1)
    assert info.frames > 0
    assert f"{name}: {info.duration:.2f} s of speech" in capsys.readouterr().err
    assert os.listdir() == [name]


def test_without_an_output_it_is_speech_wav(run, model):
    assert run("tts", "Hello.", "-m", model, "--format", "flac") == 0
    assert soundfile.info("speech.wav").format == "FLAC"


def test_text_comes_from_standard_input(run, model, monkeypatch):
    assert run("tts", "Hello there.", "-o", "a.wav", "-m", model) == 0
    pipe_in(monkeypatch, b"Hello\nthere.\n")
    assert run("tts", "-", "-o", "b.wav", "-m", model) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


SPOKEN = "it costs five dollars and twenty cents.\nreally?\n"


@pytest.mark.parametrize("argument", ["It costs $5.20. Really?", "-"])
def test_the_text_is_shown_without_a_model(run, monkeypatch, capsys, argument):
    pipe_in(monkeypatch, b"It costs $5.20. Really?\n")
    assert run("tts", argument, "--show-text", "-m", "none/such") == 0
    assert capsys.readouterr() == (SPOKEN, "")
    assert os.listdir() == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_standard_input_is_decoded_by_its_mark(run, monkeypatch, capsys, encoding):
    pipe_in(monkeypatch, "It costs \u20ac5.".encode(encoding))
    assert run("tts", "-", "--show-text") == 0
    assert capsys.readouterr().out == "it costs five euros.\n"


@pytest.mark.parametrize("content", [b"caf\xe9", "Hi.".encode("utf-16-le")])
def test_standard_input_that_is_not_utf8_is_refused(run, monkeypatch, capsys, content):
    pipe_in(monkeypatch, content)
    assert run("tts", "-", "--show-text") == 2
    assert error_code(capsys.readouterr().err) == "invalid_value"


def test_an_argument_that_is_not_utf8_is_refused(run, capsys):
    assert run("tts", "caf\udce9", "--show-text") == 2  # as Python has the byte E9
    assert error_code(capsys.readouterr().err) == "invalid_value"


def follow_in(monkeypatch, *writes: bytes) -> None:
    """Make a pipe the standard input, into which a thread writes, with pauses."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as pipe:
            for data in writes:
                pipe.write(data)
                time.sleep(0.05)

    monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
    Thread(target=write, daemon=True).start()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_followed_text_is_spoken_as_the_whole_text(run, model, monkeypatch, encoding):
    assert run("tts", "Caf\u00e9. Really?", "--stream", "-o", "a.wav", "-m", model) == 0
    data = "Caf\u00e9. Really?".encode(encoding)
    follow_in(monkeypatch, *(data[n : n + 1] for n in range(len(data))))
    assert run("tts", "--follow", "-", "-o", "b.wav", "-m", model) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_followed_text_that_is_not_utf8_ends_there(run, model, monkeypatch, capsys):
    assert run("tts", "All good. Caf", "--stream", "-o", "a.wav", "-m", model) == 0
    follow_in(monkeypatch, b"All good.\n\n", b"Caf\xe9. More.")
    assert run("tts", "--follow", "-", "-o", "b.wav", "-m", model) == 2
    assert error_code(capsys.readouterr().err) == "invalid_value"
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_a_line_is_spoken_before_the_text_goes_on(run, model, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
    os.write(writer, b"hello there\n")
    speaking = Thread(target=run, args=("tts", "--follow", "-", "-o", "a.wav", "-m", model))
    speaking.start()
    wait_until(lambda: Path("a.wav").is_file() and Path("a.wav").stat().st_size > 44)
    os.close(writer)
    speaking.join(60)


@pytest.mark.parametrize(
    ("arguments", "written", "code"),
    [
        (["hello"], b"", "conflict"),
        (["-", "--show-text"], b"", "conflict"),
        (["-", "--unknown-characters", "name"], b"", "conflict"),
        (["-"], b"", "empty"),
        (["-"], b"...\n", "empty"),
    ],
)
def test_follow_refuses(run, model, monkeypatch, capsys, arguments, written, code):
    follow_in(monkeypatch, written)
    assert run("tts", "--follow", *arguments, "-m", model) == 2
    assert error_code(capsys.readouterr().err) == code
    assert os.listdir() == []


def test_own_pronunciations_and_marks_are_shown(run, capsys):
    Path("own.txt").write_text("gif = jiff\n")
    text = "<speak>A GIF. [pause] <prosody rate='slow'>Yes</prosody></speak>"
    assert run("tts", text, "--show-text", "--lexicon", "own.txt") == 0
    shown = capsys.readouterr()
    assert shown.out == "a jiff.\nyes.\n"
    assert shown.err.startswith("warning: text: <prosody>") and shown.err.count("\n") == 1
    assert run("tts", text, "--show-text", "--lexicon", "none.txt") == 2
    assert error_code(capsys.readouterr().err) == "not_found"


@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_speed_and_sample_rate(run, model, stream):
    assert run("tts", "Yes. No.", "-o", "a.wav", "-m", model) == 0
    assert run("tts", "Yes. No.", "-o", "b.wav", "-m", model, "--speed", "2", *stream) == 0
    assert (
        run("tts", "Yes. No.", "-o", "c.wav", "-m", model, "--sample-rate", "48000", *stream) == 0
    )
    whole, fast, fine = (soundfile.info(f"{name}.wav") for name in "abc")
    assert fast.duration == pytest.approx(whole.duration / 2, abs=1e-3)
    assert (fine.samplerate, fine.duration) == (48_000, pytest.approx(whole.duration, abs=1e-3))


def test_playing_needs_no_file(run, model, monkeypatch):
    played = []

    class Stream:
        def __init__(self, rate, **_):
            played.append(rate)

        def write(self, samples):
            played.append(len(samples))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            played.append("closed")

        def stop(self):
            played.append("stopped")

    module = SimpleNamespace(OutputStream=Stream, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert run("tts", "Yes.", "--play", "-m", model) == 0
    assert os.listdir() == []
    assert played[0] == 16_000 and played[-2:] == ["stopped", "closed"]
    first = sum(played[1:-2])
    played.clear()
    assert run("tts", "Yes.", "--play", "-o", "a.wav", "-m", model) == 0
    assert sum(played[1:-2]) == soundfile.info("a.wav").frames == first


def test_without_a_loudspeaker_playing_is_refused(run, model, monkeypatch, capsys):
    def missing(*_, **__):
        raise OSError("no device")

    module = SimpleNamespace(OutputStream=missing, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert run("tts", "Yes.", "--play", "-m", model) == 2
    assert error_code(capsys.readouterr().err) == "unusable"


def test_the_name_of_a_file_is_spoken_with_a_hint(run, model, capsys):
    Path("story.txt").write_text("Once.")
    assert run("tts", "story.txt", "-o", "a.wav", "-m", model) == 0
    assert "vocalmtp tts - < story.txt" in capsys.readouterr().err


def test_the_output_never_overwrites_the_reference(run, model, capsys):
    soundfile.write("me.wav", buzz(), 16_000)
    before = Path("me.wav").read_bytes()
    assert run("tts", "Hi.", "--voice", "me.wav", "-o", "me.wav", "-m", model) == 2
    assert error_code(capsys.readouterr().err) == "conflict"
    assert Path("me.wav").read_bytes() == before


@pytest.mark.parametrize("text", ["\u05e9\u05dc\u05d5\u05dd", "\U0001f600"])
def test_a_text_that_cannot_be_shown_is_one_line(run, capsys, text):
    assert run("tts", text, "--show-text") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error_code(error) in ("unsupported", "empty")


@pytest.mark.parametrize(
    ("choice", "line"), [("skip", "the word."), ("name", "the word hebrew letter alef.")]
)
def test_unknown_characters_are_skipped_or_named(run, capsys, choice, line):
    assert run("tts", "the word \u05d0", "--show-text", "--unknown-characters", choice) == 0
    out, err = capsys.readouterr()
    assert out == f"{line}\n"
    assert err.startswith("warning: ") == (choice == "skip")


def test_unknown_characters_skipped_or_refused(run, model, capsys):
    assert run("tts", "hi \u05d0", "--unknown-characters", "skip", "-m", model) == 0
    assert Path("speech.wav").is_file()
    assert run("tts", "hi", "--show-text", "--unknown-characters", "drop") == 2
    assert error_code(capsys.readouterr().err) == "unknown_name"


def test_streaming_writes_the_same_file_and_tells_the_latency(run, model, capsys):
    assert run("tts", "Hello there. Go.", "-o", "a.wav", "-m", model, "--seed", "4") == 0
    assert "first audio" not in capsys.readouterr().err
    assert (
        run("tts", "Hello there. Go.", "-o", "b.flac", "-m", model, "--seed", "4", "--stream") == 0
    )
    assert "first audio after" in capsys.readouterr().err
    (a, _), (b, _) = soundfile.read("a.wav"), soundfile.read("b.flac")
    assert np.abs(a - b).max() <= 1e-3


def test_pipes(run, model, capsysbinary):
    assert run("tts", "Hello.", "-o", "a.wav", "-m", model) == 0
    capsysbinary.readouterr()
    assert run("tts", "Hello.", "-o", "-", "-m", model) == 0
    assert capsysbinary.readouterr().out == Path("a.wav").read_bytes()
    assert run("tts", "Hello.", "-o", "-", "-m", model, "--format", "flac") == 0
    assert soundfile.info(io.BytesIO(capsysbinary.readouterr().out)).format == "FLAC"
    assert run("tts", "Hello.", "-o", "-", "-m", model, "--stream") == 0
    pcm = np.frombuffer(capsysbinary.readouterr().out, "<i2").astype(int)
    whole = soundfile.read("a.wav", dtype="int16")[0].astype(int)
    assert np.abs(pcm - whole).max() <= 1


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_timestamps(run, model, stream):
    for name in ("w.json", "w.srt"):
        assert (
            run("tts", "Hello there.", "-o", "a.wav", "-m", model, "--timestamps", name, *stream)
            == 0
        )
    words = json.loads(Path("w.json").read_text())["words"]
    assert [word["word"] for word in words] == ["Hello", "there."]
    assert (
        words[0]["end"] <= words[1]["start"] <= words[1]["end"] <= soundfile.info("a.wav").duration
    )
    assert Path("w.srt").read_text().count("-->") == 1  # a phrase


def test_sampling_and_voice_are_heard(run, model):
    outputs = {}
    for name, options in {
        "a": ["--seed", "1"],
        "b": ["--seed", "2"],
        "c": ["--seed", "1", "--voice", "ann"],
        "d": ["--seed", "1", "--temperature", "0.2", "--top-k", "5", "--top-p", "0.9"],
        "e": ["--seed", "1", "--greedy"],
        "f": ["--seed", "2", "--greedy"],
    }.items():
        assert run("tts", "Hello.", "-o", f"{name}.wav", "-m", model, *options) == 0
        outputs[name] = Path(f"{name}.wav").read_bytes()
    assert outputs["e"] == outputs["f"]
    assert len(set(outputs.values())) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["tts", ""], "empty", "text"),
        (["tts", "\u3053\u3093"], "unsupported", "text"),
        (["tts", "Hi.", "-o", "a.tape"], "unsupported", "format '.tape'"),
        (["tts", "Hi.", "--format", "tape"], "unsupported", "format 'tape'"),
        (["tts", "Hi.", "-o", "none/a.wav"], "not_found", "folder 'none'"),
        (["tts", "Hi.", "--voice", "bobb"], "not_found", "'bob'"),
        (["tts", "Hi.", "--voice", "none.wav"], "not_found", "audio 'none.wav'"),
        (["tts", "Hi.", "--timestamps", "w.txt"], "invalid_value", "timestamps 'w.txt'"),
        (["speek", "Hi."], "unknown_name", "command 'speek'"),
        (["tts", "Hi.", "--temperature", "nan"], "out_of_range", "temperature 'nan'"),
        (["tts", "Hi.", "--temperature", "-1"], "out_of_range", "temperature '-1.0'"),
        (["tts", "Hi.", "--top-p", "2"], "out_of_range", "top_p '2.0'"),
        (["tts", "Hi.", "--top-p", "nan"], "out_of_range", "top_p 'nan'"),
        (["tts", "Hi.", "--top-k", "0"], "out_of_range", "top_k '0'"),
        (["tts", "Hi.", "--temperature", "1", "--greedy"], "conflict", "temperature '1'"),
        (["tts", "Hi.", "--speed", "5"], "out_of_range", "speed '5.0'"),
        (["tts", "Hi.", "--speed", "nan"], "out_of_range", "speed 'nan'"),
        (["tts", "Hi.", "-o", "a.mp3", "--sample-rate", "12345"], "unsupported", "'12345'"),
        (["tts", "Hi.", "--unknown-characters", "skp"], "unknown_name", "'skip'"),
        (["tts", "Hi.", "--seed", "x"], "invalid_value", "--seed"),
        (["tts", "Hi.", "--sed", "1"], "unknown_name", "--sed"),
        (["tts", "Hi.", "--device", "abacus"], "unknown_name", "device 'abacus'"),
        (["tts", "hello", "there"], "invalid_value", "quotes"),
        (["tts", "-5 degrees"], "unknown_name", "--"),
        (["tts"], "missing", "text"),
        (["tts", "Hi.", "--stream", "-o", "-", "--format", "wav"], "conflict", "format 'wav'"),
        (["voices", "make", "none.wav", "-o", "v.safetensors"], "consent_missing", "consent"),
        (["voices", "make", "none.wav", "-o", "v.safetensors", YES], "not_found", "'none.wav'"),
        (["voices", "make", "none.wav", "-o", "v.bin"], "invalid_value", "v.safetensors"),
    ],
)
def test_invalid_calls_get_one_line_and_leave_nothing(run, model, capsys, arguments, code, named):
    if "make" not in arguments or "v.safetensors" in arguments:
        arguments = [*arguments, "-m", model]
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert error_code(captured.err) == code and named in captured.err
    assert os.listdir() == []


def test_an_unknown_model_is_named(run, capsys):
    assert run("tts", "Hi.", "-m", "none/such") == 2
    error = capsys.readouterr().err
    assert error_code(error) == "not_found" and "'none/such'" in error


def test_timestamps_need_a_text_track(run, tmp_path_factory, capsys):
    folder = save_toy_model(tmp_path_factory.mktemp("prompt"), text="prompt")
    assert run("tts", "Hi.", "-m", str(folder), "--timestamps", "w.json") == 2
    assert error_code(capsys.readouterr().err) == "unsupported"
    assert os.listdir() == []


def test_voices_are_listed_with_their_origin(run, model, capsys):
    assert run("voices", "-m", model) == 0
    out = capsys.readouterr().out
    assert "ann" in out and "drawn at random: bob" in out


def test_a_made_voice_speaks(run, model, capsys):
    soundfile.write("me.wav", buzz(), 16_000)
    assert run("voices", "make", "me.wav", "-o", "mine.safetensors", "-m", model, YES) == 0
    made = Voice.load("mine.safetensors")
    assert made.name == "mine" and made.consent.startswith("stated by who made it, on 20")
    assert run("tts", "Hi.", "-o", "a.wav", "-m", model, "-v", "mine.safetensors") == 0
    assert run("tts", "Hi.", "-o", "b.wav", "-m", model, "-v", "me.wav") == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_a_closed_pipe_is_no_traceback(model):
    command = [
        sys.executable,
        "-m",
        "vocalmtp",
        "tts",
        "Hello there. " * 20,
        "-m",
        model,
        "-o",
        "-",
        "--stream",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(100)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    assert process.wait(60) == 1


def test_show_text_in_phones(run, capsys):
    text = "A [tomato](/təˈmɑtoʊ/). Two cats!"
    assert run("tts", text, "--show-text", "--phones", "-m", "none/such") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "ə təmˈɑtoʊ." and second.endswith("kˈæts!")
    assert run("tts", text, "--phones") == 2
