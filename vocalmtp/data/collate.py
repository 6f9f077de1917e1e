"""Lists of segments to one padded batch: what every position holds, and what it should predict.

Letters: B batch, L positions, K slots, G frames per step, U characters, D_s speaker vector size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vocalmtp.errors import InputError, nearest
from vocalmtp.models.layout import ADVANCE, IGNORED, TokenLayout
from vocalmtp.models.prompts import (
    CONTROL_TOKENS,
    AudioInput,
    ControlToken,
    Segment,
    Speaker,
    Speech,
    Text,
)

PADDING, TEXT, SPEECH, SPEAKER, CONTROL, AUDIO = range(6)  # kinds of positions


@dataclass
class PromptRow:
    """One sequence before padding; every list or tensor has an entry for each position."""

    kinds: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)  # text id, marker index, or 0
    text_target: list[int] = field(default_factory=list)  # the position's own id where supervised
    speech: list[tuple[int, Tensor, Tensor, Tensor]] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    speaker: Tensor | None = None
    heard: AudioInput | None = None

    def add(self, kind: int, ids: list[int], supervised: bool = False) -> None:
        self.kinds += [kind] * len(ids)
        self.ids += ids
        self.text_target += ids if supervised else [IGNORED] * len(ids)


class Collator:
    """Turns a list of segment lists into a batch, see `__call__`.

    Rows are padded on the right; `left=True` pads on the left, as decoding needs. A model that
    listens hears `audio_frames_per_position` a position; 0 is for one that does not.
    """

    def __init__(
        self, layout: TokenLayout, speaker_dim: int = 0, audio_frames_per_position: int = 0
    ):
        self.layout = layout
        self.audio_frames_per_position = audio_frames_per_position
        self.speaker_dim = speaker_dim
        self.tracked = layout.streams[0].name == ADVANCE

    def __call__(self, rows: list[list[Segment]], left: bool = False) -> dict[str, Tensor]:
        """A dict of tensors.

        kinds, text_ids, markers, attention_mask [B, L]; steps [B, L, K]; text_targets [B, L] and
        step_targets [B, L, K] (-100 = none; aligned: what the position predicts); speaker [B, D_s]
        and has_speaker [B]; for a text track also characters [B, U], character_lengths [B] and
        pointers [B, L, G] (the character of every frame); where a row hears something also heard
        [B, X, T] (X: streams of codes, or numbers of a log-mel frame), heard_lengths [B] and
        heard_letters [B, T] (-100 = not known).
        """
        built = [self._row(segments) for segments in rows]
        batch, length = len(built), max(len(row.kinds) for row in built)
        slots, group = self.layout.tokens_per_step, self.layout.frames_per_step
        pads = torch.tensor([slot.pad_id for slot in self.layout.slots])
        out = {
            "kinds": torch.full((batch, length), PADDING),
            "text_ids": torch.zeros(batch, length, dtype=torch.long),
            "markers": torch.zeros(batch, length, dtype=torch.long),
            "steps": pads.expand(batch, length, slots).clone(),
        }
        text_own = torch.full((batch, length), IGNORED)
        step_own = torch.full((batch, length, slots), IGNORED)
        pointers = torch.zeros(batch, length, group, dtype=torch.long)
        for b, row in enumerate(built):
            start = length - len(row.kinds) if left else 0
            place = slice(start, start + len(row.kinds))
            kinds, ids = torch.tensor(row.kinds), torch.tensor(row.ids)
            out["kinds"][b, place] = kinds
            out["text_ids"][b, place] = torch.where(kinds == TEXT, ids, 0)
            out["markers"][b, place] = torch.where(kinds == CONTROL, ids, 0)
            text_own[b, place] = torch.tensor(row.text_target)
            for first, tokens, targets, pointed in row.speech:
                span = slice(start + first, start + first + len(tokens))
                out["steps"][b, span] = tokens
                step_own[b, span] = targets
                pointers[b, span] = pointed
        out["attention_mask"] = (out["kinds"] != PADDING).long()
        out["text_targets"] = shift(text_own)
        out["step_targets"] = shift(step_own)
        out |= self._speakers(built)
        if self.tracked:
            out |= padded("character", [row.characters for row in built], least=1)
            out["pointers"] = pointers
        if any(row.heard is not None for row in built):
            out |= self._heard(built)
        return out

    def _row(self, segments: list[Segment]) -> PromptRow:
        row = PromptRow()
        for segment in segments:
            match segment:
                case Text():
                    row.add(TEXT, list(segment.ids), segment.supervised)
                case ControlToken():
                    if segment.name not in CONTROL_TOKENS:
                        hint = nearest(segment.name, CONTROL_TOKENS)
                        raise InputError(
                            f"marker '{segment.name}': no such marker; {hint}", code="not_found"
                        )
                    row.add(CONTROL, [CONTROL_TOKENS.index(segment.name)])
                case Speaker():
                    row.speaker = segment.vector
                    row.add(SPEAKER, [0])
                case AudioInput():
                    self._hear(row, segment)
                case Speech():
                    self._speech(row, segment)
        return row

    def _hear(self, row: PromptRow, segment: AudioInput) -> None:
        if not self.audio_frames_per_position:
            raise InputError(
                "heard speech: this model does not listen; train one with 'audio_input'",
                code="unsupported",
            )
        if row.heard is not None:
            raise InputError(
                "heard speech: a row takes one piece of it, and has more; join them",
                code="invalid_value",
            )
        row.heard = segment
        row.add(AUDIO, [0] * -(-segment.frames.shape[1] // self.audio_frames_per_position))

    def _speech(self, row: PromptRow, segment: Speech) -> None:
        base = len(row.characters)
        if segment.characters is not None:
            row.characters += list(segment.characters)
        if segment.codes is None:
            return
        tokens = self.layout.pack(segment.codes[None]).tokens[0]  # [S, K]
        if segment.supervised:
            targets = self.layout.targets(tokens)
        else:
            targets = torch.full_like(tokens, IGNORED)
        if self.tracked:
            moves = self.layout.advances(tokens[None])[0]  # [S, G]
            last = max(len(row.characters) - 1, 0)
            pointed = (base + moves.flatten().cumsum(0)).clamp(max=last).view_as(moves)
        else:
            pointed = tokens.new_zeros(len(tokens), self.layout.frames_per_step)
        row.speech.append((len(row.kinds), tokens, targets, pointed))
        row.add(SPEECH, [0] * len(tokens))

    def _speakers(self, rows: list[PromptRow]) -> dict[str, Tensor]:
        speaker = torch.zeros(len(rows), self.speaker_dim, dtype=torch.float32)
        has_speaker = torch.zeros(len(rows), dtype=torch.bool)
        for b, row in enumerate(rows):
            if row.speaker is None or self.speaker_dim == 0:
                continue
            if row.speaker.shape != (self.speaker_dim,):
                raise InputError(
                    f"speaker vector of shape {tuple(row.speaker.shape)}: "
                    f"this model takes ({self.speaker_dim},); use a voice of its tokenizer",
                    code="invalid_value",
                )
            speaker[b], has_speaker[b] = row.speaker, True
        return {"speaker": speaker, "has_speaker": has_speaker}

    def _heard(self, rows: list[PromptRow]) -> dict[str, Tensor]:
        """What is heard, and the letters in it; rows that hear nothing have none."""
        found = [(b, row.heard) for b, row in enumerate(rows) if row.heard is not None]
        lengths = torch.zeros(len(rows), dtype=torch.long)
        for b, each in found:
            lengths[b] = each.frames.shape[1]
        longest = int(lengths.max())
        some = found[0][1].frames
        heard = some.new_zeros(len(rows), len(some), longest)
        letters = torch.full((len(rows), longest), IGNORED)
        for b, each in found:
            heard[b, :, : lengths[b]] = each.frames
            if each.frame_characters is not None:
                letters[b, : lengths[b]] = each.frame_characters
        return {"heard": heard, "heard_lengths": lengths, "heard_letters": letters}


def padded(name: str, rows: Sequence[Sequence[int]], least: int = 0) -> dict[str, Tensor]:
    """Ids of every row as `name`s [B, U], and `name`_lengths [B], which are `least` or more."""
    lengths = torch.tensor([max(len(row), least) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = torch.tensor(list(row), dtype=torch.long)
    return {f"{name}s": ids, f"{name}_lengths": lengths}


def shift(own: Tensor) -> Tensor:
    """Each position predicts what the next one holds; the last predicts nothing. [B, L, ..]"""
    targets = torch.full_like(own, IGNORED)
    targets[:, :-1] = own[:, 1:]
    return targets
