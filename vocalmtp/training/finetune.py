"""Adapt a model to a new voice, from recordings to a model folder: `finetune(recipe)`.

prepare -> tokenize -> train the tokenizer's decoder -> train the speech LM -> export. Every stage
keeps its results in `output`/work, so that an interrupted run resumes.
"""

import json
from pathlib import Path
from typing import Any

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.prepare import prepare
from vocalmtp.data.tokenize import tokenize_manifest
from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import Judges
from vocalmtp.hub import model_folder, tokenizer_folder
from vocalmtp.io.progress import quiet
from vocalmtp.model_card import read_card
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.callbacks import EvalCallback
from vocalmtp.training.codec import train_tokenizer
from vocalmtp.training.distributed import num_processes, select_device
from vocalmtp.training.recipe import DataRecipe, FinetuneRecipe, SpeechLMRecipe, TokenizerRecipe
from vocalmtp.training.run_files import read_log
from vocalmtp.training.train import train

MOST_ADDED_ERRORS = 0.1  # of the word error rate over that of the recordings, without a warning


def finetune(recipe: FinetuneRecipe) -> Path:
    """Run `recipe`, or resume it.

    Returns:
        The folder of the adapted model.

    Raises:
        InputError: no recording is usable, a judge is unknown, or several processes were started
            by torchrun.

    """
    if num_processes() > 1:
        raise InputError(
            "recipe finetune: runs in one process; start it without torchrun", code="unsupported"
        )
    Judges(recipe.judges)  # an unknown name is reported before the training
    device = select_device(recipe.device)
    folder, work = model_folder(recipe.model), recipe.output / "work"
    (work / "lm").mkdir(parents=True, exist_ok=True)
    corpus = prepare_corpus(recipe)
    rows = read_manifest(corpus, "train")
    minutes = sum(row.seconds for row in rows) / 60
    report(2, f"tokenize: {len(rows)} recordings to train on, {minutes:.1f} minutes")
    original = tokenizer_folder(folder)
    tokenize_manifest(corpus, work / "codes", load_tokenizer(original).to(device))
    tokenizer = train_decoder(recipe, corpus, original)
    card = make_card(recipe, read_card(folder), minutes)
    evaluation = EvalCallback(recipe, corpus, tokenizer, card)
    report(4, f"speech LM: {recipe.optim.max_steps} steps; left_s is the time left in seconds")
    with quiet():
        if not any(row.get("step") == 0 for row in read_log(evaluation.log)):
            evaluation.evaluate_before(folder)
        train_speech_lm(recipe, folder, evaluation)
    report(5, f"done: losses.png, samples/ and the model are in {recipe.output}")
    logged = read_log(evaluation.log)
    if warning := intelligibility_warning(logged):
        print(warning, flush=True)
    plot_losses(logged, recipe.output / "losses.png")
    return recipe.output


def intelligibility_warning(rows: list[dict[str, Any]]) -> str | None:
    """Return a warning if the exported model is much harder to understand than the recordings.

    Args:
        rows: of the log; the exported model is that with the lowest `score`.

    """
    natural = next((row["wer_natural"] for row in rows if "wer_natural" in row), None)
    best = min((row for row in rows if "score" in row), key=lambda row: row["score"], default=None)
    if natural is None or best is None or best["wer"] is None:
        return None
    if best["wer"] <= natural + MOST_ADDED_ERRORS:
        return None
    return (
        f"warning: {best['wer']:.0%} of the words of the new model are not recognized, of the "
        f"recordings {natural:.0%}; a voice made of one recording (vocalmtp voices make) is clearer"
    )


def report(stage: int, text: str) -> None:
    """Print that one of the five stages begins."""
    print(f"[{stage}/5] {text}", flush=True)


def prepare_corpus(recipe: FinetuneRecipe) -> Path:
    """Prepare the recordings, unless they are a corpus already; returns the corpus folder."""
    if (recipe.data / "manifest.jsonl").is_file():
        report(1, f"prepare: {recipe.data} is a corpus already")
        return recipe.data
    report(1, f"prepare: check and align the recordings in {recipe.data}")
    corpus = recipe.output / "work" / "corpus"
    found = prepare(
        recipe.data, corpus, voice=recipe.voice, valid=recipe.valid_share, workers=recipe.workers
    )
    print("\n".join(found.lines()), flush=True)
    return corpus


def train_decoder(recipe: FinetuneRecipe, corpus: Path, tokenizer: Path) -> Path:
    """Train the tokenizer's decoder on the new voice; the codes do not change.

    Returns:
        The folder of the tokenizer, `tokenizer` itself if there is nothing to train.

    """
    settings, work = recipe.decoder, recipe.output / "work"
    if not settings.max_minutes:
        report(3, "tokenizer: the decoder is not trained")
        return tokenizer
    report(3, f"tokenizer: train the decoder for {settings.max_minutes:g} minutes")
    write_labelled_manifest(read_manifest(corpus, "train"), work / "labelled")
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


def write_labelled_manifest(rows: list[Utterance], folder: Path) -> None:
    """Write a manifest in which characters replace phones where there are none.

    The tokenizer's training needs labels for its phone probe; the decoder does not depend on them.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            phones = row.phones or list(zip(row.text, row.chars, strict=True))
            data: dict[str, Any] = {
                "id": row.id,
                "audio": str(row.audio.resolve()),
                "text": row.text,
            }
            data |= {"voice": row.voice, "seconds": row.seconds, "phones": phones}
            file.write(json.dumps(data) + "\n")


def train_speech_lm(recipe: FinetuneRecipe, folder: Path, evaluation: EvalCallback) -> None:
    """Train the speech LM of the model in `folder`; `evaluation` exports the best one.

    It is trained without the voice's vector if its card recommends that it speaks without.
    """
    work = recipe.output / "work"
    given = evaluation.card.get("speaker_conditioning", "both") in ("both", "lm")
    train(
        SpeechLMRecipe(
            data=DataRecipe(shards=str(work / "codes"), max_frames=recipe.max_frames),
            init=str(folder),
            speaker_dropout=None if given else 1.0,
            optim=recipe.optim,
            device=recipe.device,
            output=str(work / "lm"),
        ),
        [evaluation],
    )


def make_card(recipe: FinetuneRecipe, base: dict[str, Any], minutes: float) -> dict[str, Any]:
    """Model card of the adapted model, with the recommended settings of the original one."""
    kept = ("sampling", "int8", "speaker_conditioning")
    card = {key: base[key] for key in kept if key in base}
    before = base.get("data", "see its card")
    return card | {
        "licence": f"that of '{recipe.model}' ({base.get('licence', 'unknown')}) and of the data",
        "default_voice": recipe.voice,
        "data": f"{recipe.model}: {before}; then {minutes:.1f} min of '{recipe.voice}'",
        "trained_by": "recipes/finetune",
    }


def plot_losses(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot losses and word error rates over steps, if matplotlib is installed."""
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
