"""Streams of codes, and the slots of a step that hold them.

Letters: G frames per step, K slots per step, V vocabulary of a slot.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vocalmtp.errors import InputError

MAX_IDS = 1 << 24  # of a slot: a joint stream has `size` to the power of the frames
ADVANCE = "advance"  # the stream that moves the pointer of the text track (text_track.py)
NO_STREAM = -1  # of the slot that has the end alone
REFERENCE = 1  # the code of that slot in recordings that are examples of a voice; else it has 0
TEXT_ALONE = 1  # the code of that slot in steps of text without frames, where there are such


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream of codes.

    Attributes:
        name: of the stream.
        size: number of codes.
        delay: steps by which it follows the first stream.
        joint: whether the G frames of a step have one symbol instead of G.
        levels: numbers of values of a code's digits, least significant first, for finite scalar
            quantization.

    """

    name: str
    size: int
    delay: int = 0
    joint: bool = False
    levels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Slot:
    """One of the K places of a step. Its ids are the codes, then `end_id`, then `pad_id`."""

    name: str
    stream: int  # index of the stream; of the first one for the single slot of a flat layout
    frame: int  # frame within the step
    size: int  # number of codes
    delay: int = 0
    joint: bool = False

    @property
    def end_id(self) -> int:
        """Id that ends the speech; only the leading slot has it, unless all slots end."""
        return self.size

    @property
    def pad_id(self) -> int:
        """Id of a slot that has no code in a step."""
        return self.size + 1

    @property
    def vocab_size(self) -> int:
        """V, the number of ids."""
        return self.size + 2


# The leading slot of a layout whose end has a slot of its own. Its codes are 0 and REFERENCE, its end
# comes with the last frame of the first stream, and it is padded from then on.
END_SLOT = Slot("end", NO_STREAM, 0, REFERENCE + 1, delay=-1, joint=True)
# The leading slot of a layout with steps of text. Its codes are 0 and TEXT_ALONE, its end comes after
# the last frames.
TEXT_SLOT = Slot("text", NO_STREAM, 0, TEXT_ALONE + 1, joint=True)


def grouped_slots(
    streams: Sequence[Stream], frames_per_step: int, leading: Slot | None = None
) -> tuple[Slot, ...]:
    """Return the K slots of a grouped layout: joint ones first, then frame by frame in stream order.

    Args:
        streams: joint ones first.
        frames_per_step: G.
        leading: a slot before those of the streams, for the end; None for none.

    """
    slots = [] if leading is None else [leading]
    slots += [
        Slot(stream.name, q, 0, stream.size**frames_per_step, stream.delay, True)
        for q, stream in enumerate(streams)
        if stream.joint
    ]
    for frame in range(frames_per_step):
        slots += [
            Slot(f"{stream.name}.{frame}", q, frame, stream.size, stream.delay)
            for q, stream in enumerate(streams)
            if not stream.joint
        ]
    return tuple(slots)


def check_streams(streams: Sequence[Stream], frames_per_step: int) -> None:
    """Check the streams of a layout with so many frames a step.

    Raises:
        InputError: their order, a size, a delay or the levels of one are wrong.

    """
    joint = [stream.joint for stream in streams]
    if all(joint):
        raise InputError(
            "streams: all are joint (or none is given); add one that is not", code="invalid_value"
        )
    if joint != sorted(joint, reverse=True):
        raise InputError(
            "streams: joint streams come first; move them to the front", code="invalid_value"
        )
    for stream in streams:
        if stream.size < 1 or stream.delay < 0:
            raise InputError(
                f"stream '{stream.name}': size must be 1 or more and delay 0 or more, "
                f"not {stream.size} and {stream.delay}",
                code="out_of_range",
            )
        if stream.size ** (frames_per_step if stream.joint else 1) > MAX_IDS:
            most = int(math.log(MAX_IDS, stream.size)) if stream.joint else 0
            count = most * sum(not each.joint for each in streams)
            fewer = f"; take {most} frames a step at most, {count} tokens" if most else ""
            raise InputError(
                f"stream '{stream.name}': size {stream.size} in {frames_per_step} frames "
                f"makes more than {MAX_IDS:,} ids{fewer}",
                code="out_of_range",
            )
        if stream.levels and math.prod(stream.levels) != stream.size:
            raise InputError(
                f"stream '{stream.name}': levels {stream.levels} must multiply to {stream.size}",
                code="invalid_value",
            )
