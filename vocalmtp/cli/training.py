"""`vocalmtp train`, `vocalmtp tokenize` and `vocalmtp export`."""

from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from vocalmtp.errors import InputError, nearest
from vocalmtp.hub import DEFAULT_MODEL

RECIPES = ("aligner", "finetune", "speech_lm", "text_lm", "tokenizer")


def train(
    recipe: Annotated[
        Path, typer.Argument(help="A YAML file; recipes/ has them for every model here.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as optim.learning_rate=3e-4."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what a speech LM's training would be.")
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="For --dry-run without shards: a name from 'vocalmtp tokenizers'."),
    ] = None,
) -> None:
    """Train what RECIPE describes: a speech or text LM, a voice, a tokenizer or the aligner.

    A run that was stopped goes on from its last checkpoint when started again.

    Example:

    vocalmtp train recipes/mini/base.yaml output=runs/mine optim.max_seconds=3600
    """
    from vocalmtp.config import load_yaml

    data = load_yaml(recipe, overrides or [])
    kind = data.get("recipe", "speech_lm")
    if dry_run or tokenizer is not None:
        _plan(data, kind, recipe, dry_run, tokenizer)
    elif kind == "tokenizer":
        from vocalmtp.training.codec import TokenizerRecipe, train_tokenizer

        _run(train_tokenizer, TokenizerRecipe, data, recipe)
    elif kind == "aligner":
        from vocalmtp.training.aligner import AlignerRecipe, train_aligner

        _run(train_aligner, AlignerRecipe, data, recipe)
    elif kind == "finetune":
        need_accelerate()
        from vocalmtp.training.finetune import FinetuneRecipe, finetune

        output = _run(finetune, FinetuneRecipe, data, recipe)
        typer.echo(f'{output}: try it with: vocalmtp tts "Hello." --model {output}')
    elif kind == "speech_lm":
        need_accelerate()
        from vocalmtp.training.recipe import SpeechLMRecipe
        from vocalmtp.training.train import train as train_speech_lm

        _run(train_speech_lm, SpeechLMRecipe, data, recipe)
    elif kind == "text_lm":
        need_accelerate()
        from vocalmtp.training.text_lm import TextLMRecipe, train_text_lm

        output = _run(train_text_lm, TextLMRecipe, data, recipe)
        typer.echo(f'{output}: try it with: vocalmtp generate "Once" --model {output}')
    else:
        raise InputError(
            f"{recipe}: recipe '{kind}' is unknown; {nearest(str(kind), RECIPES)}",
            code="unknown_name",
        )


def _plan(
    data: dict[str, Any], kind: str, recipe: Path, dry_run: bool, tokenizer: str | None
) -> None:
    if not dry_run or kind != "speech_lm":
        option = "dry-run" if dry_run else f"tokenizer '{tokenizer}'"
        raise InputError(
            f"{option}: is for --dry-run of recipe speech_lm; leave it out", code="conflict"
        )
    need_accelerate()
    from vocalmtp.config import parse
    from vocalmtp.training.plan import show_recipe
    from vocalmtp.training.recipe import SpeechLMRecipe

    typer.echo(show_recipe(parse(SpeechLMRecipe, data, str(recipe)), tokenizer, recipe.parent))


def _run(run: Callable[[Any], Any], kind: type[Any], data: dict[str, Any], recipe: Path) -> Any:
    """Train what `data` describes, alone in the folder that it names."""
    from vocalmtp.config import parse
    from vocalmtp.io.run_folder import only_writer
    from vocalmtp.training.distributed import is_first

    parsed = parse(kind, data, str(recipe))
    with only_writer(Path(parsed.output)) if is_first() else nullcontext():
        return run(parsed)


def need_accelerate() -> None:
    if find_spec("accelerate") is None:
        raise InputError(
            "package 'accelerate': is missing; run: pip install 'vocalmtp[train]'",
            code="not_installed",
        )


def tokenize(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="JSONL manifests, corpus folders, audio files or folders of audio."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the code shards.")],
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer",
            "-t",
            help="NAME of a card or model, FOLDER, or NAME=FOLDER; see 'vocalmtp tokenizers'.",
        ),
    ] = DEFAULT_MODEL,
    split: Annotated[
        str | None, typer.Option(help="Only this split.", show_default="all of them")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances encoded together.")] = 16,
) -> None:
    """Turn audio into code shards, which a speech LM is trained on.

    Whole shards are kept when it is started again.

    Example:

    vocalmtp tokenize corpus -o codes --tokenizer runs/tokenizer
    """
    from rich.console import Console
    from rich.progress import Progress

    from vocalmtp.data.recordings import read_inputs
    from vocalmtp.data.tokenize import tokenize_rows
    from vocalmtp.tokenizers import load_tokenizer

    rows = read_inputs(inputs, split)
    loaded = load_tokenizer(tokenizer)
    screen = Console(stderr=True)
    with Progress(transient=True, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("tokenize")
        count = tokenize_rows(
            rows,
            output,
            loaded,
            batch_size=batch_size,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{output}: codes of {count} utterances by {loaded.spec.name} ({loaded.spec.hash})")


def export(
    model: Annotated[Path, typer.Argument(help="The folder that 'vocalmtp train' wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder to write.")],
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", "-t", help="The tokenizer whose codes it was trained on.")
    ],
    manifest: Annotated[
        Path, typer.Option(help="The corpus whose recordings the voices are made of.")
    ],
    voices: Annotated[
        Path, typer.Option(help="YAML: where each voice comes from, as 'name: origin' lines.")
    ],
    card: Annotated[
        Path | None, typer.Option(help="YAML: data, figures, licence; shown by 'vocalmtp info'.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="How weights are stored: float32, float16 or bfloat16.")
    ] = "float16",
) -> None:
    """Put a trained speech LM, its tokenizer and voices into one folder for 'vocalmtp tts --model'.

    Example:

    vocalmtp export runs/mini -o mine -t runs/tokenizer --manifest corpus --voices voices.yaml
    """
    from vocalmtp.config import load_yaml
    from vocalmtp.hub import tokenizer_folder
    from vocalmtp.training.export import export_model

    origins = load_yaml(voices)
    for name, origin in origins.items():
        if not isinstance(origin, str):
            raise InputError(
                f"voices '{voices}': '{name}' must be followed by one line of text",
                code="invalid_value",
            )
    facts = {} if card is None else load_yaml(card)
    export_model(
        model,
        tokenizer_folder(tokenizer),
        output,
        manifest=manifest,
        origins=origins,
        card=facts,
        dtype=dtype,
    )
    typer.echo(f'{output}: try it with: vocalmtp tts "Hello." --model {output}')
