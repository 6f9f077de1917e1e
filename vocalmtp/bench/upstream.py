"""Our decode loop beside the one of Transformers, on the same random weights of a published model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import process_time
from typing import Any

import torch

from vocalmtp.bench.speed import seconds_now
from vocalmtp.decoding.generate import Prompt, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.engines.base import AUTO, EngineSettings, find_engine
from vocalmtp.engines.device import float32_on_cpu, move
from vocalmtp.engines.eager import TorchEngine
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.statistics import Estimate, median_range, single
from vocalmtp.models.prompts import Speech, Text
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.published.base import FAMILIES, TransformersFamily, in_transformers
from vocalmtp.tokenizers import find_card

BATCHES = (1, 8)
PROMPT = 32  # text ids
STEPS = 28  # of a run with a token a step; four frames of Orpheus
FRAMES = 4  # of a run with a frame a step
PROCESSOR = "processor s"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NOTE = (
    "Weights are random, at the published sizes but for the number of layers. Greedy decoding after a "
    f"prompt of {PROMPT} tokens; Transformers' generate computes the logits of its whole vocabulary."
)


def run_upstream(
    name: str,
    layers: int | None,
    runtime: Mapping[str, Any],
    quick: bool = False,
    batch: int | None = None,
) -> list[Metric]:
    """Measure the speed of both loops, in turns, by dtype of the weights and batch size.

    Args:
        name: of a family.
        layers: of the backbone; None: as many as published.
        runtime: device, engine, int8 and threads, arguments of `vocalmtp.load`.
        quick: one batch size and fewer repetitions.
        batch: rows that are decoded together; None: BATCHES, or the first of them if `quick`.

    Raises:
        InputError: there is no such family, or the engine does not run its models.

    """
    family, repeats = in_transformers(FAMILIES[name]), 2 if quick else 5
    batches = (BATCHES[:1] if quick else BATCHES) if batch is None else (batch,)
    metrics: list[Metric] = []
    for label, dtype in DTYPES.items():
        upstream, ours = build_pair(family, layers, dtype, runtime)
        for rows in batches:
            steps = STEPS if ours.layout.tokens_per_step == 1 else FRAMES
            runs = {
                "Transformers": run_generate(upstream, rows, steps),
                "here": run_loop(ours, rows, steps),
            }
            for unit, found in rates(runs, steps, ours.device, repeats).items():
                title = f"steps/{unit}, {label}, batch {rows}"
                metrics += [Metric(title, system, rate, "", 2) for system, rate in found.items()]
                gain = single(found["here"].value / found["Transformers"].value)
                metrics.append(Metric(f"{title}: gain", "here", gain, "x"))
        del upstream, ours, runs  # before the next ones are built
    return metrics


def build_pair(
    family: TransformersFamily, layers: int | None, dtype: torch.dtype, runtime: Mapping[str, Any]
) -> tuple[Any, SpeechLM]:
    """Build a model of Transformers with random weights, and the same one for our loop."""
    engine: Any = find_engine(runtime.get("engine", AUTO), runtime.get("device", "cpu"))
    settings = EngineSettings(
        device=runtime.get("device", "cpu"),
        threads=runtime.get("threads"),
        int8=runtime.get("int8"),
    )
    with float32_on_cpu():
        torch.manual_seed(0)
        upstream = family.random_model(layers).to(dtype).eval()
        ours = family.convert(_copied(upstream), find_card(family.card.tokenizer).spec())
        if isinstance(engine, TorchEngine):
            place = engine.place(settings.device)
            move(upstream, place)
            move(ours, place)
            half = dtype != torch.float32
            engine.optimize(ours, replace(settings, half=half))
    return upstream, ours


def _copied(model: Any) -> Any:
    """Return a copy of a model whose weights are shared until an engine replaces modules."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        copied = type(model)(model.config)
    copied.load_state_dict(model.state_dict(), assign=True)
    copied.tie_weights()
    return copied.eval()


def run_generate(model: Any, batch: int, steps: int) -> Callable[[], None]:
    """A function that runs `generate` of Transformers for a number of steps."""
    ids = torch.arange(PROMPT, device=model.device).expand(batch, -1)
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": steps}
    if hasattr(model, "depth_decoder"):
        settings["depth_decoder_do_sample"] = False
    else:
        settings["min_new_tokens"] = steps

    @torch.inference_mode()
    def run() -> None:
        model.generate(ids, attention_mask=torch.ones_like(ids), **settings)

    return run


def run_loop(model: SpeechLM, batch: int, steps: int) -> Callable[[], None]:
    """A function that runs our loop for a number of steps."""
    prompt = Prompt([Text(range(PROMPT)), Speech(None)], Sampler(greedy=True), max_steps=steps)

    def run() -> None:
        for _ in generate(model, [prompt] * batch, batch):
            pass

    return run


def rates(
    runs: Mapping[str, Callable[[], None]], steps: int, device: torch.device, repeats: int
) -> dict[str, dict[str, Estimate]]:
    """Steps of every run, in turns, per second and, on a CPU, per second of processor time.

    The first turn warms up. Processor time leaves out the turns of other processes, which share the
    memory all the same.
    """
    units = ("s",) if device.type == "cuda" else ("s", PROCESSOR)
    taken = {unit: {name: list[float]() for name in runs} for unit in units}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = {"s": seconds_now(device), PROCESSOR: process_time()}
            run()
            end = {"s": seconds_now(device), PROCESSOR: process_time()}
            for unit in units if turn else ():
                taken[unit][name].append(steps / (end[unit] - start[unit]))
    return {
        unit: {name: median_range(values) for name, values in own.items()}
        for unit, own in taken.items()
    }
