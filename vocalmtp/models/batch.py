"""Batches: prompts padded to one length, with what every position holds and should predict.

Letters: B rows, L positions, K slots, G frames per step, U characters or tokens, D_s size of the
speaker vector, X streams of codes or numbers of a log-mel frame, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vocalmtp.arrays import Array
from vocalmtp.errors import InputError, nearest
from vocalmtp.models.interleaving import InterleaveConfig
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.prompts import (
    CONTROL_TOKENS,
    AudioInput,
    Context,
    ControlToken,
    Interleaved,
    Segment,
    Speaker,
    Speech,
    Text,
)
from vocalmtp.models.streams import ADVANCE


class PositionKind(IntEnum):
    """What the backbone's input at a position is made of."""

    PADDING = 0
    TEXT = 1  # a token of the backbone's text vocabulary
    SPEECH = 2  # a step of codec tokens
    SPEAKER = 3  # the speaker vector
    CONTROL = 4  # a control token
    AUDIO = 5  # frames of the audio input


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The tensors of some sequences, padded on the right for training and on the left for decoding.

    Targets are aligned with positions: a position's target is what the next position holds, and
    -100 where nothing is to be learned. A text LM has the first four fields alone.
    """

    kinds: Tensor  # [B, L] PositionKind
    ids: Tensor  # [B, L] text id or number of the control token, by kind; else 0
    steps: Tensor  # [B, L, K] the step at speech positions, padding ids elsewhere
    step_targets: Tensor  # [B, L, K]
    text_targets: Tensor | None = None  # [B, L]; None if no text is supervised
    added_text: Tensor | None = None  # [B, L] text id added to what is there, -1 = none; None: none
    context: Tensor | None = None  # [B, U] text ids that a trunk reads first; None: none
    context_lengths: Tensor | None = None  # [B]
    speaker: Tensor | None = None  # [B, D_s]; None for models without speaker vectors
    has_speaker: Tensor | None = None  # [B] bool
    characters: Tensor | None = None  # [B, U] text of the track, or along the steps (-1 = none)
    character_lengths: Tensor | None = None  # [B], 1 or more
    pointers: Tensor | None = None  # [B, L, G] character at every frame of a step
    given_steps: Tensor | None = None  # [B] steps at the end that decoding goes on after; None: 0
    audio: Tensor | None = None  # [B, X, T] audio input; None if no row has any
    audio_lengths: Tensor | None = None  # [B] frames, 0 for rows without audio
    audio_characters: Tensor | None = None  # [B, T] character spoken at every frame, -100 = unknown
    hidden: Tensor | None = None  # [B, L, D] states of a frozen text LM; None: not known yet

    @property
    def attention_mask(self) -> Tensor:
        """[B, L] 1 where a position is not padding."""
        return (self.kinds != PositionKind.PADDING).long()

    def context_rows(self) -> list[Tensor]:
        """The text ids [U] of every row that a trunk reads first."""
        if self.context is None or self.context_lengths is None:
            return [self.ids[0, :0] for _ in self.ids]
        lengths = self.context_lengths.tolist()
        return [row[:length] for row, length in zip(self.context, lengths, strict=True)]

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with all of its tensors on `device`."""
        tensors = ((f.name, getattr(self, f.name)) for f in fields(self))
        return replace(self, **{name: x.to(device) for name, x in tensors if x is not None})


class Collate(Protocol):
    """Turns prompts into a batch."""

    def __call__(self, prompts: Sequence[Sequence[Segment]], left: bool = False) -> Batch:
        """Pad prompts to one length, on the right or, as decoding needs, on the left."""


@dataclass
class SpeechSpan:
    """The S steps of one piece of speech, from position `start` on."""

    start: int
    tokens: Tensor  # [S, K]
    targets: Tensor  # [S, K]
    pointers: Tensor  # [S, G]


@dataclass
class PromptRow:
    """One sequence before padding; the lists have an entry for every position."""

    kinds: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)  # the position's own id where it is supervised
    added: list[int] = field(default_factory=list)  # text id that is added, or -1
    context: list[int] = field(default_factory=list)
    speech: list[SpeechSpan] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    speaker: Array | None = None
    audio: AudioInput | None = None
    given_steps: int = 0  # of the last segment, where the model is to go on after it

    def add(
        self,
        kind: PositionKind,
        ids: list[int],
        supervised: bool = False,
        added: int | None = None,
    ) -> None:
        """Append a position for every id."""
        self.kinds += [int(kind)] * len(ids)
        self.ids += ids
        self.text += ids if supervised else [IGNORED] * len(ids)
        self.added += [-1 if added is None else added] * len(ids)


class Collator:
    """Turns prompts into the batches of a speech LM.

    Args:
        layout: how codes are packed into steps.
        speaker_dim: size of speaker vectors; 0 for a model without, whose prompts then have no
            speaker position.
        audio_frames_per_position: frames of audio input in one position; 0 for a model without
            audio input.
        control_tokens: the names of the model's control tokens.
        step_text: whether every step has a token of the text.
        interleave: how text and speech of answers alternate; None: they do not.

    """

    def __init__(
        self,
        layout: TokenLayout,
        speaker_dim: int = 0,
        audio_frames_per_position: int = 0,
        control_tokens: Sequence[str] = CONTROL_TOKENS,
        step_text: bool = False,
        interleave: InterleaveConfig | None = None,
    ):
        self.layout = layout
        self.speaker_dim = speaker_dim
        self.audio_frames_per_position = audio_frames_per_position
        self.control_tokens = control_tokens
        self.has_text_track = layout.streams[0].name == ADVANCE
        self.step_text = step_text
        self.interleave = interleave

    def __call__(self, prompts: Sequence[Sequence[Segment]], left: bool = False) -> Batch:
        """Pad prompts to one length, on the right or on the left.

        Raises:
            InputError: a control token is unknown, a speaker vector has another size, or a prompt
                has audio that the model cannot take.

        """
        rows = [self._row(segments) for segments in prompts]
        batch, length = len(rows), max(len(row.kinds) for row in rows)
        slots, group = self.layout.tokens_per_step, self.layout.frames_per_step
        pads = torch.tensor([slot.pad_id for slot in self.layout.slots])
        kinds = torch.full((batch, length), int(PositionKind.PADDING))
        ids = torch.zeros_like(kinds)
        text = torch.full_like(kinds, IGNORED)
        added = torch.full_like(kinds, -1)
        steps = pads.expand(batch, length, slots).clone()
        step_targets = torch.full((batch, length, slots), IGNORED)
        pointers = torch.zeros(batch, length, group, dtype=torch.long)
        for b, row in enumerate(rows):
            start = length - len(row.kinds) if left else 0
            place = slice(start, start + len(row.kinds))
            kinds[b, place], ids[b, place] = torch.tensor(row.kinds), torch.tensor(row.ids)
            text[b, place], added[b, place] = torch.tensor(row.text), torch.tensor(row.added)
            for speech in row.speech:
                span = slice(start + speech.start, start + speech.start + len(speech.tokens))
                steps[b, span], step_targets[b, span] = speech.tokens, speech.targets
                pointers[b, span] = speech.pointers
        supervised = any(id_ != IGNORED for row in rows for id_ in row.text)
        has_text = self.has_text_track or self.step_text
        return Batch(
            kinds=kinds,
            ids=ids,
            steps=steps,
            step_targets=next_position(step_targets),
            text_targets=next_position(text) if supervised else None,
            added_text=added if bool((added >= 0).any()) else None,
            pointers=pointers if has_text else None,
            given_steps=torch.tensor([row.given_steps for row in rows]),
            **(context_fields(rows) if any(row.context for row in rows) else {}),
            **self._speakers(rows),
            **(self._characters(rows) if has_text else {}),
            **(audio_fields(rows) if any(row.audio is not None for row in rows) else {}),
        )

    def _row(self, segments: Sequence[Segment]) -> PromptRow:
        row = PromptRow()
        for segment in segments:
            match segment:
                case Context():
                    row.context += segment.ids
                case Text():
                    row.add(PositionKind.TEXT, list(segment.ids), segment.supervised)
                case ControlToken():
                    if segment.name not in self.control_tokens:
                        raise InputError(
                            f"control token '{segment.name}': no such token; "
                            f"{nearest(segment.name, self.control_tokens)}",
                            code="unknown_name",
                        )
                    number = self.control_tokens.index(segment.name)
                    row.add(PositionKind.CONTROL, [number], added=segment.added)
                case Speaker():
                    if self.speaker_dim:
                        row.speaker = segment.vector
                        row.add(PositionKind.SPEAKER, [0], added=segment.added)
                case AudioInput():
                    self._add_audio(row, segment)
                case Speech():
                    self._add_speech(row, segment)
                case Interleaved():
                    self._add_interleaved(row, segment)
        for span in row.speech:
            span.pointers %= max(1, len(row.characters))
        return row

    def _add_audio(self, row: PromptRow, segment: AudioInput) -> None:
        if not self.audio_frames_per_position:
            raise InputError(
                "audio input: this model has none; train one with 'audio_input'",
                code="unsupported",
            )
        if row.audio is not None:
            raise InputError(
                "audio input: a prompt has several pieces; join them into one",
                code="invalid_value",
            )
        row.audio = segment
        count = -(-segment.frames.shape[1] // self.audio_frames_per_position)
        row.add(PositionKind.AUDIO, [0] * count)

    def _add_speech(self, row: PromptRow, segment: Speech) -> None:
        base = len(row.characters)
        row.characters += list(segment.characters or ())
        if segment.codes is None:
            return
        if segment.goes_on:
            tokens = self.layout.pack_beginning(segment.codes)  # [S, K]
            row.given_steps = len(tokens)
        elif segment.reference:
            tokens = self.layout.pack_reference(segment.codes)
        else:
            tokens = self.layout.pack(segment.codes[None]).tokens[0]
        targets = torch.full_like(tokens, IGNORED)
        if segment.supervised and self.layout.has_text_steps and segment.characters:
            raise InputError(
                "end_slots 'text': speech with text in it cannot be trained on; train another model",
                code="unsupported",
            )
        if segment.supervised:
            targets = self.layout.targets(tokens)
            targets[: self.layout.num_steps(segment.given)] = IGNORED
        pointers = tokens.new_zeros(len(tokens), self.layout.frames_per_step)
        last = max(len(row.characters) - 1, 0)
        if self.has_text_track:
            moves = self.layout.advances(tokens[None])[0]  # [S, G]
            pointers = (base + moves.flatten().cumsum(0)).clamp(max=last).view_as(moves)
        elif self.step_text and segment.reference:
            pointers[:] = -1  # what all steps have after the text
        elif self.step_text:
            pointers[:] = (base + torch.arange(len(tokens))).clamp(max=last)[:, None]
        row.speech.append(SpeechSpan(len(row.kinds), tokens, targets, pointers))
        row.add(PositionKind.SPEECH, [0] * len(tokens))

    def _add_interleaved(self, row: PromptRow, segment: Interleaved) -> None:
        if self.interleave is None:
            raise InputError(
                "interleaved answer: the text and speech of this model do not alternate; train one "
                "with 'interleave'",
                code="unsupported",
            )
        ids = list(segment.ids)
        tokens = self.layout.pack(segment.codes[None]).tokens[0]  # [S, K]
        targets = self.layout.targets(tokens)
        pointers = tokens.new_zeros(len(tokens), self.layout.frames_per_step)
        for text, steps in self.interleave.chunks(len(ids), len(tokens)):
            row.add(PositionKind.TEXT, ids[text], supervised=True)
            start = len(row.kinds)
            span = SpeechSpan(start, tokens[steps], targets[steps], pointers[steps])
            row.speech.append(span)
            row.add(PositionKind.SPEECH, [0] * len(span.tokens))

    def _speakers(self, rows: list[PromptRow]) -> dict[str, Tensor]:
        if not self.speaker_dim:
            return {}
        speaker = torch.zeros(len(rows), self.speaker_dim, dtype=torch.float32)
        has_speaker = torch.zeros(len(rows), dtype=torch.bool)
        for b, row in enumerate(rows):
            if row.speaker is None:
                continue
            if row.speaker.shape != (self.speaker_dim,):
                raise InputError(
                    f"speaker vector of shape {tuple(row.speaker.shape)}: this model takes "
                    f"({self.speaker_dim},); use a voice of its tokenizer",
                    code="mismatch",
                    key="speaker vector",
                )
            speaker[b], has_speaker[b] = torch.as_tensor(row.speaker), True
        return {"speaker": speaker, "has_speaker": has_speaker}

    @staticmethod
    def _characters(rows: list[PromptRow]) -> dict[str, Tensor]:
        texts = [torch.tensor(row.characters or [0]) for row in rows]
        return {
            "characters": pad_sequence(texts, batch_first=True),
            "character_lengths": torch.tensor([len(text) for text in texts]),
        }


def context_fields(rows: list[PromptRow]) -> dict[str, Tensor]:
    """What a trunk reads before the text of all rows, as fields of a batch."""
    ids = [torch.tensor(row.context, dtype=torch.long) for row in rows]
    lengths = torch.tensor([len(one) for one in ids])
    return {"context": pad_sequence(ids, batch_first=True), "context_lengths": lengths}


def audio_fields(rows: list[PromptRow]) -> dict[str, Tensor]:
    """The audio input of all rows, of which one has some at least, as fields of a batch."""
    found = [(b, row.audio) for b, row in enumerate(rows) if row.audio is not None]
    lengths = torch.zeros(len(rows), dtype=torch.long)
    for b, audio in found:
        lengths[b] = audio.frames.shape[1]
    longest, like = int(lengths.max()), found[0][1].frames
    frames = like.new_zeros(len(rows), len(like), longest)
    characters = torch.full((len(rows), longest), IGNORED)
    for b, audio in found:
        frames[b, :, : lengths[b]] = audio.frames
        if audio.frame_characters is not None:
            characters[b, : lengths[b]] = audio.frame_characters
    return {"audio": frames, "audio_lengths": lengths, "audio_characters": characters}


def next_position(own: Tensor) -> Tensor:
    """Targets of positions [B, L, ..]: what the next position holds; -100 for the last one."""
    targets = torch.full_like(own, IGNORED)
    targets[:, :-1] = own[:, 1:]
    return targets
