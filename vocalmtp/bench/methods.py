"""`vocalmtp bench --methods`: the speed of every head and strategy side by side, in one run.

All models have random weights and the backbone, text track and tokenizer of one given model: a loop
that is told how far to go takes as long whatever it says. What drafts would bring depends on how
many are kept, which random weights do not tell: a pass is timed, and its worth given for none kept
and for all.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from vocalmtp.bench.speed import loop_seconds
from vocalmtp.decoding.options import Decoding
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.statistics import Estimate, once, spread
from vocalmtp.heads.base import HEADS
from vocalmtp.heads.parallel import ParallelConfig
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tts import TTS

FRAMES = 36  # of audio that a loop is run for
PASSES = 12  # of a loop with drafts
GROUPINGS = (1, 2, 3)  # frames a step
BATCHES = (1, 8)
NEXT_TOKEN = "next-token"
NEXT = {"flat": True, "frames_per_step": 1, "head": {"name": "parallel", "kind": "linear"}}
DRAFTS: dict[str, dict[str, Any]] = {
    "sequential": {"name": "sequential", "steps": 3},
    "recursive": {"name": "recursive", "steps": 3},
    "leap, stride 2": {"name": "leap", "steps": 2, "stride": 2},
    "parallel": {"name": "leap", "steps": 3, "stride": 1, "mapped": False},
}
NOTES = (
    "All weights are random, in the sizes of the model: a loop that is told how far to go takes as "
    "long whatever it says. Nothing of quality, or of how many drafts are kept, can be read here.",
    "Next-token decoding runs in the same loop. A pass with three drafts over one without is how "
    "many steps it must give for them to pay; 'all kept' is the most that they can bring.",
)
LOSSLESS = ("rejection", "joint", "seed")


@dataclass(frozen=True)
class Method:
    """A model of random weights, by what differs from the given one, and how it decodes."""

    name: str
    settings: dict[str, Any]
    decoding: Decoding = field(default_factory=Decoding)


def head_settings() -> dict[str, dict[str, Any]]:
    """Every registered head, the parallel one in all its kinds."""
    kinds = ParallelConfig.model_fields["kind"].annotation.__args__
    heads = {kind: {"name": "parallel", "kind": kind} for kind in kinds}
    return heads | {name: {"name": name} for name in HEADS if name != "parallel"}


def grouped_methods(streams: int) -> list[Method]:
    """What emits several tokens from one hidden state, unverified; the first is the base line."""
    methods = [Method(NEXT_TOKEN, NEXT)]
    for name, head in head_settings().items():
        for frames in GROUPINGS:
            settings = {"flat": False, "frames_per_step": frames, "head": head}
            methods.append(Method(f"{name}, {frames * streams} tokens", settings))
    for frames in GROUPINGS:
        settings = {"flat": False, "frames_per_step": list(GROUPINGS)}
        decoding = Decoding(tokens_per_step=frames * streams)
        methods.append(Method(f"elastic, {frames * streams} tokens", settings, decoding))
    return methods


def drafting_methods(frames: int) -> list[Method]:
    """What guesses later steps of next-token decoding (0 frames a step) or of grouped steps."""
    base = NEXT if frames == 0 else {"flat": False, "frames_per_step": frames}
    base = base | {"draft": {}}
    methods = [Method("no drafts", base)]
    for name, draft in DRAFTS.items():
        settings, ways = base | {"draft": draft}, LOSSLESS if name == "recursive" else LOSSLESS[:1]
        for accept in (*ways, "all"):
            methods.append(Method(f"{name}, {accept}", settings, Decoding(drafts=3, accept=accept)))
    return methods


def run_methods(tts: TTS) -> dict[str, list[Line]]:
    """Sections of figures, a row for every method. `tts` gives sizes, tokenizer and texts."""
    streams = len(tts.tokenizer.spec.streams)
    sections = {"Grouped emission (nothing is verified)": emission(tts, grouped_methods(streams))}
    for frames, base in ((0, "next-token decoding"), (GROUPINGS[-1], "grouped steps")):
        what = f"Drafting over {base} (3 drafts a pass)"
        sections[what] = drafting(tts, drafting_methods(frames))
    return sections


def emission(tts: TTS, methods: list[Method]) -> list[Line]:
    """Steps, and audio of all rows together, a second; over those of next-token decoding."""
    made = build(tts, methods)
    steps = {name: other.model.layout.num_steps(FRAMES) for name, other in made.items()}
    lines: dict[str, list[Line]] = {}
    for name, other in made.items():
        count = once(sum(p.numel() for p in other.full_model.parameters()) / 1e6)
        lines[name] = [Line(name, "parameters", count, "M", 1)]
    for size in BATCHES:
        taken = loop_seconds(made, size, steps)
        for name, times in taken.items():
            audio = size * FRAMES / tts.tokenizer.spec.frame_rate
            rate = spread([audio / t for t in times])
            gain = spread(taken[NEXT_TOKEN]).value / spread(times).value
            said = spread([steps[name] / t for t in times])
            lines[name] += [
                Line(name, f"steps/s, batch {size}", said, "", 0),
                Line(name, f"audio s/s, batch {size}", rate, "", 1),
                Line(name, f"over next-token, batch {size}", once(gain), "x", 1),
            ]
    return [line for own in lines.values() for line in own]


def drafting(tts: TTS, methods: list[Method]) -> list[Line]:
    """A pass, and what it is worth if no draft is kept, and if all are."""
    made = build(tts, methods)
    lines: dict[str, list[Line]] = {name: [] for name in made}
    plain = methods[0].name
    for size in BATCHES:
        taken = loop_seconds(made, size, dict.fromkeys(made, PASSES))
        passes = {name: spread([t / PASSES for t in times]) for name, times in taken.items()}
        for name, seconds in passes.items():
            ratio = seconds.value / passes[plain].value
            drafts = made[name].decoding.drafts
            lines[name] += [
                Line(name, f"ms a pass, batch {size}", scaled(seconds, 1000)),
                Line(name, f"steps a pass to break even, batch {size}", once(ratio)),
                Line(name, f"all kept, batch {size}", once((1 + drafts) / ratio), "x", 2),
            ]
    return [line for own in lines.values() for line in own]


def scaled(figure: Estimate, by: float) -> Estimate:
    """A figure in another unit."""
    return Estimate(figure.value * by, figure.low * by, figure.high * by, figure.count)


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
    """A model like that of `tts` but for `settings`, with random weights, ready to decode."""
    own = tts.full_model.config.to_dict()
    for key in ("architectures", "model_type", "transformers_version", "dtype"):
        own.pop(key, None)
    model = SpeechLM(SpeechLMConfig(**(own | {"objectives": {}} | settings))).eval()
    model = model.to(tts.full_model.device)
    if model.device == torch.device("cpu"):
        model.optimize_for_inference(int8=tts.card.get("int8", False))
    return model
