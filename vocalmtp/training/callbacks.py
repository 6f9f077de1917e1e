"""Callbacks of the Trainer: the log, and evaluations of what a model generates during training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from vocalmtp.audio.io import read_audio
from vocalmtp.data.manifest import read_manifest
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.interleaved import InterleavedDecoding, collect_answers
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import SAMPLE_RATE, Judges
from vocalmtp.evaluation.scoring import corpus_rate, final_answer, text_scores, word_errors
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.loading import load
from vocalmtp.models.prompts import AudioInput, ControlToken, Interleaved, Segment, Text
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_mode import TextDecodingView
from vocalmtp.recognizers.base import transcribe_file
from vocalmtp.text import char_text
from vocalmtp.training.distributed import from_first
from vocalmtp.training.export import export_model
from vocalmtp.training.recipe import FinetuneRecipe
from vocalmtp.training.run_files import (
    LOG,
    last_whole_checkpoint,
    read_log,
    saving_on_termination,
    write_row,
)
from vocalmtp.training.tasks import Mixture

EVAL_ITEMS = 24  # transcripts, and as many answers
EVAL_BATCH = 12
SPARE_TOKENS = 8  # beyond twice the length of the reference; a longer text has not ended


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

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock."""
        self.start, self.first_step = time.monotonic(), state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write a row, in the first process."""
        if not state.is_world_process_zero or logs is None:
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

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Show the progress, and end the run after `max_seconds`."""
        seconds, limit = time.monotonic() - self.start, self.max_seconds
        self.show(max(state.global_step / state.max_steps, seconds / limit if limit else 0.0))
        if limit is not None and from_first(seconds) > limit:
            control.should_training_stop = control.should_save = True
        return control


class SaveOnTermination(TrainerCallback):
    """Save a checkpoint and stop once `terminated` is true, see `saving_on_termination`."""

    def __init__(self, terminated: Callable[[], bool]):
        self.terminated = terminated

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Set what the Trainer does after this step."""
        if self.terminated():
            control.should_save = control.should_training_stop = True


def train_to_end(trainer: Trainer, checkpoints: Path) -> None:
    """Train from the last whole checkpoint of a folder on; SIGTERM saves one and ends the process."""
    checkpoint = last_whole_checkpoint(checkpoints)
    with saving_on_termination() as terminated:
        trainer.add_callback(SaveOnTermination(terminated))
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


class DialogueEvalCallback(TrainerCallback):
    """Word error rate of transcripts and exact match of answers on validation rows.

    Every audio input is transcribed. An answer is generated after the audio, if any, and the
    reference text of its question; with its speech where the two alternate.

    Args:
        log: file that gets a row per evaluation.
        rows: the validation dataset, of which up to EVAL_ITEMS rows are used.
        tokenizer: of the backbone's text; None for characters.

    """

    def __init__(self, log: Path, rows: Mixture, tokenizer: Any = None):
        self.log, self.tokenizer = log, tokenizer
        prompts = [rows[index] for index in range(len(rows))]
        with_audio = [row for row in prompts if any(isinstance(s, AudioInput) for s in row)]
        with_answer = [row for row in prompts if place_after(row, "answer")]
        self.transcripts = evenly_spaced(with_audio, EVAL_ITEMS)
        self.answers = evenly_spaced(with_answer, EVAL_ITEMS)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: SpeechLM | None = None,
        **_: Any,
    ) -> None:
        """Write a row with the figures, in the first process."""
        if not state.is_world_process_zero or model is None:
            return
        training = model.training
        model.eval()
        row: dict[str, Any] = {"step": state.global_step}
        try:
            row |= self.evaluate(model)
        except InputError as error:  # jiwer is not installed
            row["note"] = str(error)
        write_row(self.log, row)
        model.train(training)

    def evaluate(self, model: SpeechLM) -> dict[str, float]:
        """Figures of the transcripts and answers that there are."""
        figures = {}
        if self.transcripts:
            pairs = self.generate(model, self.transcripts, "question")
            errors = [word_errors(reference, text) for reference, text in pairs]
            figures["wer"] = round(corpus_rate(errors).value, 4)
        if self.answers:
            pairs = self.generate(model, self.answers, "answer")
            right = [text_scores(text, [final_answer(reference)])[0] for reference, text in pairs]
            figures["exact_match"] = round(sum(right) / len(right), 4)
        return figures

    def generate(
        self, model: SpeechLM, rows: list[Sequence[Segment]], control: str
    ) -> list[tuple[str, str]]:
        """Reference and generated text of every row after its control token `control`."""
        view, sampler = TextDecodingView(model), Sampler(greedy=True)
        # Prompts with their references: of interleaved answers, and of other texts.
        together: list[tuple[Prompt, Sequence[int]]] = []
        alone: list[tuple[Prompt, Sequence[int]]] = []
        for row in rows:
            place = place_after(row, control)
            text = row[place]
            assert isinstance(text, Text | Interleaved), "follows the control token"
            most = 2 * len(text.ids) + SPARE_TOKENS
            prompt = Prompt(list(row[:place]), sampler, max_steps=most)
            (alone if isinstance(text, Text) else together).append((prompt, text.ids))
        events = generate(view, (prompt for prompt, _ in alone), EVAL_BATCH)
        pairs = [
            (alone[n][1], made.codes[0].tolist())
            for n, made in collect_utterances(events, view.layout)
        ]
        if together:
            prompts = (prompt for prompt, _ in together)
            events = generate(model, prompts, EVAL_BATCH, InterleavedDecoding(model))
            pairs += [
                (together[n][1], made.ids) for n, made in collect_answers(events, model.layout)
            ]
        return [(self.decode(reference), self.decode(ids)) for reference, ids in pairs]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        if self.tokenizer is None:
            return char_text(ids)
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def place_after(row: Sequence[Segment], control: str) -> int:
    """Index of the segment after a control token of `row`; 0 if it is not there."""
    return next((n + 1 for n, s in enumerate(row) if s == ControlToken(control)), 0)


def evenly_spaced(rows: list[Sequence[Segment]], count: int) -> list[Sequence[Segment]]:
    """At most `count` rows, from all over the list."""
    return rows[:: max(1, len(rows) // count)][:count]


UNTRAINED = 1e9  # nats, in place of a loss: of models with equal errors, a trained one is exported


@dataclass
class EvalCallback(TrainerCallback):
    """Synthesize held-out sentences in the new voice, log their scores, export the best model.

    The scores are the word error rate and those of the speaker and MOS judges in `recipe.judges`.
    The original speech LM stays unless a trained one is below the 95 % interval of its word error rate:
    the sentences are few, and training on codes that the encoder misread makes speech less clear.

    Args:
        recipe: the fine-tuning run.
        corpus: folder of its recordings.
        tokenizer: folder of the tokenizer with the trained decoder.
        card: model card of the exported model.

    """

    recipe: FinetuneRecipe
    corpus: Path
    tokenizer: Path
    card: dict[str, Any]

    def __post_init__(self) -> None:
        self.work = self.recipe.output / "work"
        self.log = self.work / "lm" / LOG
        self.items = read_manifest(self.corpus, "valid")[: self.recipe.eval_sentences]
        self.judges = Judges(self.recipe.judges, self.recipe.device)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        model: SpeechLM | None = None,
        **_: Any,
    ) -> None:
        """Export the model if it is the best so far."""
        assert model is not None and metrics is not None, "the Trainer passes them"
        training = model.training
        model.save_pretrained(self.work / "now")
        self.export(self.work / "now", self.work / "candidate")
        row = self.evaluate(state.global_step, self.work / "candidate", self.recipe.voice)
        # The loss decides between equal word error rates alone: where the encoder misreads the voice,
        # it falls while speech becomes less clear.
        row["score"] = [row["wer"] or 0.0, metrics["eval_loss"]]
        best = min((r["score"] for r in read_log(self.log) if "score" in r), default=None)
        write_row(self.log, row)
        if best is None or row["score"] < best:
            self.export(self.work / "now", self.recipe.output)
        model.train(training)

    def export(self, model: Path, output: Path) -> None:
        """Write the model, the tokenizer and the new voice to one folder."""
        origins = {self.recipe.voice: self.recipe.origin}
        export_model(
            model, self.tokenizer, output, manifest=self.corpus, origins=origins, card=self.card
        )

    def evaluate(self, step: int, model: Path | str, voice: str) -> dict[str, Any]:
        """Synthesize the held-out sentences to samples/`step`: a log row with their scores."""
        folder = self.recipe.output / "samples" / f"{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        tts = load(model, device=self.recipe.device)
        paths = [folder / f"{index:02d}.wav" for index in range(len(self.items))]
        audios = tts.batch([item.text for item in self.items], voice=voice)
        for path, audio in zip(paths, audios, strict=True):
            audio.save(path)
        try:
            wer = self.word_error_rate(paths)
            row = {"step": step, "wer": wer.value, "wer_interval": [wer.low, wer.high]}
            return row | self.mean_scores(paths)
        except InputError as error:
            if error.code != "not_installed":  # a judge, or jiwer
                raise
            return {"step": step, "wer": None, "note": str(error)}

    def evaluate_before(self, model: Path) -> None:
        """Log step 0, and export it: the speech LM of `model` with the new voice and decoder.

        The recordings themselves are recognized as well.
        """
        self.export(model, self.recipe.output)
        row = self.evaluate(0, self.recipe.output, self.recipe.voice)
        if row["wer"] is not None:
            recordings = [item.audio for item in self.items if item.audio is not None]
            row["wer_natural"] = self.word_error_rate(recordings).value
            row["score"] = [row["wer_interval"][0], UNTRAINED]
        write_row(self.log, row)

    def word_error_rate(self, paths: list[Path]) -> Estimate:
        """Word error rate of recordings of the held-out sentences."""
        return corpus_rate(
            [
                word_errors(item.text, transcribe_file(self.judges.recognizer, path))
                for item, path in zip(self.items, paths, strict=True)
            ]
        )

    def mean_scores(self, paths: list[Path]) -> dict[str, float]:
        """Mean `similarity` to the recordings of the same sentences, and `mos`, if judged."""
        scores = []
        for item, path in zip(self.items, paths, strict=True):
            reference = None if item.audio is None else read_audio(item.audio, SAMPLE_RATE)
            scores.append(self.judges.scores(read_audio(path, SAMPLE_RATE), reference))
        names = scores[0] if scores else ()
        return {name: round(fmean(score[name] for score in scores), 4) for name in names}
