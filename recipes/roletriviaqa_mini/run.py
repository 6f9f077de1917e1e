"""Train and evaluate the arms of RoleTriviaQA-mini, and write their tables. Run with --help."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer

from tables import write_tables
from vocalmtp.config import load_yaml, merge, parse
from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.tokenize import tokenize_rows
from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.errors import InputError
from vocalmtp.evaluation.config import RoleTriviaQAConfig
from vocalmtp.evaluation.question_formats import load_questions
from vocalmtp.evaluation.roletriviaqa import RESULTS, run_roletriviaqa
from vocalmtp.evaluation.scoring import text_scores
from vocalmtp.loading import load
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.codec import train_tokenizer
from vocalmtp.training.export import export_model
from vocalmtp.training.recipe import SpeechLMRecipe, TokenizerRecipe
from vocalmtp.training.train import train

RECIPE = Path(__file__).parent
VOICES = RECIPE.parent / "mini" / "model" / "voices-16khz.yaml"
CONDITIONINGS = ("both", "lm", "decoder", "none", "swapped")
VALID = 120  # utterances
REPEATED = 10  # questions per role and domain for all speaker conditionings but the first
FEW = {"steps": 2, "batch_size": 2}
SMOKE = {"max_steps": 3, "eval_every": 3, "save_every": 3, "log_every": 1, "warmup_steps": 1}

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@dataclass(frozen=True)
class Arm:
    """One model.

    Attributes:
        name: of the arm.
        frames: per step; 0 for next-token prediction.
        tokenizer: the kind.
        voice: whether the speech LM is trained with speaker vectors.
        text_only: whether it is trained and evaluated on text alone.
        switches: speaker conditionings of the evaluation.
    """

    name: str
    frames: int = 4
    tokenizer: str = "decoupled"
    voice: bool = True
    text_only: bool = False
    switches: tuple[str, ...] = ("both",)


TEXT = Arm("text", text_only=True)
ARMS = (
    TEXT,
    Arm("g4", switches=CONDITIONINGS),
    Arm("g4-nobody", voice=False, switches=("decoder",)),
    Arm("coupled", tokenizer="coupled"),
    Arm("semi_decoupled", tokenizer="semi_decoupled"),
    Arm("g2", frames=2),
    Arm("g2-nobody", frames=2, voice=False, switches=("decoder",)),
    Arm("g1", frames=1),
    Arm("g1-nobody", frames=1, voice=False, switches=("decoder",)),
    Arm("ntp", frames=0),
    Arm("ntp-nobody", frames=0, voice=False, switches=("decoder",)),
)


@dataclass(frozen=True)
class Run:
    """Folders and sizes of a run."""

    corpus: Path
    questions: Path
    tokenizers: Path
    work: Path
    utterances: int
    limit: int | None
    smoke: bool

    def codes(self, tokenizer: str) -> tuple[Path, Path]:
        """The code shards of the corpus and of the questions, tokenized if they are missing."""
        folders = self.work / "codes" / tokenizer, self.work / "codes-questions" / tokenizer
        codec = load_tokenizer(self.tokenizer(tokenizer))
        rows = read_manifest(self.corpus, "train")[: self.utterances]
        rows += read_manifest(self.corpus, "valid")[:VALID]
        own = [row for row in read_manifest(self.questions) if row.split != "test"]
        for folder, some in zip(folders, (rows, own), strict=True):
            tokenize_rows(some, folder, codec)
        return folders

    def tokenizer(self, name: str) -> Path:
        """The tokenizer for all voices, trained if it is missing."""
        folder = self.work / "tokenizers" / name
        change = {"corpus": self.corpus, "init": self.tokenizers / name, "output": folder}
        data = merge(load_yaml(RECIPE / "tokenizer.yaml"), change | {"kind": name})
        train_tokenizer(
            parse(TokenizerRecipe, data | (FEW if self.smoke else {}), "tokenizer.yaml")
        )
        return folder

    def train(self, arm: Arm) -> Path:
        """Train the stages of an arm that are not complete; returns the folder of the last one."""
        folder = self.work / arm.name
        codes, own = map(str, self.codes(arm.tokenizer))
        data = {"shards": codes, "questions": {"folder": str(self.questions), "shards": own}}
        if arm.text_only:
            return self._stage("text", {"data": data}, folder / "stage0")
        knowledge = self.work / TEXT.name / "stage0"
        if not is_trained(knowledge):
            self.train(TEXT)
        model = {"flat": not arm.frames, "frames_per_step": max(arm.frames, 1)}
        model |= {"backbone": None, "pretrained": str(knowledge)}
        model |= {} if arm.voice else {"speaker_dropout": 1.0}
        aligned = self._stage("stage1", {"data": data, "model": model}, folder / "stage1")
        return self._stage("stage2", {"data": data, "init": str(aligned)}, folder / "stage2")

    def _stage(self, name: str, change: dict[str, Any], output: Path) -> Path:
        if not is_trained(output):
            data = merge(load_yaml(RECIPE / f"{name}.yaml"), change | {"output": str(output)})
            data = merge(data, {"optim": SMOKE} if self.smoke else {})
            train(parse(SpeechLMRecipe, data, f"{name}.yaml"))
        return output

    def export(self, arm: Arm, trained: Path) -> Path:
        """Export the trained model as a folder for `vocalmtp.load`."""
        output = self.work / arm.name / "model"
        if not (output / "card.json").is_file():
            facts = {"licence": "Apache-2.0", "sampling": {"greedy": True}, "default_voice": "slt"}
            facts |= {
                "trained_by": "recipes/roletriviaqa_mini",
                "data": "speech synthesized by flite",
            }
            export_model(
                trained,
                self.work / "tokenizers" / arm.tokenizer,
                output,
                manifest=self.corpus,
                origins={"slt": load_yaml(VOICES)["slt"]},
                card=facts,
            )
        return output

    def evaluate(self, arm: Arm, model: Path) -> None:
        """Evaluate knowledge and voice of a model; existing results are kept."""
        folder = self.work / arm.name
        (folder / "arm.json").write_text(json.dumps(asdict(arm)) + "\n")
        if arm.text_only:
            self._evaluate_text(folder / "eval-text" / RESULTS, model)
            return
        for switch in arm.switches:
            output = folder / f"eval-{switch}"
            repeats = switch != arm.switches[0] and self.limit is None
            if not (output / RESULTS).is_file():
                run_roletriviaqa(
                    RoleTriviaQAConfig(
                        data=str(self.questions),
                        output=output,
                        model=str(model),
                        answers="own",
                        speaker_conditioning=switch,
                        limit=REPEATED if repeats else self.limit,
                        judge=[f"pocketsphinx={self.questions / 'answers.txt'}"],
                        mos_items=0,
                        speed=False,
                    )
                )

    def _evaluate_text(self, results: Path, model: Path) -> None:
        """Score the text answers of a model that is trained on text alone, without a role."""
        if results.is_file():
            return
        found = load_questions(self.questions, results.parent, limit=self.limit).questions
        tts = load(model, speaker_conditioning="none")
        queries = [Query(text=question.question) for question in found]
        rows = []
        for question, text in zip(found, DialogueModel(tts).answer(queries), strict=True):
            em, f1 = text_scores(text, question.aliases)
            rows.append({"id": question.id, "text_answer": text, "em": em, "f1": f1})
            rows[-1] |= {"domain": question.domain, "seen": question.seen}
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def is_trained(folder: Path) -> bool:
    """Whether the training of a stage is complete."""
    return (folder / "config.json").is_file()


@app.command()
def main(
    corpus: Annotated[Path, typer.Option(help="Corpus of recipes/corpus.")] = Path("corpus"),
    questions: Annotated[Path, typer.Option(help="Output folder of make.py and speak.py.")] = Path(
        "roletriviaqa_mini"
    ),
    tokenizers: Annotated[
        Path,
        typer.Option(
            help="Folder of the initial tokenizers decoupled, coupled and semi_decoupled."
        ),
    ] = RECIPE.parent / "tokenizer_ablation" / "tokenizers",
    work: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/roletriviaqa"),
    only: Annotated[str, typer.Option(help="Pattern of arms, such as 'g4*'.")] = "*",
    utterances: Annotated[int, typer.Option(help="Utterances of the corpus for stage 1.")] = 8000,
    limit: Annotated[int | None, typer.Option(help="Test questions per role and domain.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Three updates per stage.")] = False,
) -> None:
    """Train and evaluate every arm; the command is resumable.

    Example: `python recipes/roletriviaqa_mini/run.py --only 'g4*'`
    """
    run = Run(corpus, questions, tokenizers, work, utterances, limit, smoke)
    arms = [arm for arm in ARMS if fnmatch(arm.name, only)]
    if not arms:
        raise typer.BadParameter(f"--only '{only}': none of {', '.join(a.name for a in ARMS)}")
    for arm in arms:
        print(f"== {arm.name}", flush=True)
        try:
            run.evaluate(arm, run.export(arm, run.train(arm)))
        except InputError as error:
            raise typer.BadParameter(f"{arm.name}: {error}") from error
        print(write_tables(work), flush=True)


if __name__ == "__main__":
    app()
