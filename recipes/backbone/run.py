"""Link SmolLM2-135M-Instruct to a speech tokenizer, in both wirings, and measure what comes of it.

    vocalmtp get smollm2-135m whisper-tiny.en
    python recipes/backbone/run.py --manifest corpus --codes codes --work backbone

The same command resumes: trained models and finished measurements are kept.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from forgetting import measure_text
from report import write_report
from speech import Setting, measure_reading, measure_speech
from vocalmtp.config import load_yaml, merge, parse
from vocalmtp.hub import PRETRAINED
from vocalmtp.io.atomic import atomic_folder, atomic_path
from vocalmtp.model_card import read_card
from vocalmtp.models.checkpoint import find_source, load_text_tokenizer
from vocalmtp.training.export import export_model
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.train import train

RECIPES = Path(__file__).parent
TEXT_LM, RANDOM = "smollm2-135m", "smollm2-random"
ROWS = (
    "from_mini",
    "base",
    "inline",
    "lora",
    "track_12",
    "decoder_1",
    "mini_12",
    "random",
    "decoder_4",
    "vocalnet",
)
TEXT_ROWS = ("from_mini", "lora", "inline")  # those whose text LM is compared with the original
READING_ROWS = ("from_mini", "base", "lora", "inline")  # text in the prompt and on the track
UNTRAINED = "mini"  # the bundled model, for comparison
VOICE = "heart"
ORIGIN = "synthetic: hibari (recipes/corpus)"
SMOKE = {"optim": {"max_steps": 4, "log_every": 1}}


def main() -> None:
    """Run all steps that are not done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True, help="a corpus or its manifest")
    parser.add_argument(
        "--codes", type=Path, required=True, help="its codes, of the tokenizer mini"
    )
    parser.add_argument("--work", type=Path, default=Path("backbone"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--seconds", type=float, help="of every training, instead of the recipes'")
    parser.add_argument("--sentences", type=int, default=30, help="that are spoken and judged")
    parser.add_argument("--smoke", action="store_true", help="four updates of every row")
    arguments = parser.parse_args()
    manifest, codes = arguments.manifest.resolve(), arguments.codes.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.work)
    torch.set_num_threads(1)
    setting = Setting(manifest, codes, VOICE, 2 if arguments.smoke else arguments.sentences)
    changes: dict[str, Any] = {"data": {"shards": str(codes)}}
    if arguments.seconds is not None:
        changes["optim"] = {"max_seconds": arguments.seconds}
    if arguments.smoke:
        changes = merge(changes, SMOKE)
    keep(f"speech/{UNTRAINED}", lambda: measure_speech(UNTRAINED, setting))
    keep("text/original", lambda: measure_text(TEXT_LM))
    for name in arguments.rows:
        recipe = parse(SpeechLMRecipe, merge(load_yaml(RECIPES / f"{name}.yaml"), changes), name)
        if name == "random":
            write_random()
        folder = build(name, recipe, setting)
        for modules in range(number_of_modules(recipe) + 1):  # 0: they do not speak
            keep(
                f"speech/{name}" + (f"_{modules + 1}" if modules else ""),
                lambda f=folder, r=recipe, m=modules: measure_speech(str(f), setting, r, m),
            )
        if name in READING_ROWS:
            keep(f"reading/{name}", lambda f=folder: measure_reading(str(f), setting))
        if name in TEXT_ROWS:
            keep(f"text/{name}", lambda r=recipe: measure_text(r.output))
        write_report(Path())


def number_of_modules(recipe: SpeechLMRecipe) -> int:
    """Modules of a row that predict further steps."""
    draft = recipe.model.draft if recipe.model is not None else {}
    return int(draft.get("steps", 0))


def build(name: str, recipe: SpeechLMRecipe, setting: Setting) -> Path:
    """Train a row and export it, unless both are done; return the model's folder."""
    folder = Path("models") / name
    if not (Path(recipe.output) / "config.json").is_file():
        train(recipe)
    if not folder.is_dir():
        card = {key: read_card(PRETRAINED / "mini")[key] for key in ("sampling", "licence")}
        export_model(
            recipe.output,
            PRETRAINED / "mini" / "tokenizer",
            folder,
            manifest=setting.manifest,
            origins={VOICE: ORIGIN},
            card=card | {"default_voice": VOICE, "speaker_conditioning": "decoder"},
        )
    return folder


def write_random() -> None:
    """Write the shape of the text LM with random weights, and its tokenizer."""
    if Path(RANDOM).is_dir():
        return
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(find_source(TEXT_LM, "model"))
    )
    with atomic_folder(RANDOM) as folder:
        model.save_pretrained(folder)
        load_text_tokenizer(TEXT_LM).save_pretrained(folder)


def keep(name: str, measure: Any) -> None:
    """Write what `measure` returns to figures/NAME.json, unless that exists."""
    file = Path("figures") / f"{name}.json"
    if file.is_file():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    found = measure()
    with atomic_path(file) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
