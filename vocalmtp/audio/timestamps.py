"""When words are spoken: from the text track's pointers to times, JSON and subtitles."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vocalmtp.audio.io import Word
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.atomic import atomic_path, check_file
from vocalmtp.text import word_spans

FORMATS = ("json", "srt")


def word_times(text: str, pointers: np.ndarray, frame_rate: float, *, whole: bool) -> list[Word]:
    """The spoken words of a normalised text, exact to a codec frame.

    `pointers` [T] are the characters that sound at each frame, never going back. A word lasts from
    the first frame at or after its first character until the first frame after its last. Unless
    the utterance is `whole`, only words that have ended are given.
    """
    words = []
    for first, end in word_spans(text):
        start, stop = (int(np.searchsorted(pointers, place)) for place in (first, end))
        if start == len(pointers) or (stop == len(pointers) and not whole):
            break
        words.append(Word(text[first:end], start / frame_rate, stop / frame_rate))
    return words


def timestamps_format(path: Path) -> str:
    """The format of a timestamps file, by its suffix; raises InputError if there is none such."""
    name = path.suffix.lower().lstrip(".")
    if name not in FORMATS:
        raise InputError(
            f"timestamps '{path}': must end in .json or .srt; {nearest(name, FORMATS)}",
            code="invalid_value",
        )
    check_file(path, "timestamps")
    return name


def save_timestamps(words: Sequence[Word], path: Path) -> None:
    """Write word times as JSON (seconds) or SRT subtitles, one word each; the suffix decides."""
    if timestamps_format(path) == "srt":
        text = "\n".join(
            f"{number}\n{_srt_time(word.start)} --> {_srt_time(word.end)}\n{word.text}\n"
            for number, word in enumerate(words, start=1)
        )
    else:
        rows = [{"word": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in words]
        text = json.dumps({"words": rows}, indent=1, ensure_ascii=False) + "\n"
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _srt_time(seconds: float) -> str:
    """3725.5 -> "01:02:05,500"."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
