"""Adapt a model to a new voice, from recordings to a folder that speaks: `finetune(recipe)`.

prepare -> tokenize -> the tokenizer's decoder -> the speech LM -> export. Every stage keeps what it
has done in `output`/work, so that a run that was cut off goes on.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from transformers import TrainerCallback

from vocalmtp.config import StrictModel
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.prepare import prepare
from vocalmtp.data.tokenize import tokenize_manifest
from vocalmtp.errors import InputError
from vocalmtp.evaluation.intelligibility import corpus_rate, recognise, word_errors
from vocalmtp.hub import DEFAULT_MODEL, model_folder, tokenizer_folder
from vocalmtp.models.checkpoint import quiet
from vocalmtp.models.config import read_card
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.codec import TokenizerRecipe, train_tokenizer
from vocalmtp.training.distributed import num_processes
from vocalmtp.training.export import REFERENCES, export_model
from vocalmtp.training.recipe import OptimRecipe, SpeechLMRecipe
from vocalmtp.training.run_files import read_log, write_row
from vocalmtp.training.tasks import DataRecipe
from vocalmtp.training.train import train
from vocalmtp.tts import load
from vocalmtp.voices import SHORTEST, make_voice


class DecoderRecipe(StrictModel):
    """How long the tokenizer's decoder hears the new voice; 0 leaves it as it is."""

    max_minutes: float = Field(default=10.0, ge=0)
    learning_rate: float = Field(default=3e-4, gt=0)
    warmup_steps: int = Field(default=20, ge=1)
    batch_size: int = Field(default=10, ge=1)
    discriminators_from: float = 0.2
    average: float = Field(default=0.98, ge=0, lt=1)  # short: the start is soon forgotten
    threads: int = Field(default=1, ge=1)


class FinetuneRecipe(StrictModel):
    """A whole run. The model is written to `output`, everything else to `output`/work."""

    recipe: Literal["finetune"] = "finetune"
    data: Path  # recordings with transcripts, or a corpus that `vocalmtp prepare` made
    output: Path
    voice: str = Field(pattern=r"^[\w-]+$")
    origin: str = "made from recordings"
    model: str = DEFAULT_MODEL  # the model to adapt
    valid: float = Field(default=0.1, gt=0, le=0.5)  # share of the recordings that is held out
    workers: int = Field(default=1, ge=1)
    max_frames: int = Field(default=750, ge=1)
    device: str = "auto"  # the accelerator if there is one, else the CPU
    decoder: DecoderRecipe = DecoderRecipe()
    optim: OptimRecipe = OptimRecipe(
        max_steps=300,
        batch_frames=800,
        learning_rate=1e-4,
        warmup_steps=20,
        log_every=10,
        eval_every=50,
        save_every=50,
    )
    sentences: int = Field(default=16, ge=1)  # held-out ones that are spoken at every evaluation


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
        return corpus_rate(
            [word_errors(i.text, recognise(p)) for i, p in zip(self.items, paths, strict=True)]
        ).value


def finetune(recipe: FinetuneRecipe) -> Path:
    """Run `recipe`, or go on with it; returns the model's folder.

    Raises InputError if no recording can be used, or if it is started under torchrun.
    """
    if num_processes() > 1:
        raise InputError(
            "recipe finetune: runs in one process; start it without torchrun", code="conflict"
        )
    folder, work = model_folder(recipe.model), recipe.output / "work"
    (work / "lm").mkdir(parents=True, exist_ok=True)
    corpus = prepare_corpus(recipe)
    rows = read_manifest(corpus, "train")
    minutes = sum(row.seconds for row in rows) / 60
    say(2, f"tokenize: {len(rows)} recordings to train on, {minutes:.1f} minutes")
    original = tokenizer_folder(folder)
    tokenize_manifest(corpus, work / "codes", load_tokenizer(original))
    tokenizer = train_decoder(recipe, corpus, original)
    listener = EvalCallback(
        recipe, corpus, tokenizer, make_card(recipe, read_card(folder), minutes)
    )
    say(4, f"speech LM: {recipe.optim.max_steps} steps; left_s are the seconds left")
    with quiet():
        if not any(row.get("step") == 0 for row in read_log(listener.log)):
            references = [row.audio for row in rows if row.seconds > 2 * SHORTEST][:REFERENCES]
            voice = make_voice(references, load_tokenizer(original), recipe.voice)
            listener.before(folder, voice)
        train_lm(recipe, folder, listener)
    say(5, f"done: losses.png, samples/ and the model are in {recipe.output}")
    plot_losses(read_log(listener.log), recipe.output / "losses.png")
    return recipe.output


def train_lm(recipe: FinetuneRecipe, folder: Path, listener: EvalCallback) -> None:
    """Train the speech LM of the model in `folder`; what is best is exported on the way."""
    work = recipe.output / "work"
    trained = train(
        SpeechLMRecipe(
            data=DataRecipe(shards=str(work / "codes"), max_frames=recipe.max_frames),
            init=str(folder),
            optim=recipe.optim,
            device=recipe.device,
            output=str(work / "lm"),
        ),
        [listener],
    )
    if not listener.exported:  # the run ended before its first evaluation
        listener.export(trained, recipe.output)


def say(stage: int, what: str) -> None:
    """Tell which of the five stages begins."""
    print(f"[{stage}/5] {what}", flush=True)


def prepare_corpus(recipe: FinetuneRecipe) -> Path:
    """The corpus folder: the one given, or the recordings prepared."""
    if (recipe.data / "manifest.jsonl").is_file():
        say(1, f"prepare: {recipe.data} is a corpus already")
        return recipe.data
    say(1, f"prepare: check and align the recordings in {recipe.data}")
    corpus = recipe.output / "work" / "corpus"
    report = prepare(
        recipe.data, corpus, voice=recipe.voice, valid=recipe.valid, workers=recipe.workers
    )
    print("\n".join(report.lines()), flush=True)
    return corpus


def train_decoder(recipe: FinetuneRecipe, corpus: Path, tokenizer: Path) -> Path:
    """The tokenizer with a decoder that has heard the new voice; its codes stay the same."""
    settings, work = recipe.decoder, recipe.output / "work"
    if not settings.max_minutes:
        say(3, "tokenizer: its decoder stays as it is")
        return tokenizer
    say(3, f"tokenizer: its decoder hears the new voice for {settings.max_minutes:g} minutes")
    label_with_letters(read_manifest(corpus, "train"), work / "labelled")
    train_tokenizer(
        TokenizerRecipe(
            corpus=work / "labelled",
            output=work / "tokenizer",
            init=tokenizer,
            train_only="decoder",
            device=recipe.device,
            **settings.model_dump(),
        )
    )
    return work / "tokenizer"


def label_with_letters(rows: list[Utterance], folder: Path) -> None:
    """Write a manifest in which letters stand for the phones that recordings do not have.

    The tokenizer's training wants labels for a probe; where only the decoder learns, nothing
    depends on them.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "manifest.jsonl").open("w") as file:
        for row in rows:
            phones = row.phones or list(zip(row.text, row.chars, strict=True))
            data = {"id": row.id, "audio": str(row.audio.resolve()), "text": row.text}
            data |= {"voice": row.voice, "seconds": row.seconds, "phones": phones}
            file.write(json.dumps(data) + "\n")


def make_card(recipe: FinetuneRecipe, base: dict[str, Any], minutes: float) -> dict[str, Any]:
    """What users should know; how to sample is as in the model that was adapted."""
    card = {key: base[key] for key in ("sampling", "int8") if key in base}
    before = base.get("data", "see its card")
    return card | {
        "licence": f"that of '{recipe.model}' ({base.get('licence', 'unknown')}) and of the data",
        "default_voice": recipe.voice,
        "data": f"{recipe.model}: {before}; then {minutes:.1f} min of '{recipe.voice}'",
        "trained_by": "recipes/finetune",
    }


def held_out_items(corpus: Path, recipe: FinetuneRecipe) -> list[Utterance]:
    """The held-out sentences that are listened to."""
    return read_manifest(corpus, "valid")[: recipe.sentences]


def plot_losses(rows: list[dict[str, Any]], path: Path) -> None:
    """Losses and word error rates over steps, drawn to `path` if matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        print("losses.png: not drawn; run: pip install matplotlib", flush=True)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4))
    for key, label in (("loss", "training loss"), ("eval_loss", "validation loss")):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            axis.plot(*zip(*points, strict=True), marker=".", label=label)
    points = [(row["step"], 100 * row["wer"]) for row in rows if row.get("wer") is not None]
    if points:
        other = axis.twinx()
        other.plot(*zip(*points, strict=True), marker="x", color="grey", linestyle="--")
        other.set_ylabel("word error rate, % (grey)")
        other.set_ylim(bottom=0)
    axis.set_xlabel("steps")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
