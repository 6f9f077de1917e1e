"""Adapt a model to a new voice, from recordings to a folder that speaks: `finetune(recipe)`.

prepare -> tokenize -> the tokenizer's decoder -> the speech LM -> export. Every stage keeps what it
has done in `output`/work, so that a run that was cut off goes on.
"""

import json
from pathlib import Path
from typing import Any

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.prepare import prepare
from vocalmtp.data.tokenize import tokenize_manifest
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder, tokenizer_folder
from vocalmtp.models.checkpoint import quiet
from vocalmtp.models.config import read_card
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.callbacks import EvalCallback
from vocalmtp.training.codec import train_tokenizer
from vocalmtp.training.distributed import num_processes
from vocalmtp.training.export import REFERENCES
from vocalmtp.training.recipe import DataRecipe, FinetuneRecipe, SpeechLMRecipe, TokenizerRecipe
from vocalmtp.training.run_files import read_log
from vocalmtp.training.train import train
from vocalmtp.voices import SHORTEST, make_voice


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
        recipe.data, corpus, voice=recipe.voice, valid=recipe.valid_share, workers=recipe.workers
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
