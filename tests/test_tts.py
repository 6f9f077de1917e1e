"""Text to speech: the call, the stream and batches agree, and invalid arguments are refused."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import active_count
from typing import Any

import numpy as np
import pytest
import torch
from helpers.errors import raises_input_error
from helpers.sounds import buzz
from helpers.toy_model import save_toy_model

from vocalmtp.audio.io import Audio, join
from vocalmtp.decoding import synthesis
from vocalmtp.decoding.options import SPEAKER_CONDITIONINGS, noise_seed
from vocalmtp.decoding.reading import PAUSES
from vocalmtp.decoding.synthesis import sampler_of
from vocalmtp.errors import ErrorCode, InputError
from vocalmtp.loading import load
from vocalmtp.roles import Role
from vocalmtp.text.ipa import PHONES
from vocalmtp.tts import TTS, SynthesisRequest

TEXT = "Good morning. How are you on May 5?"
KINDS: dict[str, dict[str, Any]] = {
    "track": {},
    "both": {"text": "both"},
    "phones": {"phones": " ".join(PHONES)},
    "prompt": {"text": "prompt"},
    "one-frame-per-step": {"frames_per_step": 1},
    "next-token": {"text": "prompt", "flat": True, "frames_per_step": 1},
    "depth-head": {"head": {"name": "depth"}},
}
TempPaths = pytest.TempPathFactory


@pytest.fixture(scope="module", params=KINDS)
def any_tts(request: pytest.FixtureRequest, tmp_path_factory: TempPaths) -> TTS:
    return load(save_toy_model(tmp_path_factory.mktemp("toy"), **KINDS[request.param]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: TempPaths) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def tts(folder: Path) -> TTS:
    return load(folder)


def difference(one: Audio, other: Audio) -> float:
    """Largest difference of two waveforms of equal length."""
    assert one.samples.shape == other.samples.shape
    return float(np.abs(one.samples - other.samples).max(initial=0.0))


# -- given pronunciations --------------------------------------------------------------------------


def test_given_phones_are_read_by_a_model_with_phones(tmp_path: Path) -> None:
    tts = load(save_toy_model(tmp_path / "phones", phones=" ".join(PHONES)))
    audios = [tts(f"Say [tomato](/{ipa}/) now.") for ipa in ("təˈmɑtoʊ", "təˈmɑtoʊ", "təˌmɑtoʊ")]
    assert [word.text for word in audios[0].words] == ["Say", "tomato", "now."]
    assert np.array_equal(audios[0].samples, audios[1].samples)
    assert not np.array_equal(audios[0].samples, audios[2].samples)  # the stress has no letters


def test_phones_of_another_version_are_refused(tmp_path: Path) -> None:
    with raises_input_error("version_too_new", key="model"):
        load(save_toy_model(tmp_path / "other", phones="aa b"))


# -- equal output by every way -------------------------------------------------------------------


def test_streamed_equals_offline(any_tts: TTS) -> None:
    audio = any_tts("Yes.", seed=3)
    chunks = list(any_tts.stream("Yes.", seed=3))
    streamed = join(chunks)
    assert len(chunks) > 2 and len(audio.samples) > 0
    assert difference(streamed, audio) <= 1e-3
    assert (streamed.words, streamed.truncated) == (audio.words, audio.truncated)


def test_batch_row_equals_single_call(any_tts: TTS) -> None:
    texts = ["Two.", "Not two.", "No."]
    for text, audio in zip(texts, any_tts.batch(texts, seed=3, batch_size=2), strict=True):
        single = any_tts(text, seed=3)
        assert difference(audio, single) <= 1e-3
        assert audio.words == single.words


def test_each_refills_rows_reports_errors_and_equals_single_calls(any_tts: TTS) -> None:
    """Long and short texts, invalid ones among them, more than there are rows."""
    texts = ["Two.", "Not two. And a longer one, then.", "...", "No.", "Yes, yes.", "?"]
    options: list[dict[str, Any]] = [{}, {"temperature": 0.7}, {}, {}, {"temperature": -1}, {}]
    requests = [
        SynthesisRequest(text=text, seed=n, sampling=sampling)
        for n, (text, sampling) in enumerate(zip(texts, options, strict=True))
    ]
    results: dict[int, Audio | InputError] = {}
    for number, audio in any_tts.each(iter(requests), batch_size=2):
        assert number not in results
        results[number] = audio
    assert sorted(results) == list(range(6))
    for number, key in ((2, "text"), (4, "temperature"), (5, "text")):
        error = results[number]
        assert isinstance(error, InputError) and error.key == key
    for number in (0, 1, 3):
        single, audio = any_tts(texts[number], seed=number, **options[number]), results[number]
        assert isinstance(audio, Audio) and audio.words == single.words
        assert difference(audio, single) <= 1e-3


def test_each_consumes_requests_only_for_free_rows(tts: TTS) -> None:
    consumed = []

    def endless() -> Iterator[SynthesisRequest]:
        while True:
            consumed.append(1)
            yield SynthesisRequest(text="No.")

    results = tts.each(endless(), batch_size=3)
    for done in range(1, 8):
        next(results)
        assert len(consumed) <= 3 + 3 + done  # three rows, and as many that wait for the codec


def test_each_accepts_strings_and_refuses_other_items(tts: TTS) -> None:
    results = dict(tts.each(["No.", 5, None, SynthesisRequest(text="No.")], batch_size=2))
    assert difference(results[0], results[3]) <= 1e-3
    assert [results[n].code for n in (1, 2)] == ["invalid_value"] * 2
    assert [results[n].key for n in (1, 2)] == ["request"] * 2


def test_batch_accepts_any_iterable(tts: TTS) -> None:
    audio = list(tts.batch(text for text in ("No.", "Yes.")))
    assert difference(audio[0], tts("No.")) <= 1e-3 and len(audio) == 2
    assert list(tts.batch([])) == []


@pytest.mark.parametrize("speed", [0.5, 1.3, 2])
def test_speed_divides_the_duration_of_every_call(tts: TTS, speed: float) -> None:
    normal, audio = tts("Yes. No."), tts("Yes. No.", speed=speed)
    assert audio.duration == pytest.approx(normal.duration / speed, abs=1e-3)
    scaled = [(word.text, word.start / speed, word.end / speed) for word in normal.words]
    for word, (text, start, end) in zip(audio.words, scaled, strict=True):
        assert (word.text, word.start, word.end) == (
            text,
            pytest.approx(start, abs=1e-3),
            pytest.approx(end, abs=1e-3),
        )
    for other in (
        join(list(tts.stream("Yes. No.", speed=speed))),
        *tts.batch(["Yes. No."], speed=speed),
    ):
        assert len(other.samples) == len(audio.samples)
        assert np.median(np.abs(other.samples - audio.samples)) <= 1e-3  # rounding may move windows
        assert [word.text for word in other.words] == ["Yes.", "No."]


def test_marks_set_pauses_and_pronunciations(tts: TTS) -> None:
    plain, marked = tts("Yes. No."), tts("<break time='1s'/>Yes. [pause 2 s] No. [pause]")
    added = 1 + (2 - PAUSES["."]) + 0.5
    assert marked.duration == pytest.approx(plain.duration + added, abs=1e-3)
    assert [word.text for word in marked.words] == ["Yes.", "No."]
    assert marked.words[0].start == pytest.approx(plain.words[0].start + 1, abs=1e-3)
    assert not marked.samples[:16_000].any()
    streamed = join(list(tts.stream("<break time='1s'/>Yes. [pause 2 s] No. [pause]")))
    assert difference(streamed, marked) <= 1e-3
    assert streamed.words == marked.words


def test_own_pronunciations_are_spoken_and_written_as_they_were(tts: TTS, folder: Path) -> None:
    own = load(folder, lexicon={"gif": "jiff"})
    for audio in (own("A gif, yes."), tts("A [gif](jiff), yes.")):
        assert [word.text for word in audio.words] == ["A", "gif,", "yes."]
        assert difference(audio, tts("A jiff, yes.")) == 0


def test_sentences_are_those_of_the_call(tts: TTS) -> None:
    parts = list(tts.sentences(TEXT, seed=3, batch_size=1))
    assert len(parts) == 2
    assert np.array_equal(join(parts).samples, tts(TEXT, seed=3).samples)


def test_sentences_are_joined_with_silence(tts: TTS) -> None:
    audio = tts(TEXT, seed=3)
    streamed = join(list(tts.stream(TEXT, seed=3)))
    assert difference(streamed, audio) <= 1e-3
    assert streamed.words == audio.words
    second = audio.words[2]
    start = round(second.start * audio.sample_rate)
    assert np.abs(audio.samples[start - 3_900 : start]).max() == 0  # 0.25 s
    assert np.abs(audio.samples[start - 4_500 : start - 4_100]).max() > 0


def test_words_are_those_of_the_text_as_written(tts: TTS) -> None:
    audio = tts(TEXT, seed=3)
    assert [word.text for word in audio.words] == TEXT.split()
    words = [word.text for word in tts("Dr. X: $5!\n2 \u2014 b").words]
    assert words == ["Dr.", "X:", "$5!", "2", "\u2014 b"]
    times = [time for word in audio.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= audio.duration


# -- seeds and sampling --------------------------------------------------------------------------


def test_equal_seeds_give_equal_audio(tts: TTS) -> None:
    again = [tts("Hello.", seed=5).samples for _ in range(2)]
    other = tts("Hello.", seed=6).samples
    assert np.array_equal(*again)
    assert not np.array_equal(again[0], other)
    assert np.array_equal(tts("Hello.", seed=np.int64(5)).samples, again[0])


def test_sentences_have_independent_noise(tts: TTS) -> None:
    first, second = tts("Hello. Hello.", seed=5).words
    assert (first.end - first.start) != (second.end - second.start)


def test_greedy_decoding_ignores_the_seed(tts: TTS) -> None:
    assert np.array_equal(
        tts("Hello.", seed=1, greedy=True).samples, tts("Hello.", seed=2, greedy=True).samples
    )
    assert sampler_of({"greedy": True}, {}).is_greedy and not sampler_of({}, {}).is_greedy


def test_given_temperature_overrides_greedy_default(folder: Path) -> None:
    greedy = load(folder)
    greedy.card = {"sampling": {"greedy": True}}
    assert np.array_equal(greedy("Hello.", seed=1).samples, greedy("Hello.", seed=2).samples)
    sampled = [greedy("Hello.", seed=seed, temperature=1.0).samples for seed in (1, 2)]
    assert not np.array_equal(*sampled)


def test_seeds_that_differ_in_their_upper_half_give_different_audio(tts: TTS) -> None:
    audio = [tts("Yes.", seed=seed).samples for seed in (3, 3 + 2**32, 3 + 2**62)]
    assert not any(np.array_equal(audio[a], audio[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert [noise_seed(seed) for seed in (0, 3, 2**32 - 1)] == [0, 3, 2**32 - 1]


# -- voices --------------------------------------------------------------------------------------


def test_voice_by_name_file_and_object(tts: TTS, folder: Path) -> None:
    ann, bob = (tts("Hello.", voice=name) for name in ("ann", "bob"))
    assert not np.array_equal(ann.samples[:4000], bob.samples[:4000])
    assert np.array_equal(tts("Hello.").samples, bob.samples)  # the card's default
    file = folder / "voices" / "ann.safetensors"
    for same in (file, str(file), "ANN", tts.voices["ann"]):
        assert np.array_equal(tts("Hello.", voice=same).samples, ann.samples)
    by_row = list(tts.batch(["Hello.", "Hello."], voice=["ann", "bob"]))
    assert difference(by_row[0], ann) <= 1e-3 and difference(by_row[1], bob) <= 1e-3


def test_voice_from_recording(tts: TTS, tmp_path: Path) -> None:
    path = Audio(buzz(), 16_000).save(tmp_path / "me.wav")
    voice = tts.find_voice(path)
    assert voice is not None and voice.name == "me"
    assert len(tts("Hello.", voice=str(path)).samples) > 0


def test_voice_of_a_role(tts: TTS) -> None:
    card = {"name": "clerk", "persona": "You file.", "origin": "drawn", "consent": ""}
    role = Role(voice="ann", **card)
    ann = tts("Hello.", voice="ann")
    assert np.array_equal(tts("Hello.", voice=role).samples, ann.samples)
    assert difference(next(tts.batch(["Hello."], voice=role)), ann) <= 1e-3
    with raises_input_error("not_found", key="role", names="did you mean 'ann'"):
        tts("Hello.", voice=Role(voice="an", **card))


def test_speaker_conditioning(folder: Path) -> None:
    """Voices differ in codes where the LM has the vector, and in sound if only the decoder has."""
    for place in SPEAKER_CONDITIONINGS:
        one = load(folder, speaker_conditioning=place)
        voices = [one.voices[name] for name in ("ann", "bob")]
        lm = [one.lm_speaker_vector(voice) for voice in voices]
        assert all(vector is None for vector in lm) == (place in ("decoder", "none"))
        decoder = [one.decoder_speaker_vector(voice) for voice in voices]
        assert torch.equal(*decoder) == (place in ("lm", "none"))
        assert all(abs(float(vector.norm()) - 1) < 1e-5 for vector in decoder)
        same = np.array_equal(*(one("Hello.", voice=name).samples for name in ("ann", "bob")))
        assert same == (place == "none")


def test_model_without_voices_needs_a_recording(folder: Path) -> None:
    model = load(folder)
    model.voices, model.card = {}, {}
    with raises_input_error("missing", key="voice"):
        model("Hello.")


# -- invalid arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"text": " "}, "empty"),
        ({"text": 123}, "invalid_value"),
        ({"text": None}, "invalid_value"),
        ({"text": b"Hi."}, "invalid_value"),
        ({"voice": "an"}, "not_found"),
        ({"voice": 5}, "invalid_value"),
        ({"voice": ["ann"]}, "invalid_value"),
        ({"voice": "none.safetensors"}, "not_found"),
        ({"voice": "https://example.org/me.wav"}, "unsupported"),
        ({"voice": Path("https://example.org/me.safetensors")}, "unsupported"),
        ({"seed": -1}, "out_of_range"),
        ({"seed": 2**63}, "out_of_range"),
        ({"seed": None}, "invalid_value"),
        ({"seed": "a"}, "invalid_value"),
        ({"seed": 1.5}, "invalid_value"),
        ({"temperature": float("nan")}, "out_of_range"),
        ({"temperature": -1.0}, "out_of_range"),
        ({"temperature": "warm"}, "invalid_value"),
        ({"top_p": 1.5}, "out_of_range"),
        ({"top_k": 0}, "out_of_range"),
        ({"top_k": 2.5}, "invalid_value"),
        ({"greedy": "yes"}, "invalid_value"),
    ],
)
def test_invalid_argument(tts: TTS, options: dict[str, Any], code: ErrorCode) -> None:
    call = {"text": "Hello."} | options
    methods: tuple[Callable[..., Any], ...] = (tts, tts.stream, tts.sentences)
    for method in methods:  # a stream raises at once, not at its first chunk
        with raises_input_error(code, key=next(iter(options))):
            method(**call)


def test_unknown_sampling_option(tts: TTS) -> None:
    with raises_input_error("unknown_name", key="option", names="did you mean 'temperature'"):
        tts("Hello.", temprature=1.0)


def test_missing_recording(tts: TTS) -> None:
    with raises_input_error("not_found", key="audio", names="none.wav"):
        tts("Hello.", voice="none.wav")


@pytest.mark.parametrize("texts", ["Hello", b"Hello", 5, None])
def test_batch_of_one_text_instead_of_a_list(tts: TTS, texts: Any) -> None:
    with raises_input_error("invalid_value", key="texts"):
        tts.batch(texts)
    with raises_input_error("invalid_value", key="requests"):
        tts.each(texts)


@pytest.mark.parametrize(
    ("batch_size", "code"),
    [(0, "out_of_range"), ("a", "invalid_value"), (1.5, "invalid_value"), (None, "invalid_value")],
)
def test_invalid_batch_size(tts: TTS, batch_size: Any, code: ErrorCode) -> None:
    for call in (tts.batch, tts.each):
        with raises_input_error(code, key="batch_size"):
            call(["a"], batch_size=batch_size)
    with raises_input_error(code, key="batch_size"):
        tts.sentences("a", batch_size=batch_size)


def test_batch_wants_one_voice_or_one_per_text(tts: TTS) -> None:
    with raises_input_error("wrong_length", key="voice"):
        tts.batch(["a", "b", "c"], voice=["ann", "bob"])


def test_batch_refuses_before_speaking(tts: TTS) -> None:
    with raises_input_error("invalid_value", key="text"):
        tts.batch(["a", 5])


@pytest.mark.parametrize(
    ("options", "code", "key"),
    [
        ({"name": 5}, "invalid_value", "model"),
        ({"name": "nobody"}, "not_found", "model"),
        ({"device": "xpu"}, "unusable", "device"),
        ({"device": "abacus"}, "unknown_name", "device"),
        ({"speaker_conditioning": "decode"}, "unknown_name", "speaker_conditioning"),
        ({"decoding": "greedy"}, "invalid_value", "decoding"),
    ],
)
def test_invalid_argument_of_load(
    folder: Path, options: dict[str, Any], code: ErrorCode, key: str
) -> None:
    with raises_input_error(code, key=key):
        load(**{"name": folder} | options)


def test_model_with_another_tokenizer(folder: Path, tmp_path: Path) -> None:
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    path = mixed / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"toy"', '"other"'))
    with raises_input_error("mismatch", key="tokenizer", names="other"):
        load(mixed)


# -- state, threads and processes ----------------------------------------------------------------


def test_interleaved_streams_do_not_mix(tts: TTS) -> None:
    texts = ("Hello there.", "Good morning to you.")
    streams = [tts.stream(text, seed=7) for text in texts]
    parts: list[list[Audio]] = [[], []]
    live = [0, 1]
    while live:
        for index in list(live):
            chunk = next(streams[index], None)
            if chunk is None:
                live.remove(index)
            else:
                parts[index].append(chunk)
    for text, chunks in zip(texts, parts, strict=True):
        assert difference(join(chunks), tts(text, seed=7)) <= 1e-3


def test_eight_threads_share_one_model(tts: TTS) -> None:
    want = [tts(f"Number {n}.", seed=n) for n in range(8)]
    counted = tts.using(tts.decoding)

    def speak(n: int) -> Audio:
        if n % 2:
            return join(list(counted.stream(f"Number {n}.", seed=n)))
        return counted(f"Number {n}.", seed=n)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(speak, range(8)))
    for one, other in zip(want, found, strict=True):
        assert difference(one, other) <= 1e-3 and one.words == other.words
    alone = tts.using(tts.decoding)
    for n in range(8):
        alone(f"Number {n}.", seed=n)
    assert counted.statistics.forwards == alone.statistics.forwards


def test_abandoned_calls_leave_no_thread(tts: TTS) -> None:
    before = active_count()
    calls: list[Iterator[Any]] = [
        tts.stream(TEXT),
        tts.batch([TEXT] * 9, batch_size=2),
        tts.each([TEXT] * 9),
        tts.sentences(TEXT),
    ]
    for call in calls:
        next(call)
    del call, calls
    assert active_count() == before


def test_first_chunk_comes_before_the_last_step(tts: TTS, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    generate = synthesis.generate

    def counted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for event in generate(*args, **kwargs):
            steps.append(event)
            yield event

    monkeypatch.setattr(synthesis, "generate", counted)
    stream = tts.stream("A rather long sentence, so that there is something to wait for.", seed=1)
    next(stream)
    first = len(steps)
    list(stream)
    assert first <= 3 < len(steps)


@contextmanager
def torch_defaults(dtype: torch.dtype, device: str | None) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


@pytest.mark.parametrize(
    ("dtype", "device"),
    [(torch.float64, None), (torch.bfloat16, None), (torch.float32, "meta")],
    ids=["float64", "bfloat16", "meta"],
)
def test_torch_defaults_do_not_change_the_audio(
    any_tts: TTS, tmp_path: Path, dtype: torch.dtype, device: str | None
) -> None:
    """A calling program may set torch's default dtype and device; "meta" tensors have no data."""
    want = any_tts("Yes.", seed=3)
    recording = Audio(buzz(), 16_000).save(tmp_path / "me.wav")
    voice = any_tts.find_voice(recording)
    with torch_defaults(dtype, device):
        found = any_tts("Yes.", seed=3)
        streamed = join(list(any_tts.stream("Yes.", seed=3)))
        assert np.array_equal(any_tts.find_voice(recording).vector, voice.vector)
    assert np.array_equal(found.samples, want.samples)
    assert difference(streamed, want) <= 1e-3


def test_model_is_loaded_whatever_torch_defaults_are(tts: TTS, folder: Path) -> None:
    want = tts("Yes.", seed=3)
    for dtype, device in ((torch.float64, None), (torch.bfloat16, "meta")):
        with torch_defaults(dtype, device):
            found = load(folder)("Yes.", seed=3)
        assert np.array_equal(found.samples, want.samples)


FORKING = """
import faulthandler, os, sys
import torch
from vocalmtp.loading import load

tts = load(sys.argv[1], threads=2)
torch.set_num_threads(2)
for _ in range(5):
    want = tts("Yes.", seed=3)  # whose threads may still be ending
    faulthandler.cancel_dump_traceback_later()  # a child would wait for its thread
    child = os.fork()
    faulthandler.dump_traceback_later(300 if child else 240, exit=True)  # where a process hangs
    if not child:
        found = tts("Yes.", seed=3)
        os._exit(0 if abs(found.samples - want.samples).max() <= 1e-3 else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.get_num_threads() == 2  # of the parent
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a platform without fork")
def test_forked_child_speaks(folder: Path) -> None:
    """Torch's worker threads do not survive a fork: a child that waits for them would hang.

    In a process of its own: locks that threads of other tests hold at the fork are not ours.
    """
    subprocess.run([sys.executable, "-c", FORKING, folder], check=True, timeout=600)


# -- other devices -------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_greedy_tokens_on_cuda_equal_those_on_cpu(folder: Path) -> None:
    texts = ["Two.", "Not two.", "No."]
    found = [[], []]
    for place, device in zip(found, ("cpu", "cuda"), strict=True):
        for audio in load(folder, device=device, int8=False).batch(texts, greedy=True):
            place.append(audio)
    for ours, theirs in zip(*found, strict=True):
        assert ours.words == theirs.words
        assert difference(ours, theirs) <= 1e-2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_streamed_equals_offline_on_cuda(folder: Path, tmp_path: Path) -> None:
    model = load(folder, device="auto")
    assert model.model.device.type == model.tokenizer.device.type == "cuda"
    voice = model.find_voice(Audio(buzz(), 16_000).save(tmp_path / "me.wav"))
    for sampling in ({}, {"greedy": True}):
        audio = model(TEXT, voice=voice, seed=3, **sampling)
        streamed = join(list(model.stream(TEXT, voice=voice, seed=3, **sampling)))
        assert difference(streamed, audio) <= 1e-3 and streamed.words == audio.words
