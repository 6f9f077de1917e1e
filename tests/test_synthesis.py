"""One path from text to audio: the call, the stream and the batch agree."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sounds import buzz
from helpers.toy_model import save_toy_model

from vocalmtp.audio.io import Audio, join
from vocalmtp.errors import InputError
from vocalmtp.roles import Role
from vocalmtp.text import normalize
from vocalmtp.tts import SPEAKER_CONDITIONINGS, TTS, SynthesisRequest, load

TEXT = "Good morning. How are you on May 5?"
KINDS = {
    "track": {},
    "both": {"text": "both"},
    "prompt": {"text": "prompt"},
    "one frame a step": {"frames_per_step": 1},
    "next token": {"text": "prompt", "flat": True, "frames_per_step": 1},
    "depth head": {"head": {"name": "depth"}},
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda name: name.replace(" ", "-"))
def any_tts(request, tmp_path_factory) -> TTS:
    return load(save_toy_model(tmp_path_factory.mktemp("toy"), **KINDS[request.param]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def tts(folder) -> TTS:
    return load(folder)


def test_streamed_equals_offline(any_tts):
    audio = any_tts("Yes.", seed=3)
    chunks = list(any_tts.stream("Yes.", seed=3))
    streamed = join(chunks)
    assert len(chunks) > 2
    assert len(audio.samples) > 0
    assert np.abs(streamed.samples - audio.samples).max() <= 1e-3
    assert (streamed.words, streamed.truncated) == (audio.words, audio.truncated)


def test_a_batch_row_equals_the_single_call(any_tts):
    texts = ["Two.", "Not two.", "No."]
    for text, audio in zip(texts, any_tts.batch(texts, seed=3, batch_size=2), strict=True):
        single = any_tts(text, seed=3)
        assert np.abs(audio.samples - single.samples).max() <= 1e-3
        assert audio.words == single.words


def test_each_refills_reports_and_equals_the_single_call(any_tts):
    """Long and short texts, wrong ones among them, more than there are places."""
    texts = ["Two.", "Not two. And a longer one, then.", "...", "No.", "Yes, yes.", "?"]
    options = [{}, {"temperature": 0.7}, {}, {}, {"temperature": -1}, {}]
    requests = [
        SynthesisRequest(text=text, seed=n, sampling=sampling)
        for n, (text, sampling) in enumerate(zip(texts, options, strict=True))
    ]
    read = []
    lazily = (read.append(n) or request for n, request in enumerate(requests))
    made = {}
    for number, audio in any_tts.each(lazily, batch_size=2):
        assert number not in made
        made[number] = audio
    assert sorted(made) == list(range(6))
    for number, refused in ((2, "text"), (4, "temperature"), (5, "text")):
        assert isinstance(made[number], InputError) and str(made[number]).startswith(refused)
    for number in (0, 1, 3):
        single = any_tts(texts[number], seed=number, **options[number])
        assert np.abs(made[number].samples - single.samples).max() <= 1e-3
        assert made[number].words == single.words


def test_each_reads_no_further_than_it_must(tts):
    read = []

    def endless():
        while True:
            read.append(1)
            yield SynthesisRequest(text="No.")

    spoken = tts.each(endless(), batch_size=3)
    for done in range(1, 8):
        next(spoken)
        assert len(read) <= 3 + 3 + done  # three places, and as many that wait for the codec


def test_sentences_are_those_of_the_call(tts):
    parts = list(tts.sentences(TEXT, seed=3, batch_size=1))
    assert len(parts) == 2
    assert np.array_equal(join(parts).samples, tts(TEXT, seed=3).samples)


def test_sentences_are_joined_with_silence(tts):
    audio = tts(TEXT, seed=3)
    streamed = join(list(tts.stream(TEXT, seed=3)))
    assert np.abs(streamed.samples - audio.samples).max() <= 1e-3
    assert streamed.words == audio.words
    second = next(word for word in audio.words if word.text == "how")
    start = round(second.start * audio.sample_rate)
    assert np.abs(audio.samples[start - 3_900 : start]).max() == 0  # 0.25 s
    assert np.abs(audio.samples[start - 4_500 : start - 4_100]).max() > 0


def test_the_words_are_those_of_the_text_in_order(tts):
    audio = tts(TEXT, seed=3)
    assert [w.text for w in audio.words] == normalize(TEXT).replace(".", "").replace(
        "?", ""
    ).split()
    times = [time for word in audio.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= audio.duration


def test_the_seed_decides(tts):
    again = [tts("Hello.", seed=5).samples for _ in range(2)]
    other = tts("Hello.", seed=6).samples
    assert np.array_equal(*again)
    assert not np.array_equal(again[0], other)


def test_every_sentence_has_noise_of_its_own(tts):
    first, second = tts("Hello. Hello.", seed=5).words
    assert (first.end - first.start) != (second.end - second.start)


def test_greedy_needs_no_seed(tts):
    assert np.array_equal(
        tts("Hello.", seed=1, greedy=True).samples, tts("Hello.", seed=2, greedy=True).samples
    )


def test_the_voice_decides(tts, folder, tmp_path):
    ann, bob = (tts("Hello.", voice=name).samples for name in ("ann", "bob"))
    assert not np.array_equal(ann[:4000], bob[:4000])
    assert np.array_equal(tts("Hello.").samples, bob)  # the card's default
    file = folder / "voices" / "ann.safetensors"
    assert np.array_equal(tts("Hello.", voice=file).samples, ann)
    assert np.array_equal(tts("Hello.", voice=tts.voices["ann"]).samples, ann)
    by_row = list(tts.batch(["Hello.", "Hello."], voice=["ann", "bob"]))
    assert np.abs(by_row[0].samples - ann).max() <= 1e-3
    assert np.abs(by_row[1].samples - bob).max() <= 1e-3


def test_a_recording_is_a_voice(tts, tmp_path):
    path = Audio(buzz(), 16_000).save(tmp_path / "me.wav")
    assert tts.find_voice(path).name == "me"
    assert len(tts("Hello.", voice=str(path)).samples) > 0


def test_a_role_stands_for_its_voice(tts):
    card = {"name": "clerk", "persona": "You file.", "origin": "drawn", "consent": ""}
    role = Role(voice="ann", **card)
    ann = tts("Hello.", voice="ann").samples
    assert np.array_equal(tts("Hello.", voice=role).samples, ann)
    assert np.abs(next(tts.batch(["Hello."], voice=role)).samples - ann).max() <= 1e-3
    with pytest.raises(InputError, match="role 'clerk': voice 'an': no such voice; did you mean"):
        tts("Hello.", voice=Role(voice="an", **card))


def test_the_voice_goes_where_it_is_told_to(folder):
    """Two voices differ in the codes where the LM knows them, and in sound by the decoder alone."""
    vectors = {}
    for place in SPEAKER_CONDITIONINGS:
        one = load(folder, speaker_conditioning=place)
        rows = [one.plan(SynthesisRequest(text="Hello.", voice=name))[0] for name in ("ann", "bob")]
        lm = [one.prompt(row).segments[0].vector for row in rows]
        decoder = [one.decoder_speaker_vector(row)[0] for row in rows]
        vectors[place] = lm, decoder
        same = np.array_equal(*(one("Hello.", voice=name).samples for name in ("ann", "bob")))
        assert same == (place == "none")
    for place, (lm, decoder) in vectors.items():
        assert (lm == [None, None]) == (place in ("decoder", "none"))
        assert torch.equal(*decoder) == (place in ("lm", "none"))
        assert all(abs(float(vector.norm()) - 1) < 1e-5 for vector in decoder)
    with pytest.raises(
        InputError, match="speaker_conditioning 'decode': unknown; did you mean 'decoder'"
    ):
        load(folder, speaker_conditioning="decode")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": " "}, "has nothing to say"),
        ({"voice": "an"}, "voice 'an': no such voice; did you mean 'ann'?"),
        ({"voice": "none.wav"}, "audio 'none.wav': no such file"),
        ({"voice": "none.safetensors"}, "voice 'none.safetensors': no such file"),
        ({"seed": -1}, "seed '-1': must be 0 or more"),
        ({"temperature": float("nan")}, "temperature 'nan'"),
        ({"temperature": -1.0}, "temperature '-1.0'"),
        ({"top_p": 1.5}, "top_p '1.5'"),
        ({"top_k": 0}, "top_k '0'"),
        ({"temprature": 1.0}, "option 'temprature': no such option; did you mean 'temperature'?"),
    ],
)
def test_wrong_calls_say_what_would_be_right(tts, options, message):
    call = {"text": "Hello."} | options
    for method in (tts, tts.stream):  # the stream complains at once, not at its first chunk
        with pytest.raises(InputError) as error:
            method(**call)
        assert message in str(error.value)


def test_a_batch_wants_one_voice_or_one_each(tts):
    with pytest.raises(InputError, match="2 for 3 texts"):
        tts.batch(["a", "b", "c"], voice=["ann", "bob"])
    with pytest.raises(InputError, match="batch_size '0'"):
        tts.batch(["a"], batch_size=0)


def test_asking_for_a_temperature_undoes_a_greedy_default(folder, tmp_path):
    greedy = load(folder)
    greedy.card = {"sampling": {"greedy": True}}
    assert np.array_equal(greedy("Hello.", seed=1).samples, greedy("Hello.", seed=2).samples)
    drawn = [greedy("Hello.", seed=seed, temperature=1.0).samples for seed in (1, 2)]
    assert not np.array_equal(*drawn)


def test_parts_that_do_not_belong_together_are_refused(folder, tmp_path):
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    path = mixed / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"toy"', '"other"'))
    with pytest.raises(InputError, match="tokenizer 'other'.*the model speaks the codes of 'toy'"):
        load(mixed)


def test_a_model_without_voices_asks_for_a_recording(folder):
    lonely = load(folder)
    lonely.voices, lonely.card = {}, {}
    with pytest.raises(InputError, match="voice: the model has none of its own"):
        lonely("Hello.")


def test_two_streams_at_once_do_not_mix(tts):
    texts = ("Hello there.", "Good morning to you.")
    streams = [tts.stream(text, seed=7) for text in texts]
    parts: list[list] = [[], []]
    live = [0, 1]
    while live:
        for index in list(live):
            chunk = next(streams[index], None)
            if chunk is None:
                live.remove(index)
            else:
                parts[index].append(chunk)
    for text, chunks in zip(texts, parts, strict=True):
        assert np.abs(join(chunks).samples - tts(text, seed=7).samples).max() <= 1e-3


def test_chunks_come_before_the_end(tts, monkeypatch):
    import vocalmtp.tts as synthesis

    steps = []
    generate = synthesis.generate

    def counted(*args, **kwargs):
        for event in generate(*args, **kwargs):
            steps.append(event)
            yield event

    monkeypatch.setattr(synthesis, "generate", counted)
    stream = tts.stream("A rather long sentence, so that there is something to wait for.", seed=1)
    next(stream)
    first = len(steps)
    list(stream)
    assert first <= 3 < len(steps)
