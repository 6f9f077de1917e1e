"""Prompts: lists of typed segments, which batch.py turns into positions of the backbone.

Letters: Q streams of the layout, T frames, U characters, D_s size of the speaker vector, C numbers
of a log-mel frame.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vocalmtp.arrays import Array, namespace
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

TextMode = Literal["prompt", "track", "both"]
# Every control token has a learned embedding; the order is part of saved models. A model without
# audio input has the first one alone.
CONTROL_TOKENS = ("speech", "question", "answer")


# Places in a template: of the text, of the speaker vector, and where text begins that is learned.
TEXT, SPEAKER, LEARNED = "{text}", "{speaker}", "{learned}"


@dataclass(frozen=True)
class Text:
    """Token ids of the backbone's own vocabulary; `supervised` ones are training targets."""

    ids: Sequence[int]
    supervised: bool = False


@dataclass(frozen=True, eq=False)
class States:
    """Hidden states [n, D] of all tokens of a prompt, where they are known before training."""

    hidden: "Tensor"


@dataclass(frozen=True)
class Context:
    """Token ids that a trunk reads before the text; they have no positions in the backbone."""

    ids: Sequence[int]


@dataclass(frozen=True)
class Speech:
    """Codec codes, by default training targets.

    Attributes:
        codes: [Q, T], with the advances as stream 0 where the layout has a text track; None for
            speech that is still to be generated.
        characters: ids [U] of the spoken text, for a text track; for a model with text along its
            steps, the text ids of steps 0 to U - 1, of which the last is that of all later steps. -1 is
            none, which the last one is in a layout with steps of text: the other ids have such steps.
        goes_on: whether the model is to go on after the codes, which then have no end.
        reference: whether the codes are an example of the voice, and not what it says now.
        penalized: whether repetition penalties count the codes.
        given: frames at the beginning that are no training targets.

    """

    codes: "Tensor | None"
    characters: Sequence[int] | None = None
    supervised: bool = True
    goes_on: bool = False
    reference: bool = False
    penalized: bool = True
    given: int = 0


@dataclass(frozen=True)
class Speaker:
    """A speaker vector [D_s]; None leaves the voice to the model.

    The embedding of the text id `added` is added to it.
    """

    vector: Array | None
    added: int | None = None


@dataclass(frozen=True)
class ControlToken:
    """One of a model's control tokens, such as CONTROL_TOKENS, which announce the next segment.

    The embedding of the text id `added` is added to it.
    """

    name: str
    added: int | None = None


@dataclass(frozen=True)
class AudioInput:
    """Speech of the user.

    Attributes:
        frames: codes [Q, T] of the tokenizer's streams, or log-mels [C, T].
        frame_characters: ids [T] of the characters that are spoken at the frames, for training;
            None where they are not known.

    """

    frames: "Tensor"
    frame_characters: "Tensor | None" = None


@dataclass(frozen=True)
class Interleaved:
    """An answer whose text and speech alternate (interleaving.py), all of it training targets.

    Attributes:
        ids: of the text, with the end token.
        codes: [Q, T] of the speech.

    """

    ids: Sequence[int]
    codes: "Tensor"


Segment = Context | Text | States | Speech | Speaker | ControlToken | AudioInput | Interleaved


def check_template(template: str, mode: TextMode) -> None:
    """Check the template of a prompt's text.

    Args:
        template: of which `{text}` is replaced by the text, `{speaker}`, if it is there, by the speaker
            vector, and `{learned}`, if it is there, by nothing: what follows is a training target, as
            the reply that announces the speech is in the release of arXiv 2506.12537. Empty: none.
        mode: where the text is.

    Raises:
        InputError: it has one of these twice, no `{text}`, or no use.

    """
    if not template:
        return
    wrong = [name for name in (SPEAKER, LEARNED) if template.count(name) > 1]
    if template.count(TEXT) != 1 or wrong:
        raise InputError(
            f"template '{template}': must have {TEXT} once, and {SPEAKER} and {LEARNED} once at most",
            code="invalid_value",
        )
    if mode == "track":
        raise InputError(
            "template: frames the text of prompts; give text: prompt or both, or leave it out",
            code="conflict",
        )


def opening(
    template: str,
    text: str,
    encode: Callable[[str], Sequence[int]],
    speaker: Array | None = None,
) -> list[Segment]:
    """What precedes the speech: the text and the speaker vector, in their template.

    Args:
        template: see `check_template`; empty: there is none, and nothing is returned.
        text: to be spoken.
        encode: text to ids of the backbone's vocabulary.
        speaker: speaker vector [D_s].

    """
    segments: list[Segment] = []
    learned = False
    for piece in re.split(f"({re.escape(SPEAKER)}|{re.escape(LEARNED)})", template):
        if piece == SPEAKER:
            segments.append(Speaker(speaker))
        elif piece == LEARNED:
            learned = True
        elif piece:
            segments.append(Text(encode(piece.replace(TEXT, text)), supervised=learned))
    return segments


def tts_prompt(
    mode: TextMode,
    *,
    text_ids: Sequence[int] = (),
    before: Sequence[Segment] = (),
    characters: Sequence[int] = (),
    speaker: Array | None = None,
    codes: "Tensor | None" = None,
    advances: "Tensor | None" = None,
    context: Sequence[Segment] = (),
) -> list[Segment]:
    """Text to speech: text (unless on the track), speaker, context, "speech", speech.

    Args:
        mode: where the text is: before the speech, on the text track along it, or both.
        text_ids: the text for the modes "prompt" and "both".
        before: text and speaker in a template (`opening`), in place of `text_ids` and `speaker`.
        characters: the text for the modes "track" and "both".
        speaker: speaker vector [D_s].
        codes: the speech [Q, T], in training.
        advances: characters that the pointer into the text moves at every frame [T], with `codes`.
        context: a dialogue turn whose answer is spoken. It ends with the text, which then has no
            segment of its own.

    """
    tracked = mode != "prompt"
    if codes is not None and tracked:
        if advances is None:
            raise ValueError("codes of a model with a text track need advances")
        codes = namespace(codes).concatenate([advances[None], codes])
    segments: list[Segment] = [] if mode == "track" or context else [Text(text_ids)]
    segments += [Speaker(speaker), *context]
    if before and not context:
        segments = [*before]
    segments.append(ControlToken("speech"))
    segments.append(Speech(codes, characters if tracked else None))
    return segments


def longest_speech(segments: Sequence[Segment], tracked: bool) -> float:
    """Return the seconds after which speech is cut off: 2, and 0.25 per character or text token.

    Args:
        segments: of the prompt.
        tracked: whether the text is on a text track.

    """
    if tracked:
        units = sum(len(s.characters or ()) for s in segments if isinstance(s, Speech))
    else:
        units = sum(len(s.ids) for s in segments if isinstance(s, Text))
    return spoken_seconds(units)


def steps_of_text(segments: Sequence[Segment]) -> int:
    """Count the steps that have text alone, in a layout with such steps."""
    along = [s.characters or () for s in segments if isinstance(s, Speech)]
    return sum(id_ >= 0 for ids in along for id_ in ids)


def spoken_seconds(units: int) -> float:
    """Return the seconds after which the speech of so many characters or tokens is cut off."""
    return 2 + 0.25 * units


def dialogue_turn(
    *,
    audio: AudioInput | None = None,
    question: Sequence[int] | None = None,
    answer: Sequence[int] | None = None,
) -> list[Segment]:
    """A dialogue turn as far as it is known: audio, "question", question, "answer", answer.

    Args:
        audio: the spoken question. If there is one, the question is its transcript, which is a
            training target; a written question is not.
        question: text ids, with the end token.
        answer: text ids, with the end token; a training target.

    """
    segments: list[Segment] = [] if audio is None else [audio]
    segments.append(ControlToken("question"))
    if question is not None:
        segments.append(Text(question, supervised=audio is not None))
    if answer is not None:
        segments += [ControlToken("answer"), Text(answer, supervised=True)]
    return segments


def interleaved_answer(
    question: Sequence[Segment], answer: Sequence[int], codes: "Tensor", speaker: Array | None
) -> list[Segment]:
    """An answer in training whose text and speech alternate: speaker, question, "answer", both.

    Args:
        question: the turn before the answer, see `dialogue_turn`.
        answer: text ids, with the end token.
        codes: its speech [Q, T].
        speaker: speaker vector [D_s].

    """
    return [Speaker(speaker), *question, ControlToken("answer"), Interleaved(answer, codes)]
