"""`vocalmtp train`, `ablate`, `prepare` and `export`."""

from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from vocalmtp.cli.console import counter, tell
from vocalmtp.cli.options import option
from vocalmtp.errors import InputError, nearest
from vocalmtp.optional import require

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as optim.learning_rate=3e-4."),
]


class RecipeKind(NamedTuple):
    """What trains a recipe: `module.train(module.config)`, and a command to try the result."""

    module: str
    config: str
    train: str
    usage: str = ""
    package: str = ""  # of an extra, besides accelerate


RECIPES = {
    "aligner": RecipeKind("aligner", "AlignerRecipe", "train_aligner"),
    "finetune": RecipeKind(
        "finetune", "FinetuneRecipe", "finetune", 'vocalmtp tts "Hello." --model {output}'
    ),
    "rl": RecipeKind(
        "rl.trainer",
        "RLRecipe",
        "train_rl",
        'vocalmtp text generate "2 + 3" --chat --model {output}',
        "trl",
    ),
    "speech_lm": RecipeKind("train", "SpeechLMRecipe", "train"),
    "text_lm": RecipeKind(
        "text_lm",
        "TextLMRecipe",
        "train_text_lm",
        'vocalmtp text generate "Once" --model {output}',
    ),
    "tokenizer": RecipeKind("codec", "TokenizerRecipe", "train_tokenizer"),
}


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `vocalmtp train`."""

    recipe: Annotated[
        Path, typer.Argument(help="A YAML file; recipes/ has one for every bundled model.")
    ]
    overrides: Overrides = None
    dry_run: Annotated[
        bool, option("--dry-run", help="Only print the plan of a speech LM's training.")
    ] = False
    tokenizer: Annotated[
        str | None,
        option(
            help="With --dry-run and without shards: a name from 'vocalmtp tokenizers', or a folder."
        ),
    ] = None
    device: Annotated[
        str | None, option(help="auto, cpu, cuda or cuda:N.", show_default="the recipe's: auto")
    ] = None


def train(options: TrainOptions) -> None:
    """Train RECIPE: a speech or text LM, a voice, a tokenizer or the aligner.

    The same command continues an interrupted run from its last checkpoint.

    Example:

    vocalmtp train recipes/mini/base.yaml output=runs/mine optim.max_seconds=3600

    """
    from vocalmtp.config import load_yaml, parse
    from vocalmtp.io.run_folder import only_writer

    data = load_yaml(options.recipe, options.overrides or [])
    if options.device is not None:
        data["device"] = options.device
    name = str(data.get("recipe", "speech_lm"))
    if name not in RECIPES:
        raise InputError(
            f"recipe '{name}': unknown in {options.recipe}; {nearest(name, RECIPES)}",
            code="unknown_name",
        )
    kind = RECIPES[name]
    if options.dry_run or options.tokenizer is not None:
        _print_plan(options, name, data)
        return
    require_accelerate()
    if kind.package:
        require(kind.package)
    from vocalmtp.training.distributed import is_first, leave_processes

    module = import_module(f"vocalmtp.training.{kind.module}")
    config: Any = parse(getattr(module, kind.config), data, str(options.recipe))
    with only_writer(Path(config.output)) if is_first() else nullcontext():
        output = getattr(module, kind.train)(config)
    leave_processes()
    if kind.usage:
        print(f"{output}: try it with: {kind.usage.format(output=output)}")


def _print_plan(options: TrainOptions, name: str, data: dict[str, Any]) -> None:
    if not options.dry_run or name != "speech_lm":
        given = "dry_run" if options.dry_run else f"tokenizer '{options.tokenizer}'"
        raise InputError(
            f"{given}: applies to --dry-run of recipe speech_lm only; leave it out",
            code="conflict",
        )
    require_accelerate()
    from vocalmtp.config import parse
    from vocalmtp.training.plan import show_recipe
    from vocalmtp.training.recipe import SpeechLMRecipe

    recipe = parse(SpeechLMRecipe, data, str(options.recipe))
    print(show_recipe(recipe, options.tokenizer, options.recipe.parent))


def require_accelerate() -> None:
    """Raise InputError unless the extra `train` is installed."""
    require("accelerate")


@dataclass(frozen=True, kw_only=True)
class AblateOptions:
    """Options of `vocalmtp ablate`."""

    recipe: Annotated[Path, typer.Argument(help="A grid, see recipes/tokenizer_ablation.")]
    overrides: Overrides = None
    output: Annotated[
        Path | None,
        option("--output", "-o", help="Folder of the grid.", show_default="as the grid says"),
    ] = None
    smoke: Annotated[
        bool,
        option(
            "--smoke",
            help="Run the whole grid with tiny settings, in minutes; without a corpus, on a "
            "synthesized one.",
        ),
    ] = False
    jobs: Annotated[
        int, option("--jobs", "-j", min=1, max=256, help="Parallel trainings and evaluations.")
    ] = 1
    dry_run: Annotated[
        bool, option("--dry-run", help="Only print cells, tokens, memory and hours.")
    ] = False
    only: Annotated[
        str | None, option(help="Only cells whose names match, such as 'decoupled-*-seed0'.")
    ] = None


def ablate(options: AblateOptions) -> int:
    """Train and evaluate a grid of speech LMs: tokenizers, tokens per step, backbones, seeds.

    The same command continues an interrupted grid. A failed cell is reported, the others are
    completed, and the exit status is 1. The report is report.md, .json and .png in the folder.

    Example:

    vocalmtp ablate recipes/tokenizer_ablation/ablation.yaml corpus=corpus --jobs 2

    """
    require_accelerate()
    from vocalmtp.ablation.grid import load_grid, pick_cells
    from vocalmtp.training.distributed import is_first

    grid = load_grid(
        options.recipe, options.overrides or [], output=options.output, smoke=options.smoke
    )
    cells = pick_cells(grid, options.only)
    if options.dry_run:
        from vocalmtp.ablation.plan import show_plan

        print(show_plan(grid, cells))
        return 0
    from vocalmtp.ablation.report import write_ablation
    from vocalmtp.ablation.run import run_grid

    failures = run_grid(grid, cells, jobs=options.jobs, report=print)
    if is_first():
        print(write_ablation(grid, failures))
    for name, problem in failures.items():
        tell(f"failed: {name}: {problem}")
    return 1 if failures else 0


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of `vocalmtp prepare`."""

    folder: Annotated[
        Path,
        typer.Argument(
            help="x.wav beside x.txt at any depth; or LJSpeech (metadata.csv and wavs/); or "
            "LibriTTS (speaker/chapter/x.wav beside x.normalized.txt)."
        ),
    ]
    output: Annotated[Path, option("--output", "-o", help="The corpus folder to write.")]
    layout: Annotated[
        str | None, option(help="pairs, ljspeech or libritts.", show_default="detected")
    ] = None
    voice: Annotated[
        str | None, option(help="Name of the speaker.", show_default="by the folders")
    ] = None
    valid: Annotated[float, option(min=0, max=0.5, help="Share held out for validation.")] = 0.05
    shortest: Annotated[float, option(min=0, help="Minimum seconds of speech.")] = 0.4
    longest: Annotated[float, option(min=0.1, help="Maximum seconds of speech.")] = 20.0
    workers: Annotated[int, option(min=1, help="Processes, each on one core.")] = 1


def prepare(options: PrepareOptions) -> None:
    """Make a training corpus of recordings: validate, trim and align them, and write a manifest.

    Unusable recordings are listed with their reasons in report.json. The same command continues an
    interrupted run, and processes only what has changed.

    Example:

    vocalmtp prepare my_recordings -o corpus --voice anna

    """
    from vocalmtp.data.prepare import RecordingLimits
    from vocalmtp.data.prepare import prepare as prepare_corpus

    with counter("prepare") as show:
        report = prepare_corpus(
            options.folder,
            options.output,
            layout=options.layout,
            voice=options.voice,
            valid=options.valid,
            limits=RecordingLimits(shortest=options.shortest, longest=options.longest),
            workers=options.workers,
            progress=show,
        )
    for line in report.lines():
        tell(line)
    print(f"{options.output}: next: vocalmtp tokenize {options.output} -o codes")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `vocalmtp export`."""

    model: Annotated[
        str,
        typer.Argument(
            help="The output folder of 'vocalmtp train', or a published model; with --onnx alone, a "
            "model folder."
        ),
    ]
    output: Annotated[Path | None, option("--output", "-o", help="The model folder to write.")] = (
        None
    )
    tokenizer: Annotated[
        str | None, option("--tokenizer", "-t", help="The tokenizer whose codes it was trained on.")
    ] = None
    manifest: Annotated[
        Path | None, option(help="The corpus whose recordings the voices are made of.")
    ] = None
    voices: Annotated[Path | None, option(help="YAML: 'name: origin' of every voice.")] = None
    card: Annotated[
        Path | None, option(help="YAML: data, figures, licence, as 'vocalmtp info' shows them.")
    ] = None
    dtype: Annotated[str, option(help="Of the stored weights: float32, float16 or bfloat16.")] = (
        "float16"
    )
    onnx: Annotated[
        bool,
        option("--onnx", help="Also write the model's graphs for '--engine onnx' into its folder."),
    ] = False


def export(options: ExportOptions) -> None:
    """Write a trained speech LM, its tokenizer and voices as one folder for 'tts --model'.

    A published model is written with all of its parts, and needs no further options.

    Examples:

    vocalmtp export runs/mini -o mine -t runs/tokenizer --manifest corpus --voices voices.yaml

    vocalmtp export mine --onnx

    vocalmtp export orpheus-3b -o mine

    """
    from vocalmtp.hub import model_folder
    from vocalmtp.optional import require

    if options.onnx:
        require("onnx")
    if options.output is not None or not options.onnx:
        _export_model(options)
    folder = options.output or model_folder(options.model)
    if options.onnx:
        from vocalmtp.onnx.export import export_onnx

        export_onnx(folder)
    engine = " --engine onnx" if options.onnx else ""
    print(f'{folder}: try it with: vocalmtp tts "Hello." --model {folder}{engine}')


def _is_published(name: str) -> bool:
    """Whether a model is of a family of published models."""
    from vocalmtp.hub import model_folder
    from vocalmtp.published.base import find_family

    return find_family(model_folder(name)) is not None


def _export_model(options: ExportOptions) -> None:
    """Write the model folder. Raises InputError if an option for it is missing."""
    from vocalmtp.config import load_yaml
    from vocalmtp.hub import tokenizer_folder
    from vocalmtp.training.export import export_model, export_published

    if _is_published(options.model):
        if options.output is None:
            raise InputError("output: is missing; give --output", code="missing")
        for name in ("tokenizer", "manifest", "voices", "card"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"{name}: a published model has its own; leave --{name} out", code="conflict"
                )
        export_published(options.model, options.output)
        return
    for name in ("output", "tokenizer", "manifest", "voices"):
        if getattr(options, name) is None:
            raise InputError(f"{name}: is missing; give --{name}", code="missing")
    assert options.output and options.tokenizer and options.manifest and options.voices
    origins = load_yaml(options.voices)
    for name, origin in origins.items():
        if not isinstance(origin, str):
            raise InputError(
                f"voices '{options.voices}': the origin of '{name}' must be one line of text",
                code="invalid_value",
            )
    export_model(
        options.model,
        tokenizer_folder(options.tokenizer),
        options.output,
        manifest=options.manifest,
        origins=origins,
        card={} if options.card is None else load_yaml(options.card),
        dtype=options.dtype,
    )
