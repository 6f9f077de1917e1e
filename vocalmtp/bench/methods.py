"""`vocalmtp bench --methods`: the speed of every head and decoding strategy side by side.

All models have random weights and the backbone, text track and tokenizer of one given model: the
time of a decode loop does not depend on the weights. The gain of drafts depends on how many are
accepted, which random weights do not show: a forward pass is timed, and its worth is given for no
accepted draft and for all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch

from vocalmtp.bench.speed import loop_seconds
from vocalmtp.decoding.options import Decoding
from vocalmtp.engines.cuda import store_in_bf16
from vocalmtp.engines.graphs import Programs
from vocalmtp.errors import InputError
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.statistics import median_range, single
from vocalmtp.heads.base import HEADS
from vocalmtp.heads.parallel import ParallelConfig
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tts import TTS

FRAMES = 36  # of audio, in a loop
PASSES = 12  # of a loop with drafts
GROUPINGS = (1, 2, 3)  # frames per step
BATCHES = (1, 8)
REPEATS = 5
NEXT_TOKEN = "next-token"
NEXT: dict[str, Any] = {
    "flat": True,
    "frames_per_step": 1,
    "head": {"name": "parallel", "kind": "linear"},
}
DRAFTS: dict[str, dict[str, Any]] = {
    "sequential": {"name": "sequential", "steps": 3},
    "recursive": {"name": "recursive", "steps": 3},
    "leap, stride 2": {"name": "leap", "steps": 2, "stride": 2},
    "parallel": {"name": "leap", "steps": 3, "stride": 1, "mapped": False},
}
DEPTH_DECODER = {  # of a size like the depth head's
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": None,
    "eos_token_id": None,
}
NOTES = (
    "All weights are random, in the sizes of the model: the time of a loop does not depend on them. "
    "Neither quality nor the acceptance of drafts can be read here.",
    "Next-token decoding runs in the same loop. Break-even: steps that a pass with drafts must give "
    "to be as fast as one without; all accepted: the largest possible gain.",
)
LOSSLESS = ("rejection", "joint", "seed")


@dataclass(frozen=True)
class Method:
    """A model of random weights, by its differences from the given one, and how it decodes."""

    name: str
    settings: dict[str, Any]
    decoding: Decoding = field(default_factory=Decoding)


def head_settings() -> dict[str, dict[str, Any]]:
    """Every registered head, the parallel one in all its kinds."""
    kinds = get_args(ParallelConfig.model_fields["kind"].annotation)
    heads: dict[str, dict[str, Any]] = {kind: {"name": "parallel", "kind": kind} for kind in kinds}
    heads |= {name: {"name": name} for name in HEADS if name != "parallel"}
    for name in ("depth_decoder", "patch_decoder"):
        heads[name] |= {"decoder": DEPTH_DECODER}
    return heads


def grouped_methods(streams: int, groupings: Sequence[int] = GROUPINGS) -> list[Method]:
    """Heads that emit several tokens from one hidden state, unverified, after the baseline."""
    methods = [Method(NEXT_TOKEN, NEXT)]
    for name, head in head_settings().items():
        for frames in groupings:
            settings = {"flat": False, "frames_per_step": frames, "head": head}
            methods.append(Method(f"{name}, {frames * streams} tokens", settings))
    for frames in groupings:
        settings = {"flat": False, "frames_per_step": list(GROUPINGS)}
        decoding = Decoding(tokens_per_step=frames * streams)
        methods.append(Method(f"elastic, {frames * streams} tokens", settings, decoding))
    return methods


def drafting_methods(frames: int, ways: Sequence[str] = LOSSLESS) -> list[Method]:
    """Draft heads over next-token decoding (0 frames per step) or grouped steps.

    Args:
        frames: frames per step.
        ways: lossless acceptances of the recursive head; the others have the first one alone.
    """
    base: dict[str, Any] = NEXT if frames == 0 else {"flat": False, "frames_per_step": frames}
    base = base | {"draft": {}}
    methods = [Method("no drafts", base)]
    for name, draft in DRAFTS.items():
        settings = base | {"draft": draft}
        for accept in (*(ways if name == "recursive" else ways[:1]), "all"):
            methods.append(Method(f"{name}, {accept}", settings, Decoding(drafts=3, accept=accept)))
    return methods


def run_methods(tts: TTS, quick: bool = False) -> Iterator[tuple[str, list[Metric]]]:
    """Measure every method, and yield each section with its metrics when it is complete.

    Args:
        tts: sizes, tokenizer and texts are taken from it.
        quick: one size of steps, one way of acceptance, batch 1, and two repetitions.
    """
    streams = len(tts.tokenizer.spec.streams)
    batches, repeats = (BATCHES[:1], 2) if quick else (BATCHES, REPEATS)
    grouped = grouped_methods(streams, GROUPINGS[-1:] if quick else GROUPINGS)
    heading = "Grouped emission (nothing is verified)"
    yield heading, grouped_metrics(tts, grouped, batches, repeats)
    for frames, base in ((0, "next-token decoding"), (GROUPINGS[-1], "grouped steps")):
        drafting = drafting_methods(frames, LOSSLESS[:1] if quick else LOSSLESS)
        heading = f"Drafting over {base} (3 drafts per pass)"
        yield heading, drafting_metrics(tts, drafting, batches, repeats)


def grouped_metrics(
    tts: TTS, methods: list[Method], batches: Sequence[int] = BATCHES, repeats: int = REPEATS
) -> list[Metric]:
    """Steps, and audio of all rows together, per second; also relative to next-token decoding."""
    models = build(tts, methods)
    steps = {name: other.model.layout.num_steps(FRAMES) for name, other in models.items()}
    metrics: dict[str, list[Metric]] = {}
    for name, other in models.items():
        count = single(sum(p.numel() for p in other.full_model.parameters()) / 1e6)
        metrics[name] = [Metric(name, "parameters", count, "M", 1)]
    for size in batches:
        taken = loop_seconds(models, size, steps, repeats)
        audio = size * FRAMES / tts.tokenizer.spec.frame_rate
        rates = {name: median_range([audio / t for t in times]) for name, times in taken.items()}
        for name, times in taken.items():
            audio_rate = rates[name]
            gain = audio_rate.value / rates[NEXT_TOKEN].value
            step_rate = median_range([steps[name] / t for t in times])
            metrics[name] += [
                Metric(name, f"steps/s, batch {size}", step_rate, "", 0),
                Metric(name, f"audio s/s, batch {size}", audio_rate, "", 1),
                Metric(name, f"over next-token, batch {size}", single(gain), "x", 1),
            ]
    return [metric for own in metrics.values() for metric in own]


def drafting_metrics(
    tts: TTS, methods: list[Method], batches: Sequence[int] = BATCHES, repeats: int = REPEATS
) -> list[Metric]:
    """Time of a forward pass, and its worth if no draft is accepted, and if all are."""
    models = build(tts, methods)
    metrics: dict[str, list[Metric]] = {name: [] for name in models}
    plain = methods[0].name
    for size in batches:
        taken = loop_seconds(models, size, dict.fromkeys(models, PASSES), repeats)
        passes = {name: median_range([t / PASSES for t in times]) for name, times in taken.items()}
        for name, seconds in passes.items():
            ratio = seconds.value / passes[plain].value
            gain = (1 + models[name].decoding.drafts) / ratio
            metrics[name] += [
                Metric(name, f"ms per pass, batch {size}", seconds.scaled(1000)),
                Metric(name, f"break-even steps per pass, batch {size}", single(ratio)),
                Metric(name, f"all accepted, batch {size}", single(gain), "x", 2),
            ]
    return [metric for own in metrics.values() for metric in own]


def build(tts: TTS, methods: list[Method]) -> dict[str, TTS]:
    """Models of random weights by the names of their methods; equal settings share one model."""
    models: dict[str, SpeechLM] = {}
    made = {}
    for method in methods:
        key = str(sorted(method.settings.items()))
        if key not in models:
            models[key] = random_model(tts, method.settings)
        made[method.name] = TTS(
            models[key],
            tts.tokenizer,
            tts.voices,
            tts.card,
            tts.encode_text,
            decoding=method.decoding,
        )
    return made


def random_model(tts: TTS, settings: dict[str, Any]) -> SpeechLM:
    """A model like that of `tts` except for `settings`, with random weights, on the same engine."""
    if not isinstance(tts.full_model, torch.nn.Module):
        raise InputError(
            "engine onnx: runs the graphs of one model alone; leave it out to compare methods",
            code="unsupported",
        )
    given: Any = tts.full_model
    config = given.config.to_dict()
    for key in ("architectures", "model_type", "transformers_version", "dtype"):
        config.pop(key, None)
    model = SpeechLM(SpeechLMConfig(**(config | {"objectives": {}} | settings))).eval()
    model = model.to(given.device)
    if given.programs is not None:
        if given.dtype == torch.bfloat16:
            store_in_bf16(model)
        model.use_programs(Programs(given.programs.capture, given.programs.compile_backbone))
    elif model.device == torch.device("cpu"):
        model.optimize_for_inference(given.convert)
    return model
