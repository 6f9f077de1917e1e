"""What a model that listens writes, at every evaluation of its training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.scoring import corpus_rate, final_answer, text_scores, word_errors
from vocalmtp.models.prompts import AudioInput, ControlToken, Segment
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_mode import TextDecodingView
from vocalmtp.recognizers.base import transcribe_file
from vocalmtp.text import char_text
from vocalmtp.training.distributed import from_first
from vocalmtp.training.export import export_model
from vocalmtp.training.recipe import FinetuneRecipe
from vocalmtp.training.run_files import read_log, write_row
from vocalmtp.training.tasks import Mixture
from vocalmtp.tts import load

ITEMS = 24  # of each: transcripts, answers
BATCH = 12
SPARE = 8  # tokens beyond twice the true text: then it has no end


class RunLog(TrainerCallback):
    """Write every log to a file, with an estimate of the time left; stop when time is up.

    Of several processes, the first one writes, and its clock counts for all.

    Args:
        file: the log, see `write_row`.
        max_seconds: the run stops, and saves, after this time.
        show: takes the completed share of the run.
    """

    def __init__(self, file: Path, max_seconds: float | None, show: Callable[[float], None]):
        self.file, self.max_seconds, self.show = file, max_seconds, show
        self.start = time.monotonic()
        self.first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start, self.first_step = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        seconds = time.monotonic() - self.start
        rate = (state.global_step - self.first_step) / max(seconds, 1e-9)
        left = (state.max_steps - state.global_step) / max(rate, 1e-9)
        if self.max_seconds is not None:
            left = max(0.0, min(left, self.max_seconds - seconds))
        row = {
            "step": state.global_step,
            "seconds": round(seconds, 1),
            "steps_per_s": round(rate, 3),
            "left_s": round(left),
        }
        write_row(self.file, row | {key: value for key, value in logs.items() if key != "epoch"})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        seconds, limit = time.monotonic() - self.start, self.max_seconds
        self.show(max(state.global_step / state.max_steps, seconds / limit if limit else 0.0))
        if limit is not None and from_first(seconds) > limit:
            control.should_training_stop = control.should_save = True
        return control


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


@dataclass
class EvalCallback(TrainerCallback):
    """At every evaluation: samples, their word error rate, and the best model so far exported."""

    recipe: FinetuneRecipe
    corpus: Path
    tokenizer: Path
    card: dict[str, Any]

    def __post_init__(self) -> None:
        self.work = self.recipe.output / "work"
        self.log = self.work / "lm" / "log.jsonl"
        self.items = held_out_items(self.corpus, self.recipe)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any, model: Any, **_: Any
    ) -> None:
        training = model.training
        model.save_pretrained(self.work / "now")
        self.export(self.work / "now", self.work / "heard")
        row = self.listen(state.global_step, self.work / "heard", self.recipe.voice)
        rows = read_log(self.log)
        floor = next((r["wer_natural"] for r in rows if "wer_natural" in r), 0.0)
        # Nobody is understood better than the voice itself: below that, the loss decides.
        row["score"] = [max(row["wer"] or 0.0, floor), metrics["eval_loss"]]
        best = min((r["score"] for r in rows if "score" in r), default=None)
        write_row(self.log, row)
        if not self.exported or best is None or row["score"] < best:
            self.export(self.work / "now", self.recipe.output)
        model.train(training)

    @property
    def exported(self) -> bool:
        """Whether the output speaks already."""
        return (self.recipe.output / "config.json").is_file()

    def export(self, model: Path, output: Path) -> None:
        """The model, the tokenizer and the new voice in one folder."""
        origins = {self.recipe.voice: self.recipe.origin}
        export_model(
            model, self.tokenizer, output, manifest=self.corpus, origins=origins, card=self.card
        )

    def listen(self, step: int, model: Path | str, voice: Any) -> dict[str, Any]:
        """Speak the held-out sentences into samples/`step`: a row of how they are understood."""
        folder = self.recipe.output / "samples" / f"{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        made = load(model, device=self.recipe.device).batch(
            [item.text for item in self.items], voice=voice
        )
        paths = [audio.save(folder / f"{i:02d}.wav") for i, audio in enumerate(made)]
        try:
            return {"step": step, "wer": self.heard(paths)}
        except InputError as error:  # the judge is not installed: samples are still there
            return {"step": step, "wer": None, "note": str(error)}

    def before(self, model: Path, voice: Any) -> None:
        """What the voice's vector alone makes of the sentences, and the recordings of them."""
        row = self.listen(0, model, voice)
        if row["wer"] is not None:
            row["wer_natural"] = self.heard([item.audio for item in self.items])
        write_row(self.log, row)

    def heard(self, paths: list[Path]) -> float:
        """Word error rate of recordings of the held-out sentences."""
        recognizer = Judges(self.recipe.judges).recognizer
        return corpus_rate(
            [
                word_errors(item.text, transcribe_file(recognizer, path))
                for item, path in zip(self.items, paths, strict=True)
            ]
        ).value


def held_out_items(corpus: Path, recipe: FinetuneRecipe) -> list[Utterance]:
    """The held-out sentences that are listened to."""
    return read_manifest(corpus, "valid")[: recipe.eval_sentences]
