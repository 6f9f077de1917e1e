"""`vocalmtp eval`: evaluate models, tokenizers and recognizers, and run published benchmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.console import print_table
from vocalmtp.cli.options import option, verb
from vocalmtp.evaluation.config import (
    EvalConfig,
    ManifestEvalConfig,
    ProbeConfig,
    PromptListConfig,
    RecognitionConfig,
    RoleTriviaQAConfig,
    TokenizerEvalConfig,
)
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.evaluation.report import Metric

app = typer.Typer(
    help="Measure intelligibility, speaker similarity, quality and speed, beside natural speech of "
    "the same sentences. Needs the extra 'eval' of the package.",
    no_args_is_help=True,
)


@verb(app, "intelligibility")
def intelligibility(config: EvalConfig) -> None:
    """Word error rates, and failures: missing end, empty, truncated or runaway speech."""
    from vocalmtp.evaluation.run import run_intelligibility

    _report(config, "intelligibility", run_intelligibility(config), config.model)


@dataclass(frozen=True, kw_only=True)
class SimilarityConfig(EvalConfig):
    """Options of `vocalmtp eval similarity`."""

    reference_seconds: Annotated[
        str,
        option(help="Compare voices made from references of these lengths in s, such as 1,3,10."),
    ] = ""


@verb(app, "similarity")
def similarity(config: SimilarityConfig) -> None:
    """Cosine of speaker embeddings to the target voice, and to the nearest other one.

    A voice that the model does not have (--split heldout) is made from one recording of it.
    """
    from vocalmtp.evaluation.run import run_references, run_similarity

    if config.reference_seconds:
        metrics = run_references(config, config.reference_seconds)
    else:
        metrics = run_similarity(config)
    _report(config, "similarity", metrics, config.model)


@verb(app, "quality")
def quality(config: EvalConfig) -> None:
    """STOI and PESQ of the tokenizer, opinion scores of all systems, spectrograms side by side."""
    from vocalmtp.evaluation.run import run_quality

    _report(config, "quality", run_quality(config), config.model)


@dataclass(frozen=True, kw_only=True)
class AllConfig(EvalConfig):
    """Options of `vocalmtp eval all`."""

    against: Annotated[
        str | None,
        option(help="A next-token model to compare with."),
    ] = None


@verb(app, "all")
def everything(config: AllConfig) -> None:
    """All metrics of a model on the splits test, rare and heldout, and its speed."""
    from vocalmtp.bench.speed import hardware
    from vocalmtp.evaluation.report import write_sections
    from vocalmtp.evaluation.run import run_all

    sections = run_all(config, config.against)
    notes = [f"Model: {config.model}.", f"Machine: {hardware(config.device)}."]
    print(write_sections(config.output, "metrics", sections, notes))


@dataclass(frozen=True, kw_only=True)
class DisentanglementConfig(ProbeConfig):
    """Options of `vocalmtp eval disentanglement`."""

    model: Annotated[str, option(help="Name or folder of a model or a tokenizer.")] = DEFAULT_MODEL


@verb(app, "disentanglement")
def disentanglement(config: DisentanglementConfig) -> None:
    """Probes of phones, pitch and speaker in the streams of a tokenizer; swapped timbre."""
    from vocalmtp.evaluation.tokenizer import run_disentanglement
    from vocalmtp.hub import tokenizer_folder

    metrics = run_disentanglement(str(tokenizer_folder(config.model)), config)
    _report(config, "disentanglement", metrics, config.model)


@verb(app, "recognition")
def recognition(config: RecognitionConfig) -> None:
    """Word error rate of a recognizer on recordings, over all of them and for every voice.

    Example:

    vocalmtp eval recognition --judge speech-lm=chat-mini --manifest corpus -o results/recognition
    """
    from vocalmtp.evaluation.run import run_recognition

    _report(config, "recognition", run_recognition(config))


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(TokenizerEvalConfig):
    """Options of `vocalmtp eval tokenizer`."""

    name: Annotated[
        str, typer.Argument(help="NAME of a card or model, FOLDER, or NAME=FOLDER of its weights.")
    ]


@verb(app, "tokenizer")
def tokenizer(config: TokenizerConfig) -> None:
    """Resynthesis, bits, speed, codebook use and probes of a speech tokenizer.

    Metrics that the tokenizer does not have, or the manifest has no labels for, are n/a.

    Example:

    vocalmtp eval tokenizer mimi-8=weights -m corpus -o results/mimi
    """
    from vocalmtp.bench.speed import hardware
    from vocalmtp.evaluation.report import write_sections
    from vocalmtp.evaluation.tokenizer import run_tokenizer

    sections, notes = run_tokenizer(config.name, config)
    notes = [*notes, f"Machine: {hardware(config.device)}."]
    print(write_sections(config.output, "tokenizer", sections, notes))


@verb(app, "roletriviaqa")
def roletriviaqa(config: RoleTriviaQAConfig) -> None:
    """RoleTriviaQA: knowledge of a model, and consistency of the voices of roles.

    Writes a row for every question to results.jsonl; metrics for seen and unseen roles, in and out
    of the domain; and the confusion of voices.

    Examples:

    vocalmtp eval roletriviaqa --data mini --output results --limit 5

    vocalmtp eval roletriviaqa --data chat_mini --model mine --answers own --ask speech -o results
    """
    from vocalmtp.evaluation.roletriviaqa import run_roletriviaqa

    print(run_roletriviaqa(config))


@verb(app, "testlist")
def testlist(config: PromptListConfig) -> None:
    """Published test lists: word error rate and similarity in the voices of unseen prompts.

    The word error rate follows the convention of the list, which the report names.

    Example:

    vocalmtp eval testlist --list seedtts_testset/en/meta.lst --output results
    """
    from vocalmtp.evaluation.prompt_lists import run_prompt_list

    print(run_prompt_list(config))


@app.command("judges")
def judges() -> None:
    """List the judges by name: recognizers, speaker embeddings and opinion scores.

    Example:

    vocalmtp eval judges

    """
    from vocalmtp.evaluation.judges import DEFAULTS, KINDS

    rows = [
        (name, kind, "yes" if name == DEFAULTS[kind] else "", first_line(judge))
        for kind, registry in KINDS.items()
        for name, judge in registry.items()
    ]
    print_table(rows, ["name", "kind", "default", "description"])


def first_line(entry: object) -> str:
    """The first line of the docstring of `entry`, empty if it has none."""
    return (getdoc(entry) or "").partition("\n")[0]


def _report(
    config: ManifestEvalConfig, title: str, metrics: Sequence["Metric"], model: str | None = None
) -> None:
    from vocalmtp.evaluation.judges import DEFAULTS, Judges
    from vocalmtp.evaluation.report import write_report
    from vocalmtp.evaluation.scoring import CONVENTIONS

    judges = Judges(config.judge, config.device)
    notes = [] if model is None else [f"Model: {model}."]
    names = [*(judges.spec(kind) for kind in DEFAULTS), *judges.further]
    notes.append(f"Judges: {', '.join(names)}.")
    if any(metric.name.startswith("WER") for metric in metrics):
        notes.append(f"{CONVENTIONS['vocalmtp'].describe()}.")
    print(write_report(config.output, title, metrics, notes))
