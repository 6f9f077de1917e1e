"""Evaluation in a grid: natural speech, resynthesis and cells by the same judges; alignment; speed."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.ablation.cells import Cell
from vocalmtp.ablation.grid import Grid
from vocalmtp.ablation.train import decoding_of, tokenizer_source
from vocalmtp.bench.speed import codec_seconds, cold_start, first_audio, loop_seconds
from vocalmtp.data.manifest import Utterance
from vocalmtp.data.shards import CodeShards
from vocalmtp.engines.device import resolve_device
from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import Estimates, Evaluators, MetricSet, success
from vocalmtp.evaluation.scoring import WordErrors
from vocalmtp.evaluation.sentences import first_of_each_voice, pick_items, pick_references
from vocalmtp.evaluation.statistics import bootstrap_mean, median_range, single
from vocalmtp.evaluation.systems import (
    NATURAL,
    CodecOnly,
    SpokenItem,
    SwappedTTS,
    swapped_codec,
    synthesize,
    voices_of,
)
from vocalmtp.loading import load
from vocalmtp.models.batch import PositionKind
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.prompts import Segment
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.batches import FrameBatches
from vocalmtp.training.run_files import read_log
from vocalmtp.training.tasks import PromptDataset
from vocalmtp.tts import TTS
from vocalmtp.voices import SHORTEST

CODEC_SLOT = re.compile(r"eval_(flat|(?!.*draft\.).+\.\d+)")  # key of a codec slot's loss in a log
ALIGNED = 64  # utterances whose hidden states are compared
ALIGNED_BATCH = 8
LOOP_SECONDS = 2.4  # of audio, in a timed decode loop


class GridEvaluation:
    """The test sentences of a grid and their judges, which all systems share.

    Raises:
        InputError: the corpus is missing, or has no such sentences.
    """

    def __init__(self, grid: Grid):
        settings = grid.eval
        self.grid = grid
        self.items = pick_items(grid.corpus, settings.split, settings.voices, settings.sentences)
        self.few = first_of_each_voice(self.items, settings.few)
        self.folder = grid.output / NATURAL / grid.eval_folder
        self.judges = Judges(settings.judges, grid.device)

    @property
    def voices(self) -> set[str]:
        """The voices of the test sentences."""
        return {item.voice for item in self.items}

    @cached_property
    def evaluators(self) -> Evaluators:
        """The judges, with recordings that represent the voices."""
        references = pick_references(
            self.grid.corpus, sorted(self.voices), self.items, min_seconds=2 * SHORTEST
        )
        return Evaluators(self.judges, references, self.folder)

    @cached_property
    def natural(self) -> list[SpokenItem]:
        """The recordings of the sentences."""
        return synthesize(NATURAL, self.items, CodecOnly(), self.folder)

    @cached_property
    def natural_words(self) -> list[WordErrors]:
        """The word errors of the recordings."""
        return self.evaluators.word_scores(NATURAL, self.natural, self.folder)

    def measure(self, system: str, spoken: Sequence[SpokenItem], folder: Path) -> MetricSet:
        """The metrics of a system that spoke every sentence, by the judges that are installed."""
        found, evaluators = MetricSet(success(spoken)), self.evaluators
        chosen = {item.id for item in self.few}
        few = [item for item in spoken if item.id in chosen]

        def opinion() -> Estimates:
            scores = evaluators.opinion(system, few, folder)
            return {"mos": next(iter(scores.values()))} if scores else {}

        found.measure(
            "recognizer",
            lambda: evaluators.intelligibility(system, spoken, folder, self.natural_words),
        )
        found.measure("speaker", lambda: evaluators.similarity(system, spoken, folder))
        found.measure("mos", opinion)
        return found

    def swapped(
        self, system: str, source: TTS | CodecOnly, folder: Path, **options: Any
    ) -> Estimates:
        """Similarities of speech that is decoded with the next voice's speaker vector."""
        label = f"swapped-{system}"
        references = self.evaluators.references
        spoken = synthesize(system, self.few, source, folder, references, label, **options)
        return self.evaluators.swapped(label, spoken, folder)


# -- natural speech and tokenizers -------------------------------------------------------------


def evaluate_natural(suite: GridEvaluation) -> MetricSet:
    """Evaluate natural speech; existing results are kept."""
    found = MetricSet.load(suite.folder)
    if found is None or not found.is_complete(suite.judges):
        found = suite.measure(NATURAL, suite.natural, suite.folder)
        found.save(suite.folder)
    return found


def evaluate_tokenizer(grid: Grid, name: str, suite: GridEvaluation) -> MetricSet:
    """Evaluate the resynthesis of a tokenizer; existing results are kept."""
    folder = grid.tokenizer_folder(name) / grid.eval_folder
    found = MetricSet.load(folder)
    if found is not None and found.is_complete(suite.judges):
        return found
    tokenizer = load_tokenizer(tokenizer_source(grid, name)).to(resolve_device(grid.device))
    spoken = synthesize("resynthesis", suite.items, CodecOnly(tokenizer), folder)
    found = suite.measure("resynthesis", spoken, folder)

    def swapped() -> Estimates:
        if not tokenizer.spec.speaker_dim or len(suite.voices) < 2:
            return {}
        codec = swapped_codec(tokenizer, suite.evaluators.references)
        return suite.swapped("resynthesis", codec, folder)

    found.measure("speaker", swapped)
    found.estimates["bits_per_second"] = single(tokenizer.spec.bits_per_second)
    found.estimates["parameters"] = single(sum(p.numel() for p in tokenizer.parameters()))
    found.save(folder)
    return found


# -- cells -------------------------------------------------------------------------------------


def is_evaluated(grid: Grid, cell: Cell, suite: GridEvaluation) -> bool:
    """Whether nothing of a cell is left to do except its timing."""
    found = MetricSet.load(cell.folder / grid.eval_folder)
    return found is not None and found.is_complete(suite.judges)


def evaluate_cell(grid: Grid, cell: Cell, tts: TTS, suite: GridEvaluation) -> None:
    """Evaluate the speech of a cell, its training, and its drafts."""
    folder, sampling = cell.folder / grid.eval_folder, grid.sampling(cell)
    references = suite.evaluators.references
    spoken = synthesize("tts", suite.items, tts, folder, references, **sampling)
    found = suite.measure("tts", spoken, folder)

    def swapped() -> Estimates:
        known = voices_of(suite.few, tts, references)
        voices = {name: voice for name, voice in known.items() if voice is not None}
        if len(voices) < 2:
            return {}
        return suite.swapped("tts", SwappedTTS(tts, voices), folder, **sampling)

    found.measure("speaker", swapped)
    found.estimates |= alignment_metrics(grid, cell) | training_metrics(cell)
    found.estimates |= draft_metrics(tts, suite.few, references, sampling)
    found.save(folder)


def draft_metrics(
    tts: TTS,
    items: Sequence[Utterance],
    references: Sequence[Utterance],
    sampling: Mapping[str, Any],
) -> Estimates:
    """The gain of drafts in synthesis; empty without drafts.

    The acceptance of a draft is conditional on the acceptance of all before it.
    """
    if not tts.decoding.drafts or tts.model.draft is None:
        return {}
    fresh = tts.using(tts.decoding)
    known = voices_of(items, fresh, references)
    voices = [known[item.voice] for item in items]
    for _ in fresh.batch([item.text for item in items], voice=voices, **sampling):
        pass
    found: Any = fresh.statistics.summary()
    values: dict[str, float] = {name: found[name] for name in ("steps_per_forward", "wasted")}
    values |= {f"accepted_{n}": share for n, share in enumerate(found["acceptance"], start=1)}
    return {name: single(value) for name, value in values.items()}


def training_metrics(cell: Cell) -> Estimates:
    """Facts of the training: parameters, updates, tokens, seconds; backbone steps per second."""
    recipe = cell.recipe
    model = cell.decoding.model(SpeechLM.load(recipe.output))
    log = read_log(Path(recipe.output) / "log.jsonl")
    steps = max((row["step"] for row in log), default=0)
    shards = CodeShards(recipe.data.shards, recipe.data.split)
    frames = [count for count in shards.frames if count <= recipe.data.max_frames]
    batches = FrameBatches(frames, recipe.optim.batch_frames, steps, recipe.optim.seed)
    seen = sum(frames[index] for batch in batches for index in batch) if steps else 0
    losses = list(loss_curve(log).values())
    values = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "updates": steps,
        "tokens_seen": seen * len(shards.spec.streams),
        "training_seconds": training_seconds(log),
        "valid_loss": losses[-1] if losses else math.nan,
        "steps_per_second": shards.spec.frame_rate * model.layout.steps_per_frame,
    }
    if model.draft is not None:
        values["draft_parameters"] = sum(p.numel() for p in model.draft.parameters())
    return {name: single(float(value)) for name, value in values.items()}


def loss_curve(log: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Validation cross-entropy per codec token, in nats, by update: the mean over codec slots.

    A flat layout has one slot for codec tokens and the text track, and its loss is over both.
    """
    curve = {}
    for row in log:
        slots = [value for key, value in row.items() if CODEC_SLOT.fullmatch(key)]
        if slots:
            curve[row["step"]] = sum(slots) / len(slots)
    return curve


def training_seconds(log: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of all parts of a training: the log's clock restarts with every part."""
    total = last = 0.0
    for row in log:
        if row["seconds"] < last:
            total += last
        last = row["seconds"]
    return total + last


# -- alignment of text and speech --------------------------------------------------------------


def alignment_metrics(grid: Grid, cell: Cell) -> Estimates:
    """The similarity of hidden states of text and speech on validation utterances."""
    recipe, folder = cell.recipe, Path(cell.recipe.output)
    model = cell.decoding.model(SpeechLM.load(folder).eval().to(resolve_device(grid.device)))
    text = load_text_tokenizer(folder) if (folder / "tokenizer_config.json").is_file() else None
    shards = CodeShards(recipe.data.shards, recipe.data.valid_split or recipe.data.split)
    rows = PromptDataset(shards, model.config, recipe.data.max_frames, text)
    return text_speech_similarity(model, [rows[i] for i in range(min(ALIGNED, len(rows)))])


@torch.inference_mode()
def text_speech_similarity(model: SpeechLM, rows: Sequence[list[Segment]]) -> Estimates:
    """Mean cosine between the mean hidden states of text and speech, after STSim (2506.12537).

    Mean hidden states are similar regardless of content, so `alignment_other`, with the next
    utterance's text, is the control. A text track has no positions of its own: its text is
    represented by the mean output of the track's encoder.

    Args:
        model: the speech LM.
        rows: complete utterances, as in training.
    """
    collate = model.collator()
    texts, speeches = [], []
    for start in range(0, len(rows), ALIGNED_BATCH):
        batch = collate(rows[start : start + ALIGNED_BATCH], left=True).to(model.device)
        _, hidden, state = model.prefill(batch)  # [B, L, D]
        if state.encoded_text is not None and state.character_lengths is not None:
            place = torch.arange(state.encoded_text.shape[1], device=model.device)
            texts.append(_mean(state.encoded_text, place < state.character_lengths[:, None]))
        else:
            texts.append(_mean(hidden, batch.kinds == PositionKind.TEXT))
        speeches.append(_mean(hidden, batch.kinds == PositionKind.SPEECH))
    text, speech = torch.cat(texts), torch.cat(speeches)  # [N, D]
    own = F.cosine_similarity(text, speech, dim=-1)
    other = F.cosine_similarity(text.roll(1, 0), speech, dim=-1)
    return {
        "alignment": bootstrap_mean(own.tolist()),
        "alignment_other": bootstrap_mean(other.tolist()),
    }


def _mean(states: Tensor, chosen: Tensor) -> Tensor:
    """Mean of `states` [B, L, D] where `chosen` [B, L]: [B, D]."""
    weight = chosen[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)


# -- speed -------------------------------------------------------------------------------------


def speed_folder(grid: Grid, cell: Cell) -> Path:
    """The folder of `time_cell`'s results."""
    return cell.folder / f"speed-{grid.eval.repeats}"


def time_cell(grid: Grid, cell: Cell) -> MetricSet:
    """Time a cell's model while nothing else runs; existing results are kept.

    The real-time factor is that of a decode loop of a fixed length and of the tokenizer, so that
    models which do not end are timed like others. With drafts, a forward pass counts as many steps
    as it gave in synthesis.
    """
    folder = speed_folder(grid, cell)
    found = MetricSet.load(folder)
    if found is not None:
        return found
    torch.set_num_threads(grid.threads)
    model, repeats = cell.folder / "model", grid.eval.repeats
    tts = load(model, device=grid.device, decoding=decoding_of(cell))
    frames = round(LOOP_SECONDS * tts.tokenizer.spec.frame_rate)
    passes = math.ceil(tts.model.layout.num_steps(frames) / steps_per_pass(grid, cell))
    loops = loop_seconds({"": tts}, 1, {"": passes}, repeats)[""]
    codec = codec_seconds(tts, frames, repeats)
    found = MetricSet()
    found.estimates["rtf"] = median_range([(codec + taken) / LOOP_SECONDS for taken in loops])
    found.estimates["first_audio"] = first_audio(tts, repeats)
    try:
        seconds, memory = cold_start(model, 1, {"device": grid.device})
        found.estimates |= {"cold_start": seconds, "memory": memory}
    except InputError as error:  # a model that produces no speech: the rest is measured
        print(f"{cell.name}: {error}", flush=True)
    found.save(folder)
    return found


def steps_per_pass(grid: Grid, cell: Cell) -> float:
    """Steps that a forward pass of the cell gave in synthesis; 1 without drafts."""
    if not decoding_of(cell).drafts:
        return 1.0
    found = MetricSet.load(cell.folder / grid.eval_folder) or MetricSet()
    return found.estimates["steps_per_forward"].value
