"""Segments to batches: every position, its target, and its pointers."""

from dataclasses import fields, replace

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.errors import ErrorCode
from vocalmtp.models.batch import Collator, PositionKind
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.prompts import (
    AudioInput,
    Context,
    ControlToken,
    Speaker,
    Speech,
    Text,
    tts_prompt,
)
from vocalmtp.models.streams import Stream

CODEC = Stream(name="a", size=9, delay=1)
TRACKED = TokenLayout(
    streams=(Stream(name="advance", size=3, joint=True), CODEC), frames_per_step=2
)
PLAIN = TokenLayout(streams=(Stream(name="a", size=9),), frames_per_step=2)
N = IGNORED
PADDING, TEXT, SPEECH, SPEAKER, CONTROL, AUDIO = PositionKind


def test_prompt_with_text_track() -> None:
    codes, advances = torch.tensor([[5, 6, 7, 8]]), torch.tensor([0, 1, 1, 0])
    segments = tts_prompt(
        "track", characters=[3, 4, 5], speaker=torch.ones(2), codes=codes, advances=advances
    )
    batch = Collator(TRACKED, 2)([segments])
    assert batch.kinds.tolist() == [[SPEAKER, CONTROL, SPEECH, SPEECH, SPEECH]]
    assert batch.steps[0, 2:].tolist() == [[3, 10, 10], [1, 5, 6], [9, 7, 8]]
    assert batch.step_targets[0].tolist() == [
        [N, N, N],
        [3, N, N],  # the marker predicts the first step
        [1, 5, 6],
        [9, 7, 8],
        [N, N, N],
    ]
    assert batch.pointers[0, 2:].tolist() == [[0, 1], [2, 2], [2, 2]]
    assert batch.characters.tolist() == [[3, 4, 5]]
    assert batch.has_speaker.tolist() == [True]


def test_text_prompt_and_padding_on_both_sides() -> None:
    long = tts_prompt("prompt", text_ids=[1, 2, 3], codes=torch.tensor([[5, 6]]))
    short = tts_prompt("prompt", text_ids=[4], codes=None)
    right = Collator(PLAIN)([long, short])
    assert right.kinds.tolist() == [
        [TEXT, TEXT, TEXT, CONTROL, SPEECH, SPEECH],
        [TEXT, CONTROL, PADDING, PADDING, PADDING, PADDING],
    ]
    assert right.attention_mask.sum(1).tolist() == [6, 2]
    assert right.ids[0].tolist() == [1, 2, 3, 0, 0, 0]
    assert right.speaker is None and right.pointers is None and right.text_targets is None
    left = Collator(PLAIN)([long, short], left=True)
    assert left.kinds[1].tolist() == [PADDING] * 4 + [TEXT, CONTROL]
    assert left.ids[1].tolist() == [0, 0, 0, 0, 4, 0]


def test_only_supervised_segments_are_targets() -> None:
    segments = [
        Text([1, 2]),
        Text([3, 4], supervised=True),
        ControlToken("speech"),
        Speech(torch.tensor([[5, 6]]), supervised=False),
    ]
    batch = Collator(PLAIN)([segments])
    assert batch.text_targets[0].tolist() == [N, 3, 4, N, N, N, N]
    assert (batch.step_targets == N).all()


def test_pointers_of_later_speech_start_at_its_own_characters() -> None:
    first = Speech(torch.tensor([[0, 1], [5, 6]]), [1, 2])
    second = Speech(torch.tensor([[0, 2], [5, 6]]), [3, 4, 5])
    batch = Collator(TRACKED)([[ControlToken("speech"), first, ControlToken("speech"), second]])
    assert batch.characters.tolist() == [[1, 2, 3, 4, 5]]
    assert batch.pointers[0].tolist() == [
        [0, 0],
        [0, 1],
        [1, 1],
        [0, 0],
        [2, 4],
        [4, 4],
    ]


def test_models_without_speaker_vectors_have_no_speaker_position() -> None:
    prompt = tts_prompt("prompt", text_ids=[1], speaker=torch.ones(2))
    assert Collator(PLAIN, speaker_dim=2)([prompt]).kinds.tolist() == [[TEXT, SPEAKER, CONTROL]]
    assert Collator(PLAIN, speaker_dim=0)([prompt]).kinds.tolist() == [[TEXT, CONTROL]]


def test_batch_moves_all_tensors() -> None:
    prompt = [AudioInput(torch.zeros(1, 4, dtype=torch.long)), Text([1], supervised=True)]
    prompt += [ControlToken("speech", added=3), Context([3])]
    prompt += tts_prompt("track", characters=[1, 2], speaker=torch.ones(2))
    batch = replace(Collator(TRACKED, 2, 2)([prompt]), hidden=torch.zeros(1, 1, 1)).to("meta")
    tensors = [getattr(batch, field.name) for field in fields(batch)]
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert batch.attention_mask.device.type == "meta"


def test_text_added_to_other_positions_and_along_steps() -> None:
    codes = torch.tensor([[4, 5, 6, 7, 8, 0, 1]])  # the last one is no whole step
    speech = Speech(codes, characters=[7, 8], goes_on=True)
    own = Collator(PLAIN, control_tokens=("pad", "bos"), step_text=True)
    batch = own([[Text([1]), ControlToken("bos", added=2), speech]])
    assert batch.added_text is not None and batch.pointers is not None
    assert batch.kinds.tolist() == [[TEXT, CONTROL, SPEECH, SPEECH, SPEECH]]
    assert batch.ids[0, :2].tolist() == [1, 1]
    assert batch.added_text.tolist() == [[-1, 2, -1, -1, -1]]
    assert batch.pointers[0, 2:, 0].tolist() == [0, 1, 1]  # the last one goes on
    assert batch.characters is not None and batch.characters.tolist() == [[7, 8]]


def test_unknown_control_tokens_are_refused() -> None:
    with raises_input_error("unknown_name", key="control token", names="speach"):
        Collator(PLAIN)([[ControlToken("speach")]])


def test_speaker_vectors_of_another_size_are_refused() -> None:
    with raises_input_error("mismatch", key="speaker vector"):
        Collator(PLAIN, 3)([[Speaker(torch.ones(2))]])


@pytest.mark.parametrize(("frames", "code"), [(0, "unsupported"), (2, "invalid_value")])
def test_unsupported_audio_is_refused(frames: int, code: ErrorCode) -> None:
    audio = AudioInput(torch.zeros(1, 4, dtype=torch.long))
    with raises_input_error(code, key="audio input"):
        Collator(PLAIN, audio_frames_per_position=frames)([[audio, audio]])
