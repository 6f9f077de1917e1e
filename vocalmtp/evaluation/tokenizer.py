"""Evaluation of a speech tokenizer of any kind, without a model.

A metric that a kind of tokenizer does not have, or that the manifest has no labels for, is n/a.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vocalmtp.audio.io import read_audio
from vocalmtp.bench.speed import seconds_now
from vocalmtp.data.manifest import Utterance
from vocalmtp.engines.device import resolve_device
from vocalmtp.evaluation.config import ManifestEvalConfig
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import SWAPPED, Estimates, Evaluators, as_metrics, success
from vocalmtp.evaluation.probes import GROUPS, Frames, gather, probe_frames, probe_streams
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.run import begin_results
from vocalmtp.evaluation.sentences import first_of_each_voice, pick_items, pick_references
from vocalmtp.evaluation.statistics import NOT_MEASURED, median_range, single
from vocalmtp.evaluation.systems import NATURAL, RESYNTHESIS, CodecOnly, swapped_codec, synthesize
from vocalmtp.optional import require
from vocalmtp.tokenizers import SpeechTokenizer, TokenizerSpec, list_cards, load_tokenizer

PACKAGES = ("jiwer", "pesq", "pystoi")
TIMED = 8  # utterances whose encoding and decoding are timed
SWAPPED_ITEMS = 10  # utterances of each voice that are decoded with another speaker vector

Sections = dict[str, list[Metric]]


def run_tokenizer(source: str, config: ManifestEvalConfig) -> tuple[Sections, list[str]]:
    """Evaluate a tokenizer.

    Args:
        source: NAME, FOLDER or NAME=FOLDER.
        config: the recordings.

    Returns:
        The metrics by section, and notes on the tokenizer and the recordings.

    Raises:
        InputError: the tokenizer, its weights, or the recordings are missing, or the output folder
            has results of other settings.
    """
    tokenizer = load_tokenizer(source).to(resolve_device(config.device))
    items = pick_items(config.manifest, config.split, config.voice_names, config.limit)
    spec, digest = tokenizer.spec, hashlib.sha256()
    for tensor in tokenizer.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    settings = {
        "manifest": str(config.manifest.resolve()),
        "tokenizer": f"{spec.name} ({spec.hash})",
        "weights": digest.hexdigest()[:12],
    }
    begin_results(config.output, settings, fresh=config.fresh)
    names = sorted({item.voice for item in items})
    references = pick_references(config.manifest, names, items)
    judges = Judges(config.judge, config.device)
    sections = measure_tokenizer(
        tokenizer, items, references, judges, config.output, config.processes
    )
    size = sum(parameter.numel() for parameter in tokenizer.parameters())
    return sections, [
        f"Tokenizer: {spec.name} ({spec.hash}), {spec.kind.replace('_', '-')}, "
        f"{len(spec.streams)} streams at {spec.frame_rate:g} frames/s, "
        f"{size / 1e6:.1f} M parameters.",
        f"Utterances: {len(items)} of the split {config.split}, in {len(names)} voices.",
    ]


def run_disentanglement(source: str, config: ManifestEvalConfig) -> list[Metric]:
    """Probe the streams of a tokenizer, and swap the speaker vectors of its decoder.

    Raises:
        InputError: the tokenizer or the recordings are missing, or have no phone times.
    """
    tokenizer = load_tokenizer(source).to(resolve_device(config.device))
    items = pick_items(config.manifest, config.split, config.voice_names, config.limit)
    metrics = probe_streams(tokenizer, items)
    if tokenizer.spec.speaker_dim:
        names = sorted({item.voice for item in items})
        references = pick_references(config.manifest, names, items)
        evaluators = Evaluators(Judges(config.judge, config.device), references, config.output)
        swapped = swap_timbre(tokenizer, items, evaluators, config.output)
        metrics += as_metrics("swapped timbre", swapped)
    return metrics


def measure_tokenizer(
    tokenizer: SpeechTokenizer,
    items: Sequence[Utterance],
    references: Sequence[Utterance],
    judges: Judges,
    output: Path,
    processes: int = 1,
) -> Sections:
    """Speed, resynthesis beside natural speech, codebook use, probes, swapped timbre.

    Args:
        tokenizer: the tokenizer.
        items: recordings.
        references: recordings that represent the voices.
        judges: what the resynthesis is judged by.
        output: audio and rows are kept there.
        processes: files that are recognized at once.

    Raises:
        InputError: a package is missing.
    """
    spec, cards = tokenizer.spec, list_cards()
    decodes = spec.name not in cards or cards[spec.name].decodes
    evaluators = Evaluators(judges, references, output, processes)
    sections = {"Rates and speed": measure_speed(tokenizer, items, decodes)}
    if decodes:
        for name in PACKAGES:  # fail before the long work
            require(name)
        _ = judges.recognizer, judges.speaker, judges.mos
        sections["Resynthesis"] = measure_resynthesis(tokenizer, items, evaluators, output)
    frames = gather(tokenizer, items)
    sections["Codebook use"] = codebook_use(spec, frames.codes)
    sections["Probes of the streams"] = probe_groups(spec, frames)
    swapped: Estimates = dict.fromkeys(SWAPPED, NOT_MEASURED)
    if decodes and spec.kind == "decoupled" and spec.speaker_dim:
        swapped |= swap_timbre(tokenizer, items, evaluators, output)
    sections["Speaker vector"] = as_metrics("swapped timbre", swapped)
    return sections


def measure_resynthesis(
    tokenizer: SpeechTokenizer, items: Sequence[Utterance], evaluators: Evaluators, output: Path
) -> list[Metric]:
    """All metrics of resynthesis and natural speech."""
    natural = synthesize(NATURAL, items, CodecOnly(), output)
    resynthesis = synthesize(RESYNTHESIS, items, CodecOnly(tokenizer), output)
    words = evaluators.word_scores(NATURAL, natural, output)
    metrics = []
    for system, spoken in ((NATURAL, natural), (RESYNTHESIS, resynthesis)):
        found = evaluators.intelligibility(system, spoken, output, words) | success(spoken)
        found |= evaluators.similarity(system, spoken, output)
        found |= evaluators.opinion(system, spoken, output)
        if system == RESYNTHESIS:
            found |= evaluators.fidelity(system, spoken, output)
        metrics += as_metrics(system, found)
    return metrics


def swap_timbre(
    tokenizer: SpeechTokenizer, items: Sequence[Utterance], evaluators: Evaluators, output: Path
) -> Estimates:
    """Similarities of resynthesis with the next voice's speaker vector; empty with one voice."""
    references = evaluators.references
    chosen = [item for item in items if item.voice in {row.voice for row in references}]
    if len({item.voice for item in chosen}) < 2:
        return {}
    label = f"swapped-{RESYNTHESIS}"
    codec = swapped_codec(
        tokenizer, [r for r in references if r.voice in {item.voice for item in chosen}]
    )
    few = first_of_each_voice(chosen, SWAPPED_ITEMS)
    spoken = synthesize(RESYNTHESIS, few, codec, output, label=label)
    return evaluators.swapped(label, spoken, output)


def measure_speed(
    tokenizer: SpeechTokenizer, items: Sequence[Utterance], decodes: bool = True
) -> list[Metric]:
    """Bits per second, and real-time factors of encoding and decoding single utterances."""
    name, rate = tokenizer.spec.name, tokenizer.spec.input_rate
    factors: dict[str, list[float]] = {"encode": [], "decode": []}
    for turn, item in enumerate([*items[:1], *items[:TIMED]]):  # the first one warms up
        wav = torch.from_numpy(read_audio(item.audio, rate))[None].to(tokenizer.device)
        times = [seconds_now(tokenizer.device)]
        with torch.inference_mode():
            codes = tokenizer.encode(wav)
            times.append(seconds_now(tokenizer.device))
            if decodes:
                tokenizer.decode(codes.codes, codes.speaker, codes.lengths)
            times.append(seconds_now(tokenizer.device))
        if turn:
            for part, start, end in zip(factors, times, times[1:], strict=False):
                factors[part].append((end - start) * rate / wav.shape[1])
    bits = single(tokenizer.spec.bits_per_second)
    metrics = [Metric("bits per second", name, bits, "", 0)]
    for part, values in factors.items():
        factor = median_range(values) if decodes or part == "encode" else NOT_MEASURED
        metrics.append(Metric(f"real-time factor, {part}", name, factor, "", 3))
    return metrics


def codebook_use(spec: TokenizerSpec, codes: Tensor) -> list[Metric]:
    """Perplexity of every stream of `codes` [N, Q], and the share of its codes that occur.

    Few frames cannot use many codes, so their number comes first.
    """
    metrics = [Metric("frames", "perplexity", single(len(codes)), "", 0)]
    for q, stream in enumerate(spec.streams):
        counts = codes[:, q].bincount(minlength=stream.size).double()
        shares = counts[counts > 0] / counts.sum()
        perplexity = math.exp(-(shares * shares.log()).sum().item())
        name = f"{stream.name}, {stream.size} codes"
        metrics.append(Metric(name, "perplexity", single(perplexity), "", 1))
        metrics.append(Metric(name, "used", single(len(shares) / stream.size), "%", 1))
    return metrics


def probe_groups(spec: TokenizerSpec, frames: Frames) -> list[Metric]:
    """Probe all groups of streams, with n/a for those that the tokenizer does not have.

    Everything is n/a if there are not two sentences.
    """
    if bool(frames.held.all()):
        return [Metric("probes", name, NOT_MEASURED) for name in GROUPS]
    found = probe_frames(spec, frames)
    metrics = []
    for name in dict.fromkeys(metric.name for metric in found):
        own = {metric.system: metric for metric in found if metric.name == name}
        for group in GROUPS:
            metrics.append(own.pop(group, Metric(name, group, NOT_MEASURED)))
        metrics += own.values()
    return metrics
