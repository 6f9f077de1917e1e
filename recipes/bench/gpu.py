"""Speed of decoding on a GPU: grouped tokens over next-token decoding, drafts, share of the bandwidth.

All models have random weights in bfloat16 and never end; every method of a shape runs under the same
engine. Rows are written as they are measured: the same command goes on where it was interrupted, and
a row that fails is recorded with its reason.

    python recipes/bench/gpu.py                         # ten minutes at most
    python recipes/bench/gpu.py --device cpu --quick    # the same path at tiny sizes
"""

import argparse
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vocalmtp.bench.speed import hardware, seconds_now
from vocalmtp.decoding.generate import Prompt, open_stepper, prefill_prompts
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.engines.cuda import store_in_bf16
from vocalmtp.engines.graphs import Programs
from vocalmtp.evaluation.statistics import median_range
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import reason
from vocalmtp.io.run_folder import JsonlStore
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.prompts import Text
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tokenizers.neural import NeuralTokenizer, NeuralTokenizerConfig

HERE = Path(__file__).parent
IDS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
# The table of text tokens is kept small: it is read for the prompt alone.
SHAPES: dict[str, dict[str, Any]] = {
    "mini (17 M)": {
        "model_type": "llama",
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
    },
    "Qwen2.5-0.5B": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "CSM-1B (Llama-3.2-1B)": {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
TINY = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
STREAMS = [{"name": name, "size": 1024} for name in ("content", "prosody", "detail")]
FRAME_RATE = 25.0
NEXT_TOKEN = "next-token"
METHODS: dict[str, dict[str, Any]] = {
    NEXT_TOKEN: {"flat": True, "head": {"name": "parallel", "kind": "linear"}},
    "K = 3": {"frames_per_step": 1},
    "K = 6": {"frames_per_step": 2},
    "K = 12": {"frames_per_step": 4},
    "K = 12, depth head": {"frames_per_step": 4, "head": {"name": "depth"}},
}
DRAFT = {"name": "recursive", "steps": 3, "heads": 2}
PROMPT = 32  # text tokens
COPIED = 2**30  # bytes, for the bandwidth


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    shape: str
    method: str
    batch: int
    mode: str  # eager, or one of vocalmtp.engines.graphs.MODES
    drafts: int = 0

    @property
    def id(self) -> str:
        drafts = f", {self.drafts} drafts" if self.drafts else ""
        return f"{self.shape} | {self.method}{drafts} | batch {self.batch} | {self.mode}"


@dataclass
class Plan:
    """What is measured, in the order of importance."""

    shapes: dict[str, dict[str, Any]]
    batches: tuple[int, ...] = (1, 16, 64)
    passes: int = 100
    repeats: int = 3
    mode: str = "graph"
    extra_modes: tuple[str, ...] = ("compile+graph", "compile", "none", "eager")
    codec: dict[str, Any] = field(default_factory=dict)

    def cases(self) -> Iterator[Case]:
        grouped = [name for name in METHODS if "depth" not in name]
        for batch in self.batches:
            for shape in self.shapes:
                yield from (Case(shape, method, batch, self.mode) for method in grouped)
        for shape in self.shapes:
            for drafting in (NEXT_TOKEN, "K = 12"):
                yield Case(shape, drafting, 1, self.mode, drafts=3)
            yield Case(shape, "K = 12, depth head", 1, self.mode)
        for mode in self.extra_modes:
            for shape in self.shapes:
                yield from (Case(shape, method, 1, mode) for method in (NEXT_TOKEN, "K = 12"))


def build(plan: Plan, case: Case, device: torch.device) -> SpeechLM:
    """A model of random weights that never ends, ready to decode."""
    settings = METHODS[case.method] | ({"draft": DRAFT} if case.drafts else {})
    config = SpeechLMConfig(
        backbone=plan.shapes[case.shape]
        | IDS
        | {"vocab_size": 256, "max_position_embeddings": 8192},
        streams=STREAMS,
        text="prompt",
        speaker_dim=0,
        alphabet="",
        tokenizer={"name": "none", "hash": "0", "frame_rate": FRAME_RATE},
        **settings,
    )
    with device:
        model = SpeechLM(config).eval().to(device)
    slot = model.layout.slots[0]
    with torch.no_grad():
        model.head.projection.free[str(model.head.projection.part[0])].bias[slot.end_id] = -1e4
    store_in_bf16(model)
    if case.mode != "eager":
        model.use_programs(Programs.of(case.mode))
    return model


def prompts(batch: int, steps: int) -> list[Prompt]:
    text = Text([i % 256 for i in range(PROMPT)])
    return [Prompt([text], Sampler(greedy=True), row, steps) for row in range(batch)]


def step_bytes(model: SpeechLM, batch: int, positions: float) -> float:
    """Bytes that a pass has to read: the weights of backbone and head, and the cache of all rows."""
    parts = (model.backbone.base_model.layers, model.head)
    weights = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
    config = model.backbone.config
    size = config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * size * 2  # bytes, bfloat16
    return weights + batch * positions * kept


@torch.inference_mode()
def measure(plan: Plan, case: Case, device: torch.device, bandwidth: float) -> dict[str, Any]:
    """Build the model of a case and time its passes."""
    begun = time.perf_counter()
    model = build(plan, case, device)
    total = (plan.repeats + 1) * plan.passes
    decoding = Decoding(drafts=case.drafts, accept="seed" if case.drafts else Decoding.accept)
    strategy = decoding.strategy(DecodeStatistics())
    stepper = open_stepper(model, strategy)
    stepper.add(
        prefill_prompts(model, prompts(case.batch, total * (1 + case.drafts) + 8), strategy)
    )
    for _ in range(plan.passes):  # programs are captured
        stepper.next()
    taken, steps = [], 0
    for _ in range(plan.repeats):
        start = seconds_now(device)
        for _ in range(plan.passes):
            steps += int(stepper.next().counts.sum())
        taken.append((seconds_now(device) - start) / plan.passes)
    seconds = median_range(taken)
    frames = 1 / len(STREAMS) if model.layout.flat else model.layout.frames_per_step
    per_pass = steps / (plan.repeats * plan.passes)  # of all rows
    positions = PROMPT + total * (steps / (plan.repeats * plan.passes * case.batch)) / 2
    needed = step_bytes(model, case.batch, positions)
    return {
        "milliseconds": 1000 * seconds.value,
        "low": 1000 * seconds.low,
        "high": 1000 * seconds.high,
        "steps_per_pass": per_pass / case.batch,
        "audio": per_pass * frames / FRAME_RATE / seconds.value,
        "roofline": needed / bandwidth / seconds.value,
        "set_up": time.perf_counter() - begun,
    }


@torch.inference_mode()
def first_audio(plan: Plan, shape: str, device: torch.device) -> dict[str, Any]:
    """Milliseconds from the prompt to the samples of the first step, K = 12, batch 1, warm."""
    model = build(plan, Case(shape, "K = 12", 1, plan.mode), device)
    tokenizer = NeuralTokenizer(NeuralTokenizerConfig(name="bench", **plan.codec)).eval().to(device)
    spec = tokenizer.spec
    codes = torch.zeros(1, len(spec.streams), model.layout.frames_per_step, dtype=torch.long)
    speaker = torch.zeros(1, spec.speaker_dim or 1)
    strategy = Decoding().strategy(DecodeStatistics())
    taken = []
    for turn in range(plan.repeats + 3):
        start = seconds_now(device)
        stepper = open_stepper(model, strategy)
        stepper.add(prefill_prompts(model, prompts(1, 64), strategy))
        stepper.next()
        tokenizer.stream(speaker.to(device)).push(codes).cpu()
        if turn >= 3:  # warm
            taken.append(1000 * (time.perf_counter() - start))
        stepper.keep([])
    found = median_range(taken)
    return {"milliseconds": found.value, "low": found.low, "high": found.high}


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Bytes per second that a copy reads and writes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target, taken = torch.empty_like(source), []
    for _ in range(10):
        start = seconds_now(device)
        target.copy_(source)
        taken.append(seconds_now(device) - start)
    return 2 * size / median_range(taken[2:]).value


def table(rows: dict[str, dict[str, Any]], facts: list[str]) -> str:
    """The measured rows as Markdown."""
    lines = ["# Decoding on a GPU", "", *facts, ""]
    lines += [
        "| shape | method | batch | execution | ms per pass | steps per pass | audio s/s | over "
    ]
    lines[-1] += "next-token | share of the bandwidth |"
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        if name.startswith("first audio") or name == "bandwidth":
            continue
        shape, method, batch, mode = name.split(" | ")
        cells = [shape, method, batch.removeprefix("batch "), mode]
        if "error" in row:
            lines.append(f"| {' | '.join(cells)} | failed: {row['error']} | | | | |")
            continue
        base = rows.get(f"{shape} | {NEXT_TOKEN} | {batch} | {mode}", {}).get("audio")
        over = f"{row['audio'] / base:.1f} x" if base else ""
        spread = f"{row['milliseconds']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        cells += [spread, f"{row['steps_per_pass']:.2f}", f"{row['audio']:.1f}", over]
        lines.append(f"| {' | '.join(cells)} | {row['roofline']:.0%} |")
    lines += ["", "| first audio, K = 12, batch 1 | ms |", "|---|---|"]
    for name, row in rows.items():
        if name.startswith("first audio"):
            value = (
                row.get("error")
                or f"{row['milliseconds']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
            )
            lines.append(f"| {name.partition(': ')[2]} | {value} |")
    return "\n".join(lines) + "\n"


def attempt(store: JsonlStore, name: str, run: Any) -> None:
    """Measure a row unless it is there; a failure is a row."""
    if store.get(name) is not None and "error" not in store.rows[name]:
        return
    start = time.perf_counter()
    try:
        row = run()
    except Exception as error:  # whatever a device makes of it
        row = {"error": reason(error).replace("|", "/").replace("\n", " ")}
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    store.append({"id": name, **row})
    figure = row.get("error") or f"{row.get('milliseconds', 0):.3f} ms"
    print(f"{time.perf_counter() - start:6.1f} s  {name}: {figure}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--seconds", type=float, default=560, help="no row begins later")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table")
    options = parser.parse_args()
    device = torch.device(options.device)
    plan = Plan(SHAPES)
    if options.quick:
        sizes = {"encoder_dim": 16, "decoder_dim": 16, "frame_dim": 16, "encoder_layers": 1}
        plan = Plan({"tiny": TINY}, (1, 2), 4, 2, "none", ("eager", "graph"), sizes)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    place = options.output / f"gpu-{card.lower().replace(' ', '-')}"
    store, begun = JsonlStore(place.with_suffix(".jsonl")), time.perf_counter()
    size = COPIED if device.type == "cuda" else 2**22
    attempt(store, "bandwidth", lambda: {"bytes": copy_bandwidth(device, size)})
    bandwidth = store.rows["bandwidth"].get("bytes") or float("nan")
    work: list[tuple[str, Any]] = [
        (case.id, lambda case=case: measure(plan, case, device, bandwidth)) for case in plan.cases()
    ]
    for shape in reversed(plan.shapes):
        audio = (f"first audio: {shape}", lambda shape=shape: first_audio(plan, shape, device))
        work.insert(len(plan.batches) * 4, audio)
    left = 0
    for name, run in work:
        if time.perf_counter() - begun > options.seconds:
            left += 1
            continue
        attempt(store, name, run)
    facts = [
        f"{hardware(options.device)}. Copy bandwidth {bandwidth / 1e9:.0f} GB/s. Random weights, "
        f"bfloat16; every number is the median of {plan.repeats} runs of {plan.passes} passes.",
        f"{left} rows were not measured for lack of time." if left else "",
    ]
    with atomic_path(place.with_suffix(".md")) as partial:
        partial.write_text(table(store.rows, facts), encoding="utf-8")
    print(place.with_suffix(".md"))


if __name__ == "__main__":
    main()
