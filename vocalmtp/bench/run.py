"""`vocalmtp bench`: the speed of a model as the metrics of a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vocalmtp.bench.methods import NEXT, random_model
from vocalmtp.bench.profile import dispatch_share, memory_bound, time_shares
from vocalmtp.bench.speed import (
    cold_start,
    first_audio,
    real_time_factors,
    side_by_side,
    steps_per_second,
)
from vocalmtp.decoding.options import Decoding
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.statistics import single
from vocalmtp.loading import load
from vocalmtp.tts import TTS

BATCHES = (1, 4, 16, 32)
LOOP_BATCHES = (1, 8)
REPEATS = 5
NEXT_TOKEN = "next-token"


def run_bench(
    model: Path | str,
    against: Path | str | None = None,
    decoding: Decoding | None = None,
    runtime: Mapping[str, Any] | None = None,
    quick: bool = False,
) -> list[Metric]:
    """Measure the speed of a model and, in torch, of its decode loop beside a next-token model's.

    Args:
        model: name or folder.
        against: name or folder of a next-token model; by default one with random weights, whose
            loop takes as long.
        decoding: how the model decodes; bare loops and their parts are measured without drafts.
        runtime: device, engine and threads, arguments of `vocalmtp.load`.
        quick: fewer batch sizes and repetitions.
    """
    runtime = runtime or {}
    tts = load(model, decoding=decoding, **runtime)
    name, repeats = str(model), 2 if quick else REPEATS
    metrics = []
    factors = real_time_factors(tts, BATCHES[:2] if quick else BATCHES, repeats)
    for size, factor in factors.items():
        metrics.append(Metric(f"real-time factor, batch {size}", name, factor, digits=3))
        if size > 1:
            gain = single(factors[1].value / factor.value)
            metrics.append(Metric(f"throughput of batch {size} over batch 1", name, gain, "x", 1))
    if tts.decoding.drafts:
        metrics += draft_metrics(tts, name, repeats)
        tts = tts.using(tts.decoding.without_drafts())
    metrics.append(Metric("first audio", name, first_audio(tts), "ms", 0))
    seconds, peak = cold_start(model, 1 if quick else 3, runtime)
    metrics.append(Metric("vocalmtp tts, complete process", name, seconds, "s"))
    metrics.append(Metric("... peak memory", name, peak, "GiB"))
    if not isinstance(tts.model, nn.Module):  # graphs, whose decode loop has no parts to time
        return metrics
    twin = next_token_model(tts) if against is None else load(against, **runtime)
    metrics += loop_metrics(tts, name, twin, repeats)
    return metrics + profile_metrics(tts, name)


def profile_metrics(tts: TTS, name: str) -> list[Metric]:
    """Where the time of a decode step goes, and the bound that reading the weights sets."""
    metrics = [
        Metric(f"share of {part}, batch 1", name, single(share), "%", 0)
        for part, share in time_shares(tts).items()
    ]
    dispatch = single(dispatch_share(tts))
    metrics.append(Metric("share of Python and dispatch, batch 1", name, dispatch, "%", 0))
    bound, taken = memory_bound(tts)
    metrics.append(Metric("decode step, batch 1", name, single(1000 * taken), "ms"))
    metrics.append(Metric("... bound by reading the weights", name, single(1000 * bound), "ms"))
    return metrics


def draft_metrics(tts: TTS, name: str, repeats: int = REPEATS) -> list[Metric]:
    """The gain of drafts in synthesis of the same sentences at batch 1, interleaved."""
    models = {"with": tts.using(tts.decoding), "without": tts.using(tts.decoding.without_drafts())}
    factors = side_by_side(models, repeats)
    gain = factors["without"].value / factors["with"].value
    found: Any = models["with"].statistics.summary()
    metrics = [
        Metric("real-time factor without drafts, batch 1", name, factors["without"], digits=3),
        Metric("speed-up by drafts, batch 1", name, single(gain), "x"),
        Metric("steps per forward pass", name, single(found["steps_per_forward"])),
        Metric("tokens per forward pass", name, single(found["tokens_per_forward"]), digits=1),
        Metric("drafted tokens wasted", name, single(found["wasted"]), "%", 0),
    ]
    for place, share in enumerate(found["acceptance"], start=1):
        title = f"draft {place} accepted, of those after accepted ones"
        metrics.append(Metric(title, name, single(share), "%", 0))
    total = sum(found["seconds"].values())
    for part, seconds in found["seconds"].items():
        share = single(seconds / total)
        metrics.append(Metric(f"share of {part} with drafts", name, share, "%", 0))
    return metrics


def loop_metrics(tts: TTS, name: str, twin: TTS, repeats: int = REPEATS) -> list[Metric]:
    """Steps and seconds of audio per second of both decode loops, and their ratio."""
    metrics = []
    for size in LOOP_BATCHES:
        both = steps_per_second({name: tts, NEXT_TOKEN: twin}, size, repeats=repeats)
        loop = f"decode loop, batch {size}"
        for system, rates in both.items():
            metrics.append(Metric(f"{loop}: steps/s", system, rates["steps"], "", 0))
            metrics.append(Metric(f"{loop}: audio s/s", system, rates["audio"], "", 1))
        ratio = both[name]["audio"].value / both[NEXT_TOKEN]["audio"].value
        metrics.append(Metric(f"{loop}: over next-token", name, single(ratio), "x", 1))
    return metrics


def next_token_model(tts: TTS) -> TTS:
    """A next-token model with the same backbone and random weights."""
    return TTS(random_model(tts, NEXT), tts.tokenizer, tts.voices, tts.card, tts.encode_text)
