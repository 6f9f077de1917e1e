"""Everything that can be measured of a speech tokenizer without a model, whatever its kind."""

import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vocalmtp.audio.io import read_audio
from vocalmtp.data.manifest import Utterance
from vocalmtp.evaluation import disentanglement, items
from vocalmtp.evaluation.disentanglement import GROUPS, SWAPPED, Frames
from vocalmtp.evaluation.measure import (
    measure_intelligibility,
    measure_quality,
    measure_similarity,
)
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.rows import check_settings
from vocalmtp.evaluation.statistics import NOTHING, once, spread
from vocalmtp.evaluation.systems import CodecOnly, speak
from vocalmtp.optional import require
from vocalmtp.tokenizers import SpeechTokenizer, TokenizerSpec, list_cards, load_tokenizer

JUDGES = ("jiwer", "pocketsphinx", "pesq", "pystoi", "onnxruntime", "speechmos", "resemblyzer")
SYSTEMS = ("natural", "resynthesis")
TIMED = 8  # utterances whose encoding and decoding are timed

Sections = dict[str, list[Line]]


def run_tokenizer(
    source: str,
    manifest: Path,
    output: Path,
    split: str = "test",
    voices: Sequence[str] = (),
    limit: int | None = None,
    *,
    processes: int = 2,
    fresh: bool = False,
) -> tuple[Sections, list[str]]:
    """The figures of tokenizer `source`, by section, and notes on what they are of.

    Raises:
        InputError: there is no such tokenizer, its weights are not here, nothing is to be measured,
            or the output folder is of other settings.
    """
    tokenizer = load_tokenizer(source)
    rows = items.pick_items(manifest, split, voices, limit)
    spec, digest = tokenizer.spec, hashlib.sha256()
    for tensor in tokenizer.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    settings = {
        "manifest": str(manifest.resolve()),
        "tokenizer": f"{spec.name} ({spec.hash})",
        "weights": digest.hexdigest()[:12],
    }
    check_settings(output, settings, fresh=fresh)
    names = sorted({row.voice for row in rows})
    references = items.pick_references(manifest, names, rows)
    sections = measure_tokenizer(tokenizer, rows, references, output, processes)
    size = sum(parameter.numel() for parameter in tokenizer.parameters())
    return sections, [
        f"Tokenizer: {spec.name} ({spec.hash}), {spec.kind.replace('_', '-')}, "
        f"{len(spec.streams)} streams at {spec.frame_rate:g} frames a second, "
        f"{size / 1e6:.1f} M parameters.",
        f"Utterances: {len(rows)} of the split {split}, in {len(names)} voices.",
    ]


def measure_tokenizer(
    tokenizer: SpeechTokenizer,
    rows: Sequence[Utterance],
    references: Sequence[Utterance],
    output: Path,
    processes: int = 2,
) -> Sections:
    """Resynthesis beside natural speech, rates and speed, use of the codes, and what they hold.

    Rows of `output` are kept and used again. Raises InputError if a judge is not installed.
    """
    spec = tokenizer.spec
    decodes = spec.name not in list_cards() or list_cards()[spec.name].decodes
    sections = {"Rates and speed": measure_speed(tokenizer, rows, decodes)}
    if decodes:
        for name in JUDGES:  # before the long work
            require(name)
        spoke = {name: speak(name, rows, CodecOnly(tokenizer), output) for name in SYSTEMS}
        sections["Resynthesis"] = [
            *measure_intelligibility(spoke, output, processes),
            *measure_similarity(spoke, references, output),
            *measure_quality(spoke, output),
        ]
    frames = disentanglement.gather(tokenizer, rows)
    sections["Use of the codes"] = codebook_use(spec, frames.codes)
    sections["What the streams hold"] = probe_groups(spec, frames)
    sections["The vector of the voice"] = swapped(tokenizer, rows, output / "swapped")
    return sections


def measure_speed(
    tokenizer: SpeechTokenizer, rows: Sequence[Utterance], decodes: bool = True
) -> list[Line]:
    """Bits a second, and seconds of computing per second of audio, of one utterance at a time."""
    name, rate = tokenizer.spec.name, tokenizer.spec.input_rate
    taken: dict[str, list[float]] = {"encode": [], "decode": []}
    for turn, row in enumerate([*rows[:1], *rows[:TIMED]]):  # the first one warms up
        wav = torch.from_numpy(read_audio(row.audio, rate))[None]
        start = time.perf_counter()
        made = tokenizer.encode(wav)
        middle = time.perf_counter()
        if decodes:
            tokenizer.decode(made.codes, made.speaker, made.lengths)
        end = time.perf_counter()
        if turn:
            taken["encode"].append((middle - start) * rate / wav.shape[1])
            taken["decode"].append((end - middle) * rate / wav.shape[1])
    lines = [Line("bits per second", name, once(tokenizer.spec.bits_per_second), "", 0)]
    for what, factors in taken.items():
        factor = spread(factors) if decodes or what == "encode" else NOTHING
        lines.append(Line(f"real-time factor, {what}", name, factor, "", 3))
    return lines


def codebook_use(spec: TokenizerSpec, codes: Tensor) -> list[Line]:
    """Of every stream, from `codes` [N, Q]: perplexity, and the share of its codes that occur.

    Perplexity is the exponential of the entropy: as many codes, equally frequent, are as hard to
    guess. Few frames cannot use many codes, so their number stands first.
    """
    lines = [Line("frames", "perplexity", once(len(codes)), "", 0)]
    for q, stream in enumerate(spec.streams):
        counts = codes[:, q].bincount(minlength=stream.size).double()
        shares = counts[counts > 0] / counts.sum()
        perplexity = math.exp(-(shares * shares.log()).sum().item())
        used = once(len(shares) / stream.size)
        what = f"{stream.name}, {stream.size} codes"
        lines.append(Line(what, "perplexity", once(perplexity), "", 1))
        lines.append(Line(what, "used", used, "%", 1))
    return lines


def probe_groups(spec: TokenizerSpec, frames: Frames) -> list[Line]:
    """As `disentanglement.probe_frames`, with n/a for the groups that the tokenizer does not have.

    All of it is n/a if there are not two sentences to tell apart.
    """
    if bool(frames.held.all()):
        return [Line("probes", name, NOTHING) for name in GROUPS]
    found = disentanglement.probe_frames(spec, frames)
    lines = []
    for what in dict.fromkeys(line.what for line in found):
        own = {line.system: line for line in found if line.what == what}
        for name in GROUPS:
            lines.append(own.pop(name, Line(what, name, NOTHING)))
        lines += own.values()
    return lines


def swapped(tokenizer: SpeechTokenizer, rows: Sequence[Utterance], folder: Path) -> list[Line]:
    """As `disentanglement.swap_timbre`; n/a where nothing but the codes tells the voice."""
    spec = tokenizer.spec
    if spec.kind == "decoupled" and spec.speaker_dim and disentanglement.can_swap(rows):
        return disentanglement.swap_timbre(tokenizer, rows, folder)
    return [Line(what, "swapped timbre", NOTHING) for what in SWAPPED]
