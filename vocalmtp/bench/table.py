"""`vocalmtp bench`: the speed of a model as report lines."""

from pathlib import Path

from vocalmtp.bench.methods import NEXT, random_model
from vocalmtp.bench.shares import dispatch_share, memory_bound, time_shares
from vocalmtp.bench.speed import (
    cold_start,
    first_audio,
    real_time_factors,
    side_by_side,
    steps_per_second,
)
from vocalmtp.decoding.options import Decoding
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.statistics import once
from vocalmtp.tts import TTS, load

BATCHES = (1, 4, 16, 32)  # rows at once
TWIN = "next-token"


def run_bench(
    model: Path | str, against: Path | str | None = None, decoding: Decoding | None = None
) -> list[Line]:
    """All speed figures of `model`, and its decode loop in turns with a next-token model's.

    `against` is that model's name or folder; without it, one with random weights stands in, since a
    loop that is told how far to go takes as long whatever it says. It speaks by `decoding`; the
    bare loops and their parts are without drafts.
    """
    tts = load(model, decoding=decoding)
    name = str(model)
    lines = []
    factors = real_time_factors(tts, BATCHES)
    for size, factor in factors.items():
        lines.append(Line(f"real-time factor, batch {size}", name, factor, digits=3))
        if size > 1:
            gain = once(factors[1].value / factor.value)
            lines.append(Line(f"throughput of batch {size} over batch 1", name, gain, "x", 1))
    if tts.decoding.drafts:
        lines += drafting(tts, name)
        tts = tts.using(tts.decoding.without_drafts())
    lines.append(Line("first audio", name, first_audio(tts), "ms", 0))
    seconds, peak = cold_start(model)
    lines.append(Line("vocalmtp tts, whole process", name, seconds, "s"))
    lines.append(Line("... peak memory", name, peak, "GiB"))
    lines += loops(tts, name, next_token_twin(tts) if against is None else load(against))
    for part, share in time_shares(tts).items():
        lines.append(Line(f"share of {part}, batch 1", name, once(share), "%", 0))
    share = once(dispatch_share(tts))
    lines.append(Line("share of Python and dispatch in the loop, batch 1", name, share, "%", 0))
    bound, taken = memory_bound(tts)
    lines.append(Line("a step, batch 1", name, once(1000 * taken), "ms"))
    lines.append(Line("... bound by reading the weights", name, once(1000 * bound), "ms"))
    return lines


def drafting(tts: TTS, name: str) -> list[Line]:
    """What drafts bring in speaking the same sentences with and without, in turns, at batch 1."""
    both = {"with": tts.using(tts.decoding), "without": tts.using(tts.decoding.without_drafts())}
    factors = side_by_side(both)
    gain = factors["without"].value / factors["with"].value
    found = both["with"].statistics.summary()
    lines = [
        Line("real-time factor without drafts, batch 1", name, factors["without"], digits=3),
        Line("speed-up by drafts, batch 1", name, once(gain), "x"),
        Line("steps a forward pass", name, once(found["steps_per_forward"])),
        Line("tokens a forward pass", name, once(found["tokens_per_forward"]), digits=1),
        Line("drafted tokens wasted", name, once(found["wasted"]), "%", 0),
    ]
    for place, share in enumerate(found["acceptance"], start=1):
        what = f"draft {place} kept, where all before it were"
        lines.append(Line(what, name, once(share), "%", 0))
    whole = sum(found["seconds"].values())
    for part, seconds in found["seconds"].items():
        lines.append(Line(f"share of {part} with drafts", name, once(seconds / whole), "%", 0))
    return lines


def loops(tts: TTS, name: str, twin: TTS) -> list[Line]:
    """Steps and seconds of audio a second of both decode loops, and the ratio."""
    lines = []
    for size in (1, 8):
        both = steps_per_second({name: tts, TWIN: twin}, size)
        what = f"decode loop, batch {size}"
        for system, rates in both.items():
            lines.append(Line(f"{what}: steps a second", system, rates["steps"], "", 0))
            lines.append(Line(f"{what}: audio seconds a second", system, rates["audio"], "", 1))
        ratio = both[name]["audio"].value / both[TWIN]["audio"].value
        lines.append(Line(f"{what}: over next-token", name, once(ratio), "x", 1))
    return lines


def next_token_twin(tts: TTS) -> TTS:
    """A model with the same backbone, random weights, that says one token a step."""
    return TTS(random_model(tts, NEXT), tts.tokenizer, tts.voices, tts.card, tts.encode_text)
