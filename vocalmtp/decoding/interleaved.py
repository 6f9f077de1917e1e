"""Decoding of answers whose text and speech alternate (models/interleaving.py), over one cache.

Every pass runs one position of every row: a token of text, which is the most probable one, or a step
of speech, which the row's sampler draws. Rows need not agree on which. The speech may not end before
the text, and ends the row.
Letters: B rows, K slots, D width, Q streams, T frames, V text vocabulary.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from vocalmtp.arrays import Array, constant, full, namespace, stack
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.generate import Generated, StepEvent, unpack
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.strategies import StepBatch
from vocalmtp.errors import InputError
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.prompts import spoken_seconds
from vocalmtp.models.state import DecodeState

if TYPE_CHECKING:
    from vocalmtp.models.base import GenerativeModel
    from vocalmtp.models.speech_lm import SpeechLM

NO_TEXT = -1  # in place of a text token, in steps of speech


@dataclass
class InterleavedDecoding:
    """A DecodeStrategy that yields a token of text or a step of speech per forward pass.

    A step has the K slots, which are padded where it is text, and the text token, else NO_TEXT.
    The limit of a row counts steps of speech; once its text is over, it is that of the text's length.

    Args:
        model: of the text; rows are decoded with the same one.
        statistics: of everything that it has decoded.

    Raises:
        InputError: the answers of the model do not alternate.

    """

    model: "SpeechLM"
    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)
    has_fixed_shape: ClassVar[bool] = False

    def __post_init__(self) -> None:
        config = self.model.config
        pattern = config.interleave_config
        if pattern is None:
            raise InputError(
                "model: writes an answer before it speaks it; train one with 'interleave'",
                code="unsupported",
            )
        self.pattern, self.end_id = pattern, config.audio_input_config.end_id
        self.frame_rate: float = config.tokenizer.get("frame_rate", 25.0)
        self.table: Any = self.model.backbone.get_input_embeddings()
        self.output: Any = self.model.backbone.get_output_embeddings()

    def begin(
        self, inputs: Array, hidden: Array, state: DecodeState, model: "GenerativeModel"
    ) -> None:
        """See DecodeStrategy."""
        state.hidden = hidden[:, -1]
        state.written = full(state.steps, state.steps.shape, 0)
        state.writing = full(state.steps, state.steps.shape, True)
        self.statistics.slots = model.layout.tokens_per_step

    def emit(self, model: "GenerativeModel", state: DecodeState) -> StepBatch:
        """See DecodeStrategy."""
        assert state.hidden is not None and state.writing is not None
        xp, layout = namespace(state.steps), model.layout
        writes = state.writing & self.pattern.writes(state.written, state.steps)  # [B]
        with self.statistics.timed("heads"):
            # takes the noise of all rows in every pass, whatever the other rows do
            sampler = ConstrainedSampler(layout, state)
            pads = constant(state.steps, [slot.pad_id for slot in layout.slots])
            tokens = pads + full(state.steps, (len(writes), 1), 0)  # [B, K]
            if not bool(writes.all()):
                spoken = model.head.propose(state.hidden, sampler)
                tokens = xp.where(writes[:, None], tokens, spoken)
            text = full(state.steps, state.steps.shape, NO_TEXT)
            if bool(writes.any()):
                text = xp.where(writes, self.output(state.hidden).argmax(-1), text)
        both = xp.concatenate([tokens, text[:, None]], 1)  # [B, K + 1]
        return StepBatch(both[:, None], state.steps - writes * 1)  # text is of the step before

    def forward(self, model: "GenerativeModel", state: DecodeState, emitted: StepBatch) -> None:
        """See DecodeStrategy."""
        where, steps = namespace(state.steps).where, state.steps
        tokens, text = emitted.tokens[:, 0, :-1], emitted.tokens[:, 0, -1]
        writes, ends = text != NO_TEXT, text == self.end_id
        with self.statistics.timed("backbone"):
            self._note_steps(model, state, tokens, ~writes)
            spoken = model.embed_step(state, tokens)
            state.steps = where(writes, steps, state.steps)
            written = self.model.with_step_size(self.table(where(writes, text, 0)))
            inputs = where(writes[:, None], written, spoken)  # [B, D]
            state.hidden = self.model.decoder.step(inputs, state.cache)
        state.written, state.writing = state.written + writes, state.writing & ~ends
        seconds: Any = spoken_seconds(state.written)
        limits = model.layout.num_steps((seconds * self.frame_rate).long())
        state.limits = where(ends & (limits < state.limits), limits, state.limits)

    def _note_steps(
        self, model: "GenerativeModel", state: DecodeState, tokens: Array, speaks: Array
    ) -> None:
        """Record the ids of the steps [B, K] of the rows that speak, for repetition penalties."""
        if state.seen is None or not (state.samplers and state.samplers.penalizes):
            return
        rows = speaks.nonzero()[:, 0]
        ids = tokens[rows, : model.head.penalized_slots]
        state.note_ids(model.layout, ids, rows, state.steps[rows])


def split_step(tokens: Array) -> tuple[int | None, Array]:
    """Split a step [K + 1] of InterleavedDecoding: its text token, if it is text, and its slots [K]."""
    text = int(tokens[-1])
    return None if text == NO_TEXT else text, tokens[:-1]


@dataclass
class InterleavedAnswer:
    """An answer as the ids of its text, with the end token if it has one, and as codes."""

    ids: list[int]
    speech: Generated


def collect_answers(
    events: Iterable[StepEvent], layout: TokenLayout
) -> Iterator[tuple[int, InterleavedAnswer]]:
    """Collect steps to answers; yield each with its prompt's number, in the order they end."""
    texts: dict[int, list[int]] = {}
    steps: dict[int, list[Array]] = {}
    for event in events:
        for row, tokens, finished in zip(event.rows, event.tokens, event.finished, strict=True):
            text, slots = split_step(tokens)
            if text is None:
                steps.setdefault(row, []).append(slots)
            else:
                texts.setdefault(row, []).append(text)
            if finished:
                yield row, InterleavedAnswer(texts.pop(row), unpack(stack(steps.pop(row)), layout))
