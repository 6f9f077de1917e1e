"""Teachers of recipes/corpus: their configuration, their times, and, if installed, their speech."""

import numpy as np
import pytest
import yaml

from vocalmtp.text.letter_phones import learn

TEXT = "well, the first one was twenty-one; don't you think so? i do."


@pytest.fixture
def voices(recipe):
    """The configured voices of Kokoro."""
    path = recipe("teachers.kokoro").__file__.replace(".py", ".yaml")
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)["voices"]


def test_voices_have_names_of_their_own(recipe, voices):
    flite = recipe("teachers.flite").load_voices()
    assert not set(voices) & (set(flite) | {"heart", "crowd"})


def test_kokoro_has_packs_mixtures_and_two_held_out_voices(recipe, voices):
    made = [recipe("teachers.kokoro").KokoroVoice(name=n, **fields) for n, fields in voices.items()]
    mixtures = [voice for voice in made if len(voice.mix) > 1]
    held_out = [voice for voice in made if not voice.share]
    assert len(made) - len(mixtures) == 5 and len(mixtures) >= 14
    assert [voice.gender for voice in held_out] == ["woman", "man"]
    assert any(min(voice.mix.values()) < 0 for voice in mixtures if voice.share)


def test_mixture_weights_sum_to_one(recipe):
    with pytest.raises(ValueError):
        recipe("teachers.kokoro").KokoroVoice("x", "man", {"a": 0.5, "b": 0.6})


@pytest.mark.parametrize("name", ["hibari", "kokoro", "flite"])
def test_teacher_speaks_with_times(recipe, name):
    teachers, align, render = recipe("teachers"), recipe("align"), recipe("render")
    try:
        teacher = teachers.load_teacher(name)
    except teachers.TeacherMissing as error:
        pytest.skip(str(error))
    voice = next(iter(teacher.voices.values()))
    speech = teacher.speak(TEXT, voice)
    assert speech.samples.dtype == np.float32 and 2 < len(speech.samples) / teachers.RATE < 8
    assert 0.02 < np.abs(speech.samples).max() < 1.5
    assert (np.diff(speech.ends) >= 0).all() and len(speech.phones) == len(speech.ends)
    assert speech.ends[-1] == pytest.approx(len(speech.samples) / teachers.RATE, abs=1e-3)
    pronounced = teacher.pronounce(TEXT)
    assert [spelling for spelling, _ in pronounced][:3] == ["well", "the", "first"]
    assert [tuple(speech.phones[w.first : w.last]) for w in speech.words] == [
        p for _, p in pronounced
    ]
    item = render.Item(TEXT, voice, "train")
    aligner = align.Aligner(learn(pronounced))
    row, samples = render.make_row("a", "a.flac", item, teacher, aligner)
    assert len(row["chars"]) == len(TEXT) and (np.diff(row["chars"]) >= 0).all()
    again, same = render.make_row("a", "a.flac", item, teacher, aligner)
    assert again == row and np.array_equal(samples, same)


def test_kokoro_crowd_is_apart_from_held_out_voices(recipe):
    from random import Random

    teachers = recipe("teachers")
    try:
        teacher = teachers.load_teacher("kokoro")
    except teachers.TeacherMissing as error:
        pytest.skip(str(error))
    random = Random(0)
    drawn = [teacher.draw(random) for _ in range(2000)]
    crowd = [voice for voice in drawn if voice.name == "crowd"]
    assert 0.1 < len(crowd) / len(drawn) < 0.2
    assert not {"ingrid", "arthur"} & {voice.name for voice in drawn}
    assert all(sum(voice.mix.values()) == pytest.approx(1) for voice in crowd)
    held_out = [voice.mix for voice in teacher.voices.values() if not voice.share]
    for voice in crowd:
        for mix in held_out:
            packs = voice.mix.keys() | mix.keys()
            apart = sum((voice.mix.get(pack, 0) - mix.get(pack, 0)) ** 2 for pack in packs)
            assert apart >= recipe("teachers.kokoro").APART ** 2


def reading_of_two_words(recipe):
    """ "at, no" as phonemes: a stress mark, a phone that merges, a pause."""
    return recipe("teachers.phonemes").Reading(
        "ˈæt, nˈO", (0, 0, 0, -1, -1, 1, 1, 1), ((0, 1), (4, 5))
    )


def test_pause_is_found_in_the_signal(recipe):
    phonemes = recipe("teachers.phonemes")
    reading = reading_of_two_words(recipe)
    durations = [4, 1, 4, 8, 2, 2, 2, 1, 6, 4]  # units of 25 ms, the paddings included
    samples = np.zeros(sum(durations) * phonemes.UNIT, np.float32)
    tone = 0.5 * np.sin(np.arange(len(samples)) / 10).astype(np.float32)
    rate = 24_000
    for start, stop in ((0.05, 0.25), (0.48, 0.68)):
        where = slice(round(start * rate), round(stop * rate))
        samples[where] = tone[where]
    speech = phonemes.timed_speech(samples, reading, durations)
    assert speech.phones == ("pau", "ae", "t", "pau", "n", "ow", "pau")
    times = dict(zip(range(7), speech.ends, strict=True))
    shift = 0.05 - times[0]  # silence at the start is trimmed
    assert times[2] + shift == pytest.approx(0.25, abs=0.016)
    assert times[3] + shift == pytest.approx(0.48, abs=0.016)
    assert times[5] + shift == pytest.approx(0.68, abs=0.016)
    assert [(w.places, w.first, w.last) for w in speech.words] == [((0, 1), 1, 3), ((4, 5), 4, 6)]


def test_silent_speech_is_a_misread(recipe):
    phonemes = recipe("teachers.phonemes")
    with pytest.raises(recipe("teachers").Misread):
        phonemes.timed_speech(np.zeros(24_000, np.float32), reading_of_two_words(recipe), [4] * 10)


def test_case_is_restored_for_the_phonemizer(recipe):
    restore = recipe("teachers.phonemes").restore_case
    assert restore("well, i think i'm late. is it hi-fi?") == "Well, I think I'm late. Is it hi-fi?"


def test_weights_are_those_that_were_fetched(recipe, tmp_path, monkeypatch):
    teachers = recipe("teachers")
    monkeypatch.setenv("VOCALMTP_CACHE", str(tmp_path))
    with pytest.raises(teachers.TeacherMissing, match="vocalmtp get kokoro-82m"):
        teachers.weights_folder("kokoro-82m")
    (tmp_path / "kokoro-82m").mkdir()
    assert teachers.weights_folder("kokoro-82m") == tmp_path / "kokoro-82m"


@pytest.mark.parametrize(("width", "dilation"), [(1, 1), (3, 1), (5, 3)])
def test_integer_convolution_as_product_has_the_same_result(recipe, width, dilation):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    random = np.random.default_rng(0)
    weight = random.integers(0, 256, (4, 6, width), np.uint8)
    pad = dilation * (width // 2)
    node = onnx.helper.make_node(
        "ConvInteger",
        ["x", "w", "xz", "wz"],
        ["y"],
        kernel_shape=[width],
        dilations=[dilation],
        pads=[pad, pad],
        strides=[1],
        group=1,
    )
    types = onnx.TensorProto
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", types.UINT8, [1, 6, 40])],
        [onnx.helper.make_tensor_value_info("y", types.INT32, None)],
        [
            onnx.numpy_helper.from_array(weight, "w"),
            onnx.numpy_helper.from_array(np.uint8(120), "xz"),
            onnx.numpy_helper.from_array(np.uint8(131), "wz"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    model.ir_version = 9
    feeds = {"x": random.integers(0, 256, (1, 6, 40), np.uint8)}

    graphs = recipe("teachers.graphs")

    def run():
        options = graphs.session_options(exact=True)
        return runtime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]

    before = run()
    assert graphs.replace_integer_convolutions(model) == 1
    assert np.array_equal(run(), before)
