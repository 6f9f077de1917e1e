"""Speed of Qwen3-TTS here and in its authors' package, in turns, on the same random weights.

python -m venv qwen && qwen/bin/pip install qwen-tts==0.1.1
python recipes/published/qwen3_speed.py --authors qwen/bin/python

The authors' package needs another Transformers, so each side is a process of its own environment, which
waits while the other one runs. Sizes are those of 0.6B CustomVoice, but for the layers (--layers) and a
small table of text, of which a position reads one row. Greedy decoding, one thread.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

TESTS = Path(__file__).parents[2] / "tests"
TEXT, VOICE, FRAMES, REPEATS = "The birch canoe slid on the smooth planks.", "ryan", 8, 2
TURN = "<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>assistant\n"
TALKER = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
Run = Callable[[list[int], int], list[list[int]]]  # prompt ids and batch size to codes [T, Q]


def write_folder(folder: Path, layers: int, dtype: str) -> list[int]:
    """Write all but the weights of a model; returns the ids of its prompt."""
    sys.path.insert(0, str(TESTS))
    from helpers.qwen3_tts import GOLDEN, save_codec, save_vocabulary, write_json

    from vocalmtp.published.folder import PublishedFolder

    config = GOLDEN["custom_voice"]["config"] | {"tts_model_size": "0b6", "dtype": dtype}
    talker = config["talker_config"]
    talker |= TALKER | {"num_hidden_layers": layers, "text_hidden_size": 2048}
    talker["rope_scaling"]["mrope_section"] = [24, 20, 20]
    talker["code_predictor_config"] |= TALKER | {"num_hidden_layers": 5}
    write_json(folder / "config.json", config)
    save_vocabulary(folder)
    save_codec(folder / "speech_tokenizer")
    return PublishedFolder.open(folder).encode_marked(TURN.format(TEXT))


def authors_side(folder: Path) -> Run:
    """Build the authors' model, and write its weights."""
    import torch
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Qwen3TTSConfig(**json.loads((folder / "config.json").read_text()))
    for part in (config, config.talker_config, config.talker_config.code_predictor_config):
        part._attn_implementation = "sdpa"
    model = Qwen3TTSForConditionalGeneration(config).to(config.dtype).eval()
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")

    def run(ids: list[int], batch: int) -> list[list[int]]:
        codes, _ = model.generate(
            input_ids=[torch.tensor([ids])] * batch,
            instruct_ids=[None] * batch,
            languages=["Auto"] * batch,
            speakers=[VOICE] * batch,
            non_streaming_mode=True,
            do_sample=False,
            subtalker_dosample=False,
            repetition_penalty=1.05,
            max_new_tokens=FRAMES + 1,
        )
        return codes[0].tolist()

    return run


def our_side(folder: Path) -> Run:
    """Load the model here."""
    import vocalmtp
    from vocalmtp.decoding.generate import collect_utterances, generate
    from vocalmtp.tts import SynthesisRequest

    tts = vocalmtp.load(folder, threads=1)
    request = SynthesisRequest(text=TEXT, voice=VOICE, sampling={"temperature": 0.0})
    prompt = replace(tts.prompt(tts.plan(request)[0]), max_steps=FRAMES)

    def run(ids: list[int], batch: int) -> list[list[int]]:
        steps = generate(tts.model, [prompt] * batch, batch)
        made = dict(collect_utterances(steps, tts.model.layout))
        return made[0].codes.T.tolist()

    return run


SIDES = {"authors": authors_side, "here": our_side}


def serve(run: Run) -> None:
    """Answer every request on standard input with times and codes."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        codes = run(**json.loads(line))
        spent = {"s": time.perf_counter() - wall, "processor s": time.process_time() - processor}
        print(json.dumps({"spent": spent, "codes": codes}), flush=True)


def read_answer(side: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next answer of a side; packages may print other lines before it."""
    assert side.stdout is not None
    for line in side.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"the side ended; its command was: {' '.join(map(str, side.args))}")


def compare(
    sides: dict[str, subprocess.Popen[str]], ids: list[int], batch: int, dtype: str
) -> None:
    """Print medians of both sides in turns; the first turn warms up."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(REPEATS + 1):
        for name, side in sides.items():
            assert side.stdin is not None
            print(json.dumps({"ids": ids, "batch": batch}), file=side.stdin, flush=True)
            answers[name].append(read_answer(side))
    codes = {name: found[-1]["codes"] for name, found in answers.items()}
    same = "equal" if codes["here"] == codes["authors"] else "other"
    print(
        f"{dtype}, batch {batch}: {len(codes['authors'])} and {len(codes['here'])} frames, {same}"
    )
    for unit in ("s", "processor s"):
        spent = {n: median(a["spent"][unit] for a in found[1:]) for n, found in answers.items()}
        rates = {name: batch * len(codes[name]) / seconds for name, seconds in spent.items()}
        shown = ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
        print(f"  frames/{unit}: {shown}: {rates['here'] / rates['authors']:.2f} x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--authors", default=sys.executable, help="Python with qwen-tts.")
    parser.add_argument("--layers", type=int, default=4, help="Of the talker; published: 28.")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--side", nargs=2, help="Used for the processes of the two sides.")
    options = parser.parse_args()
    if options.side:
        name, folder = options.side
        serve(SIDES[name](Path(folder)))
        return
    with TemporaryDirectory() as made:
        ids, sides = write_folder(Path(made), options.layers, options.dtype), {}
        for name, python in (("authors", options.authors), ("here", sys.executable)):
            command = [python, __file__, "--side", name, made]
            pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            sides[name] = subprocess.Popen(command, **pipes)
            read_answer(sides[name])  # the authors' side writes the weights
        for batch in options.batches:
            compare(sides, ids, batch, options.dtype)
        for side in sides.values():
            side.communicate()  # closes its standard input, which ends it


if __name__ == "__main__":
    main()
