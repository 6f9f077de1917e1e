"""What a model that listens writes, at every evaluation of its training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError
from vocalmtp.evaluation.answers import final_answer, text_scores
from vocalmtp.evaluation.intelligibility import corpus_rate, word_errors
from vocalmtp.models.prompts import AudioInput, ControlToken, Segment
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_mode import TextDecodingView
from vocalmtp.text import char_text
from vocalmtp.training.run_files import write_row
from vocalmtp.training.tasks import Mixture

ITEMS = 24  # of each: transcripts, answers
BATCH = 12
SPARE = 8  # tokens beyond twice the true text: then it has no end


class DialogueEvalCallback(TrainerCallback):
    """Has the first held-out rows written down and answered: word error rate, exact match.

    Whatever is heard is transcribed. For its answer a question's true text is given, after what is
    heard of it.
    """

    def __init__(self, log: Path, rows: Mixture, tokenizer: Any = None):
        self.log, self.tokenizer = log, tokenizer
        segments = [rows[index] for index in range(len(rows))]
        heard = [row for row in segments if any(isinstance(s, AudioInput) for s in row)]
        answered = [row for row in segments if place_of(row, "answer")]
        self.heard, self.answered = (spread(found, ITEMS) for found in (heard, answered))

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        training = model.training
        model.eval()
        row: dict[str, Any] = {"step": state.global_step}
        try:
            row |= self.examine(model)
        except InputError as error:  # jiwer is not there
            row["note"] = str(error)
        write_row(self.log, row)
        model.train(training)

    def examine(self, model: SpeechLM) -> dict[str, float]:
        """The figures of the rows that there are."""
        figures = {}
        if self.heard:
            pairs = self.write(model, self.heard, "question")
            scores = [word_errors(wanted, made) for wanted, made in pairs]
            figures["wer"] = round(corpus_rate(scores).value, 4)
        if self.answered:
            pairs = self.write(model, self.answered, "answer")
            right = [text_scores(made, [final_answer(wanted)])[0] for wanted, made in pairs]
            figures["exact_match"] = round(sum(right) / len(right), 4)
        return figures

    def write(
        self, model: SpeechLM, rows: list[list[Segment]], marker: str
    ) -> list[tuple[str, str]]:
        """What every row has after `marker`, and what the model writes there."""
        places = [place_of(row, marker) for row in rows]
        pairs = list(zip(rows, places, strict=True))
        side, sampler = TextDecodingView(model), Sampler(greedy=True)
        prompts = [
            Prompt(row[:place], sampler, max_steps=2 * len(row[place].ids) + SPARE)
            for row, place in pairs
        ]
        made = dict(collect_utterances(generate(side, prompts, BATCH), side.layout))
        return [
            (self.text(row[place].ids), self.text(made[number].codes[0].tolist()))
            for number, (row, place) in enumerate(pairs)
        ]

    def text(self, ids: Sequence[int]) -> str:
        if self.tokenizer is None:
            return char_text(ids)
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def place_of(row: list[Segment], marker: str) -> int:
    """Where the text after a marker is in `row`; 0 if there is none."""
    return next((n + 1 for n, s in enumerate(row) if s == ControlToken(marker)), 0)


def spread(rows: list[list[Segment]], most: int) -> list[list[Segment]]:
    """At most so many rows, from all over the list."""
    return rows[:: max(1, len(rows) // most)][:most]
