"""Our decode loop beside the one of Transformers, on the same random weights of a published model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
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
STEPS = 28  # of a run; four frames of a flat model
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NOTE = (
    "Weights are random, at the published sizes but for the number of layers. Greedy decoding after a "
    f"prompt of {PROMPT} tokens; Transformers' generate computes the logits of its whole vocabulary."
)


def run_upstream(
    name: str, layers: int | None, runtime: Mapping[str, Any], quick: bool = False
) -> list[Metric]:
    """Measure steps per second of both loops, in turns, by dtype of the weights and batch size.

    Args:
        name: of a family.
        layers: of the backbone; None: as many as published.
        runtime: device, engine, int8 and threads, arguments of `vocalmtp.load`.
        quick: one batch size and fewer repetitions.

    Raises:
        InputError: there is no such family, or the engine does not run its models.

    """
    family, repeats = in_transformers(FAMILIES[name]), 2 if quick else 5
    metrics: list[Metric] = []
    for label, dtype in DTYPES.items():
        upstream, ours = build_pair(family, layers, dtype, runtime)
        for batch in BATCHES[:1] if quick else BATCHES:
            runs = {"Transformers": run_generate(upstream, batch), "here": run_loop(ours, batch)}
            found = rates(runs, ours.device, repeats)
            title = f"steps/s, {label}, batch {batch}"
            metrics += [Metric(title, system, rate, "", 2) for system, rate in found.items()]
            gain = single(found["here"].value / found["Transformers"].value)
            metrics.append(Metric(f"{title}: gain", "here", gain, "x"))
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


def run_generate(model: Any, batch: int) -> Callable[[], None]:
    """A function that runs `generate` of Transformers for STEPS steps."""
    ids = torch.arange(PROMPT, device=model.device).expand(batch, -1)
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": STEPS}
    if hasattr(model, "depth_decoder"):
        settings["depth_decoder_do_sample"] = False
    else:
        settings["min_new_tokens"] = STEPS

    @torch.inference_mode()
    def run() -> None:
        model.generate(ids, attention_mask=torch.ones_like(ids), **settings)

    return run


def run_loop(model: SpeechLM, batch: int) -> Callable[[], None]:
    """A function that runs our loop for STEPS steps."""
    prompt = Prompt([Text(range(PROMPT)), Speech(None)], Sampler(greedy=True), max_steps=STEPS)

    def run() -> None:
        for _ in generate(model, [prompt] * batch, batch):
            pass

    return run


def rates(
    runs: Mapping[str, Callable[[], None]], device: torch.device, repeats: int
) -> dict[str, Estimate]:
    """Steps per second of every run, in turns; the first turn warms up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = seconds_now(device)
            run()
            if turn:
                taken[name].append(STEPS / (seconds_now(device) - start))
    return {name: median_range(values) for name, values in taken.items()}
