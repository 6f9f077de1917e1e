"""Run the stages of recipes/kat, one after the other, and write their report.

    python recipes/kat/run.py --work kat
    python recipes/kat/run.py --work kat --only cold_start srpo --seeds 3

The same command resumes: finished models and measured figures are kept. `--smoke` does everything at a
size that only shows that it works.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import agents
import arithmetic
from dual import DualRecipe, balance, read_rows, tag_questions, write_rows
from evaluate import FREE, evaluate, evaluate_textbook
from report import write_report
from vocalmtp.config import load_yaml, parse
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.io.run_folder import JsonlStore
from vocalmtp.training.recipe import TextLMRecipe
from vocalmtp.training.rl.recipe import RLRecipe
from vocalmtp.training.run_files import last_logged
from vocalmtp.training.text_lm import train_text_lm

RECIPE = Path(__file__).parent
DATA = Path("data")
DISTILLATION = ("student", "distilled")
TEXTBOOK = ("teacher", *DISTILLATION)  # stages that are trained on it
REINFORCEMENT = ("srpo", "no_judge", "grpo", "degrpo")
STAGES = ("problems", "teacher", *DISTILLATION, "dual", "cold_start", *REINFORCEMENT)
MODES = (FREE, "off", "on")  # in which decisions are measured
ASKED = ("asked off", "asked on")  # and of these stages too:
OBEDIENT = ("cold_start", "srpo")
SIZES = {
    False: {"train": 120_000, "test": 600, "rl": 6000},
    True: {"train": 600, "test": 12, "rl": 12},  # of a smoke run
}
SMOKE = {
    "backbone": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
    "optim": {"max_steps": 3, "log_every": 1, "eval_every": 3, "save_every": 3},
}
SMOKE_DUAL = {"questions": 24, "takes": 2}
SMOKE_RL = {"group_size": 4, "questions_per_step": 1, "max_tokens": 24, "forced": 1}


def main() -> None:
    """Run the stages that the command line selects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("kat"))
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--seeds", type=int, default=1, help="of distillation and reinforcement")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)
    for stage in options.only:
        if stage == "problems":
            make_problems(options.smoke)
        elif stage == "dual":
            make_dual_data(options.smoke)
        else:
            repeated = stage in (*DISTILLATION, *REINFORCEMENT)
            for seed in range(options.seeds if repeated else 1):
                measure(stage, train(stage, seed, options.smoke), seed)
        write_report(Path())


def make_problems(smoke: bool) -> None:
    """Write problems and the tokenizer, unless they exist."""
    if (DATA / "tokenizer").is_dir():
        return
    arithmetic.write_problems(DATA, SIZES[smoke]["train"], SIZES[smoke]["test"])
    arithmetic.make_tokenizer().save_pretrained(DATA / "tokenizer")


def make_dual_data(smoke: bool) -> None:
    """Let the agents answer questions, and write the data of cold start and reinforcement."""
    if (DATA / "cold_start.jsonl").is_file():
        return
    data = load_yaml(RECIPE / "dual.yaml")
    recipe = parse(DualRecipe, data | SMOKE_DUAL if smoke else data, "dual")
    rows = read_rows(DATA / "train.jsonl")
    write_rows(DATA / "train_rl.jsonl", rows[-SIZES[smoke]["rl"] :])
    rows = rows[: recipe.questions]
    tagged = tag_questions(recipe, rows, JsonlStore(DATA / "attempts.jsonl"))
    write_rows(DATA / "tags.jsonl", [vars(question) for question in tagged])
    # The untrained model of a smoke run is never right: its questions stand in for those kept.
    kept = balance(tagged, recipe.thinking) or [
        agents.Tagged(r["prompt"], r["answer"], "off", "", (0, 0)) for r in rows
    ]
    made = agents.cold_start_rows(kept, recipe.intents, recipe.others)
    write_rows(DATA / "cold_start.jsonl", made)


def train(stage: str, seed: int, smoke: bool) -> Path:
    """Train the model of a stage with a seed, unless it exists; returns its folder."""
    data = load_yaml(RECIPE / f"{stage}.yaml")
    data["optim"] = data["optim"] | {"seed": seed}
    data["output"] += f"_{seed}" if seed else ""
    if smoke:
        small = SMOKE if "backbone" in data else {"optim": SMOKE["optim"]}
        small = small | SMOKE_RL if data["recipe"] == "rl" else small
        data |= {k: data[k] | v if isinstance(v, dict) else v for k, v in small.items()}
    if data["recipe"] == "rl":
        data["optim"].pop("eval_every", None)
    output = Path(data["output"])
    if (output / "model.safetensors").is_file():
        return output
    if data["recipe"] == "rl":
        from vocalmtp.training.rl.trainer import train_rl

        return train_rl(parse(RLRecipe, data, stage))
    return train_text_lm(parse(TextLMRecipe, data, stage))


def measure(stage: str, folder: Path, seed: int) -> None:
    """Measure a trained model, unless its figures exist."""
    file = Path("figures") / f"{stage}_{seed}.json"
    if file.is_file():
        return
    figures: dict[str, Any] = {"stage": stage, "seed": seed}
    if stage in TEXTBOOK:
        figures["loss"] = last_logged(folder, "eval_text.0")
        figures["levels"] = evaluate_textbook(folder, DATA / "test.jsonl")
        if stage in DISTILLATION:
            figures["drafting"] = drafting(folder)
    else:
        modes = (*MODES, *ASKED) if stage in OBEDIENT else MODES
        figures["modes"] = evaluate(folder, DATA / "test.jsonl", modes)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def drafting(folder: Path) -> dict[str, Any]:
    """Tokens of a forward pass with drafts, on held-out solutions with steps; greedy."""
    generator, strategy = TextGenerator.load(folder), Speculative(2)
    rows = [row for row in read_rows(DATA / "textbook_valid.jsonl") if "<think>" in row["answer"]]
    requests = [GenerationRequest(text=f"{row['prompt']} <think>") for row in rows[:60]]
    for _ in generator.generate(requests, Sampler(greedy=True), max_tokens=64, strategy=strategy):
        pass
    found = strategy.statistics.summary()
    return {"tokens_per_forward": found["tokens_per_forward"], "acceptance": found["acceptance"]}


if __name__ == "__main__":
    main()
