"""Training in a grid: tokenizers, the corpus as their codes, the speech LMs of the cells.

Every part is done once: a completed one is kept, an interrupted one continues.
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from vocalmtp.ablation.cells import DISTILLED, Cell
from vocalmtp.ablation.grid import Grid
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.tokenize import tokenize_rows
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.tree import DraftTree, choose_paths
from vocalmtp.decoding.tree_calibration import measure_ranks
from vocalmtp.engines.device import resolve_device
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.run_folder import write_settings
from vocalmtp.loading import load
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.codec import train_tokenizer
from vocalmtp.training.distill import SpeechDistillJob, distill_speech
from vocalmtp.training.export import export_model
from vocalmtp.training.train import train
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import SHORTEST, load_voices

CODES_COMPLETE = "codes.txt"  # file beside the codes: how many utterances, once all are there
TRAINED = "trained"  # file of a cell whose training is complete
RECIPE = "recipe.yaml"  # file of a cell: what `vocalmtp train` takes
TREE = "tree.json"  # file of a cell
DISTILLATION = Sampler(temperature=0.6, top_k=20, top_p=0.95)  # FastMTP (2509.18362), section 3.3
BATCH = 8
TREE_SENTENCES, TREE_RANKS = 24, 8  # that a tree is chosen on, and candidates of a step


# -- tokenizers --------------------------------------------------------------------------------


def tokenizer_settings(grid: Grid, name: str) -> dict[str, Any]:
    """Everything that a tokenizer and its codes depend on."""
    choice = grid.tokenizers[name]
    recipe = None
    if choice.train is not None:
        recipe = grid.tokenizer_recipe(name).model_dump(mode="json", exclude={"device"})
    return {
        "use": choice.use,
        "recipe": recipe,
        "corpus": str(grid.corpus),
        "voices": list(grid.voices),
        "utterances": grid.utterances.model_dump(mode="json"),
    }


def prepare_tokenizer(grid: Grid, name: str) -> None:
    """Train a tokenizer if the grid trains it, and write the corpus as its codes."""
    write_settings(grid.tokenizer_folder(name), tokenizer_settings(grid, name))
    train_grid_tokenizer(grid, name)
    write_codes(grid, name)


def train_grid_tokenizer(grid: Grid, name: str) -> None:
    """Train a tokenizer if the grid trains it; under torchrun in all processes."""
    if grid.tokenizers[name].train is None or codes_complete(grid, name):
        return
    recipe = grid.tokenizer_recipe(name)
    if not (recipe.output / "done").is_file():
        train_tokenizer(recipe)
        (recipe.output / "done").touch()
        shutil.rmtree(recipe.output / "checkpoints", ignore_errors=True)


def tokenizer_source(grid: Grid, name: str) -> str:
    """The argument of `load_tokenizer` for a tokenizer of the grid."""
    choice = grid.tokenizers[name]
    return str(grid.tokenizer_recipe(name).output) if choice.use is None else choice.use


def codes_complete(grid: Grid, name: str) -> bool:
    """Whether the corpus has been tokenized."""
    return (grid.tokenizer_folder(name) / CODES_COMPLETE).is_file()


def write_codes(grid: Grid, name: str) -> None:
    """Tokenize the utterances of the grid."""
    if codes_complete(grid, name):
        return
    tokenizer = load_tokenizer(tokenizer_source(grid, name)).to(resolve_device(grid.device))
    count = tokenize_rows(corpus_rows(grid), grid.codes(name), tokenizer)
    (grid.tokenizer_folder(name) / CODES_COMPLETE).write_text(f"{count}\n")


def corpus_rows(grid: Grid) -> list[Utterance]:
    """The training and validation utterances, the same for every tokenizer.

    Raises:
        InputError: the corpus is missing, or has none of a split.
    """
    rows = []
    for split, most in grid.utterances.model_dump().items():
        rows += read_manifest(grid.corpus, split, grid.voices)[:most]
    return rows


# -- cells -------------------------------------------------------------------------------------


def cell_settings(cell: Cell) -> dict[str, Any]:
    """Everything that a cell depends on, except its tokenizer."""
    recipe = cell.recipe.model_dump(mode="json", exclude={"device"})
    settings = {"recipe": recipe, "decoding": asdict(cell.decoding)}
    optional = {"distilled": cell.distilled, "tree": cell.tree, "sampling": cell.sampling}
    return settings | {name: value for name, value in optional.items() if value}


def begin_cell(cell: Cell) -> None:
    """Create the folder of a cell, with its settings and its recipe."""
    write_settings(cell.folder, cell_settings(cell))
    recipe = cell.recipe.model_dump(mode="json", exclude_defaults=True)
    with atomic_path(cell.folder / RECIPE) as partial:
        partial.write_text(yaml.safe_dump({"recipe": "speech_lm", **recipe}, sort_keys=False))


def is_trained(cell: Cell) -> bool:
    """Whether the training of the cell's model is complete."""
    return (Path(cell.recipe.output).parent / TRAINED).is_file()


def train_cell(grid: Grid, cell: Cell) -> None:
    """Train a cell from its last checkpoint; its checkpoints are removed at the end."""
    if not cell.trains:
        return
    if not is_trained(cell):
        if cell.distilled:
            write_distilled(grid, cell)
        train(cell.recipe)
        (cell.folder / TRAINED).touch()
    shutil.rmtree(Path(cell.recipe.output) / "checkpoints", ignore_errors=True)


def write_distilled(grid: Grid, cell: Cell) -> None:
    """Write what the base model of a cell generates for the corpus's first sentences as shards.

    The validation utterances are those of the corpus.
    """
    rows = read_manifest(grid.corpus, "train", grid.voices)[: cell.distilled]
    folder, model = cell.folder / DISTILLED, cell.folder.parent / str(cell.after) / "model"
    sentences = cell.folder / "sentences.txt"
    with atomic_path(sentences) as partial:
        partial.write_text("".join(f"{row.text}\n" for row in rows), encoding="utf-8")
    job = SpeechDistillJob(
        input=sentences,
        output=folder,
        model=str(model),
        sampler=DISTILLATION,
        voices=tuple(load_voices(model / "voices")),
        split=cell.recipe.data.split,
    )
    distill_speech(job, batch_size=BATCH)
    for file in grid.codes(cell.tokenizer).glob("valid-*"):
        shutil.copy2(file, folder)


def export_cell(grid: Grid, cell: Cell, voices: list[str]) -> TTS:
    """Write the cell's model to the folder `model` and load it, with its draft tree."""
    folder, partial = cell.folder / "model", cell.folder / "model.part"
    if not folder.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        names = voices if grid.specs[cell.tokenizer].speaker_dim else []
        export_model(
            cell.recipe.output,
            tokenizer_source(grid, cell.tokenizer),
            partial,
            manifest=grid.corpus,
            origins=dict.fromkeys(names, f"of the corpus {grid.corpus.name}"),
            card={"sampling": grid.sampling(cell)},
        )
        partial.replace(folder)
    tts = load(folder, device=grid.device, decoding=cell.decoding)
    if cell.tree:
        choose_tree(grid, cell, tts)
        tts = tts.using(decoding_of(cell))
    return tts


def export_voices(grid: Grid, wanted: set[str]) -> list[str]:
    """Those of `wanted` that were trained; the first trained voice if none was."""
    rows = read_manifest(grid.corpus, "train", grid.voices)
    trained = {row.voice for row in rows if row.seconds > 2 * SHORTEST}
    return sorted(wanted & trained) or sorted(trained)[:1]


def choose_tree(grid: Grid, cell: Cell, tts: TTS) -> None:
    """Choose the draft tree of a cell on validation sentences; an existing one is kept."""
    path = cell.folder / TREE
    if path.is_file():
        return
    rows = read_manifest(grid.corpus, "valid", grid.voices)[:TREE_SENTENCES]
    sampling = grid.sampling(cell)
    requests = [
        SynthesisRequest(text=row.text, seed=n, sampling=sampling) for n, row in enumerate(rows)
    ]
    prompts = [tts.prompt(sentence) for request in requests for sentence in tts.plan(request)]
    draft = tts.model.draft
    assert draft is not None  # a cell with a tree has a draft head
    acceptance = measure_ranks(tts.model, prompts, draft.offsets[-1], TREE_RANKS, BATCH)
    tree, expected = choose_paths(acceptance, cell.tree)
    tree.save(path, acceptance, expected)


def decoding_of(cell: Cell) -> Decoding:
    """How a cell decodes, with its draft tree if it has one."""
    if not cell.tree:
        return cell.decoding
    return replace(cell.decoding, tree=DraftTree.load(cell.folder / TREE), accept="seed")
