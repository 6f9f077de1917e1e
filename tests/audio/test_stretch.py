"""Time stretching: duration, pitch, and output that does not depend on the chunks."""

import numpy as np
import pytest
from helpers.errors import raises_input_error
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalmtp.audio.stretch import TimeStretcher, check_speed, stretch

RATE = 16_000


def voiced(seconds: float, pitch: float = 150.0) -> np.ndarray:
    """Harmonics of a pitch with a slow envelope, and a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 8))
    noise = np.random.default_rng(0).standard_normal(len(t))
    return (0.2 * wave * (1.2 + np.sin(2 * np.pi * 3 * t)) + 0.002 * noise).astype(np.float32)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_the_duration_changes_and_the_pitch_stays(speed):
    samples = stretch(voiced(2.0), speed, RATE)
    assert len(samples) == round(2.0 * RATE / speed)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= np.abs(voiced(2.0)).max() * 1.01
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    pitch = spectrum[: round(200 * len(samples) / RATE)].argmax() * RATE / len(samples)
    assert pitch == pytest.approx(150, abs=4)


def test_at_speed_one_samples_are_unchanged():
    samples = voiced(0.5)
    np.testing.assert_array_equal(stretch(samples, 1, RATE), samples)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from((0.25, 0.77, 1.1, 1.6, 4.0)),
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
)
def test_the_output_does_not_depend_on_the_chunks(speed, sizes):
    samples = voiced(sum(sizes) / RATE)
    stretcher = TimeStretcher(speed, RATE)
    chunks = np.split(samples, np.cumsum(sizes)[:-1])
    parts = [*(stretcher.push(chunk) for chunk in chunks), stretcher.flush()]
    streamed = np.concatenate(parts)
    assert len(streamed) == int(np.ceil(len(samples) / speed))
    np.testing.assert_array_equal(streamed, stretch(samples, speed, RATE))


def test_most_of_a_stream_is_returned_before_its_end():
    stretcher = TimeStretcher(1.5, RATE)
    early = sum(len(stretcher.push(voiced(0.1))) for _ in range(10))
    assert early > 0.85 * RATE / 1.5


@pytest.mark.parametrize("speed", [0.24, 4.01, float("nan"), float("inf"), -1, 0])
def test_speeds_out_of_range_are_refused(speed):
    with raises_input_error("out_of_range", "speed"):
        check_speed(speed)


@pytest.mark.parametrize("speed", ["1", None, True, [1.0]])
def test_speeds_that_are_no_numbers_are_refused(speed):
    with raises_input_error("invalid_value", "speed"):
        check_speed(speed)
