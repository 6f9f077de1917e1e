"""One tokenizer of a grid: trained or found, the corpus as its codes, its resynthesis judged."""

from pathlib import Path

from vocalmtp.ablation.figures import MetricSet
from vocalmtp.ablation.grid import Grid
from vocalmtp.ablation.judges import Evaluators
from vocalmtp.ablation.state import begin, drop
from vocalmtp.ablation.swapped import swapped_resynthesis
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.tokenize import tokenize_rows
from vocalmtp.evaluation.statistics import once
from vocalmtp.evaluation.systems import CodecOnly, speak
from vocalmtp.tokenizers import SpeechTokenizer, load_tokenizer
from vocalmtp.training.codec import train_tokenizer

SYSTEM = "resynthesis"
CODES_WHOLE = "codes.txt"  # beside the codes: how many utterances, once all are there


def tokenizer_settings(grid: Grid, name: str) -> dict[str, object]:
    """What the tokenizer and its codes depend on."""
    choice = grid.tokenizers[name]
    recipe = None
    if choice.train is not None:
        recipe = grid.tokenizer_recipe(name).model_dump(mode="json")
    return {
        "use": choice.use,
        "recipe": recipe,
        "corpus": str(grid.corpus),
        "voices": list(grid.voices),
        "utterances": grid.utterances.model_dump(mode="json"),
    }


def train_here(grid: Grid, name: str) -> None:
    """Train tokenizer `name` if it is to be, going on where a run was cut off.

    Under torchrun, of all processes.
    """
    if grid.tokenizers[name].train is None or codes_whole(grid, name):
        return
    recipe = grid.tokenizer_recipe(name)
    if not (recipe.output / "done").is_file():
        train_tokenizer(recipe)
        (recipe.output / "done").touch()
        drop(recipe.output / "checkpoints")


def source(grid: Grid, name: str) -> str:
    """What `load_tokenizer` takes for tokenizer `name`."""
    choice = grid.tokenizers[name]
    return str(grid.tokenizer_recipe(name).output) if choice.use is None else choice.use


def codes_whole(grid: Grid, name: str) -> bool:
    """Whether the corpus has been tokenized."""
    return (grid.tokenizer_folder(name) / CODES_WHOLE).is_file()


def write_codes(grid: Grid, name: str) -> None:
    """The corpus as codes, as far as the grid asks for."""
    if codes_whole(grid, name):
        return
    tokenizer = load_tokenizer(source(grid, name))
    count = tokenize_rows(chosen_rows(grid), grid.codes(name), tokenizer)
    (grid.tokenizer_folder(name) / CODES_WHOLE).write_text(f"{count}\n")


def chosen_rows(grid: Grid) -> list[Utterance]:
    """The utterances that are trained on and validated with, the same for every tokenizer.

    Raises InputError if the corpus has none of a split that a cell asks for.
    """
    rows = []
    for split, most in grid.utterances.model_dump().items():
        rows += read_manifest(grid.corpus, split, grid.voices)[:most]
    return rows


def judge_tokenizer(grid: Grid, name: str, judges: Evaluators) -> MetricSet:
    """Judge the resynthesis of tokenizer `name`; what was judged before is kept."""
    folder = grid.tokenizer_folder(name) / grid.judged
    made = MetricSet.load(folder)
    if made is not None and made.whole:
        return made
    tokenizer = load_tokenizer(source(grid, name))
    made = measure_tokenizer(tokenizer, judges, folder)
    made.save(folder)
    return made


def measure_tokenizer(tokenizer: SpeechTokenizer, judges: Evaluators, folder: Path) -> MetricSet:
    """The figures of resynthesis, with those of swapped timbre."""
    spoken = speak(SYSTEM, judges.items, CodecOnly(tokenizer), folder)
    made = judges.measure(SYSTEM, spoken, folder)
    made.judge("voices", lambda: swapped_resynthesis(tokenizer, judges, folder))
    spec = tokenizer.spec
    made.figures["bits_per_second"] = once(spec.bits_per_second)
    made.figures["parameters"] = once(sum(p.numel() for p in tokenizer.parameters()))
    return made


def run_tokenizer(grid: Grid, name: str, judges: Evaluators) -> MetricSet:
    """All that a grid does with one tokenizer, going on where it was cut off."""
    begin(grid.tokenizer_folder(name), tokenizer_settings(grid, name))
    train_here(grid, name)
    write_codes(grid, name)
    return judge_tokenizer(grid, name, judges)
