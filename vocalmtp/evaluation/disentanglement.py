"""What the streams of a tokenizer hold: probes trained on some utterances, scored on others.

A decoupled tokenizer should have phones in content and not in prosody, pitch in prosody and not in
content, and no speaker in content; and swapping the timbre vector should swap the voice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.audio.pitch import fill_unvoiced, track_pitch
from vocalmtp.data.manifest import Utterance
from vocalmtp.errors import InputError
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.rows import progress
from vocalmtp.evaluation.similarity import centroids, compare, embed
from vocalmtp.evaluation.statistics import NOTHING, Estimate, bootstrap_correlation, bootstrap_ratio
from vocalmtp.tokenizers import SpeechTokenizer, TokenizerSpec
from vocalmtp.voices import make_voice

PROBE_STEPS, PROBE_BATCH = 300, 2048
PROBES = {"linear": 0, "mlp": 128}  # width of the hidden layer
GROUPS = {  # of streams, by their roles; a tokenizer has some of them
    "content": ("content", "semantic"),
    "prosody": ("prosody",),
    "acoustic": ("acoustic",),
}
SWAPPED = (
    "similarity to the voice of the vector",
    "similarity to the voice of the codes",
    "similarity to the nearest voice but that of the vector",
)
REFERENCES = 6  # recordings that make a voice, before its timbre is swapped
HELD_OUT = 3  # every third sentence is for scoring, whoever says it


@dataclass
class Frames:
    """Codes and labels of many utterances, frame by frame."""

    codes: Tensor  # [N, Q] int64
    phones: Tensor  # [N] int64, -1 where it is not known
    pitch: Tensor  # [N] log F0 relative to the utterance
    voiced: Tensor  # [N] bool
    speakers: Tensor  # [N] int64
    utterances: Tensor  # [N] int64
    held: Tensor  # [N] bool: of a sentence that is for scoring


def gather(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> Frames:
    """Encode `rows` and label every codec frame from their phone times, F0 and voice.

    Without phone times in every row, no phone is known.
    """
    spec = tokenizer.spec
    timed = all(row.phones for row in rows)
    phones = sorted({phone for row in rows for phone, _ in row.phones})
    voices = sorted({row.voice for row in rows})
    # By sentence: no two voices say the same one on both sides, and every voice is on both.
    held = set(sorted({row.text for row in rows})[::HELD_OUT])
    parts: list[list[Tensor]] = []
    for number, row in enumerate(progress(rows, len(rows), "probe")):
        wav = torch.from_numpy(read_audio(row.audio, spec.input_rate))[None]
        codes = tokenizer.encode(wav).codes[0].T  # [T, Q]
        frames = len(codes)
        labels = torch.full((frames,), -1)
        if timed:
            ends = np.array([end for _, end in row.phones])
            middles = (np.arange(frames) + 0.5) / spec.frame_rate
            place = np.searchsorted(ends, middles).clip(max=len(ends) - 1)
            labels = torch.tensor([phones.index(row.phones[i][0]) for i in place])
        padded, hop = F.pad(wav, (0, spec.input_hop)), spec.input_hop
        f0 = track_pitch(padded, sample_rate=spec.input_rate, hop=hop)
        f0 = f0[0, :frames]
        log_f0, voiced = fill_unvoiced(f0[None])[0], f0 > 0
        mean = log_f0[voiced].mean() if voiced.any() else 0.0
        whole = torch.ones(frames, dtype=torch.int64)
        speaker, is_held = voices.index(row.voice) * whole, (row.text in held) * whole
        pitch = log_f0 - mean
        parts.append([codes, labels, pitch, voiced, speaker, number * whole, is_held.bool()])
    return Frames(*(torch.cat(column) for column in zip(*parts, strict=True)))


def probe(
    codes: Tensor, target: Tensor, train: Tensor, classes: int | None, hidden: int = 128
) -> Tensor:
    """Predictions [N] (or [N, classes]) of a net over `codes` [N, q], fitted where `train`.

    Without a hidden layer it is linear in the one-hot codes; with one, it embeds them first.
    """
    torch.manual_seed(0)
    width = 32 if hidden else classes or 1
    sizes = [int(codes[:, q].max()) + 1 for q in range(codes.shape[1])]
    tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
    head = nn.Sequential()
    if hidden:
        head.extend([nn.Linear(width * len(sizes), hidden), nn.GELU()])
        head.append(nn.Linear(hidden, classes or 1))
    rate = 5e-3 if hidden else 5e-2
    optimizer = torch.optim.Adam([*tables.parameters(), *head.parameters()], lr=rate)
    places = train.nonzero()[:, 0]

    def run(index: Tensor) -> Tensor:
        parts = [table(codes[index, q]) for q, table in enumerate(tables)]
        return head(torch.cat(parts, dim=-1)) if hidden else torch.stack(parts).sum(0)

    for _ in range(PROBE_STEPS):
        index = places[torch.randint(len(places), (PROBE_BATCH,))]
        made = run(index)
        if classes is None:
            loss = F.mse_loss(made[:, 0], target[index])
        else:
            loss = F.cross_entropy(made, target[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        made = run(torch.arange(len(codes)))
    return made[:, 0] if classes is None else made


def stream_groups(spec: TokenizerSpec) -> dict[str, list[int]]:
    """Indices of the streams of every group that the tokenizer has."""
    groups = {
        name: [q for q, stream in enumerate(spec.streams) if stream.role in roles]
        for name, roles in GROUPS.items()
    }
    return {name: streams for name, streams in groups.items() if streams}


def probe_streams(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> list[Line]:
    """As `probe_frames`, of the codes of `rows`. Raises InputError if they have no phone times."""
    if not all(row.phones for row in rows):
        raise InputError(
            "manifest: its rows have no phone times; the phone probe needs them", code="missing"
        )
    return probe_frames(tokenizer.spec, gather(tokenizer, rows))


def probe_frames(spec: TokenizerSpec, frames: Frames) -> list[Line]:
    """Phone accuracy, F0 correlation and speaker accuracy from every group of streams.

    Chance is the share of the largest class; speakers are told by whole utterances, whose frames
    vote together. Phones that are not known, and a speaker who is the only one, are n/a. Raises
    InputError if there is but one sentence.
    """
    held, owner = frames.held, frames.utterances
    if bool(held.all()):
        raise InputError(
            "manifest: the probes need two sentences or more; give a larger --limit",
            code="invalid_value",
        )
    owners = torch.unique(owner[held])
    speakers = torch.stack([frames.speakers[owner == u][0] for u in owners])
    phones, voices = int(frames.phones.max()) + 1, int(frames.speakers.max()) + 1
    lines = []
    for kind, hidden in PROBES.items():
        for name, streams in stream_groups(spec).items():
            codes = frames.codes[:, streams]
            found = NOTHING
            if phones:
                made = probe(codes, frames.phones, ~held, phones, hidden)
                found = _share((made.argmax(-1) == frames.phones).float()[held], owner[held])
            lines.append(Line(f"phone accuracy, {kind} probe", name, found, "%", 1))

            found = _pitch_correlation(frames, codes, hidden)
            lines.append(Line(f"F0 correlation, {kind} probe", name, found))

            found = NOTHING
            if voices > 1:
                made = probe(codes, frames.speakers, ~held, voices, hidden)
                votes = torch.zeros(int(owner.max()) + 1, voices)
                votes.index_add_(0, owner, made.log_softmax(-1))
                found = _share((votes[owners].argmax(-1) == speakers).float(), owners)
            lines.append(Line(f"speaker accuracy, {kind} probe", name, found, "%", 1))
        for what, labels, units, classes in (
            ("phone", frames.phones[held], owner[held], phones),
            ("speaker", speakers, owners, voices if voices > 1 else 0),
        ):
            found = _share((labels == labels.mode().values).float(), units) if classes else NOTHING
            lines.append(Line(f"{what} accuracy, {kind} probe", "chance", found, "%", 1))
    return lines


def _pitch_correlation(frames: Frames, codes: Tensor, hidden: int) -> Estimate:
    """Of the F0 that a probe finds in `codes` [N, q] with the true one, where it is voiced."""
    held, voiced = frames.held, frames.voiced
    heard = held & voiced
    if not bool(heard.any() and (~held & voiced).any()):
        return NOTHING
    made = probe(codes, frames.pitch, ~held & voiced, None, hidden)
    pairs = (made[heard].numpy(), frames.pitch[heard].numpy(), frames.utterances[heard].numpy())
    return bootstrap_correlation(*pairs)


def _share(right: Tensor, units: Tensor) -> Estimate:
    """Mean of `right` [N], with an interval over the `units` [N] that its entries belong to."""
    groups = torch.unique(units, return_inverse=True)[1]
    totals = torch.zeros(int(groups.max()) + 1).index_add_(0, groups, right)
    return bootstrap_ratio(totals.tolist(), groups.bincount().tolist())


def swap_timbre(
    tokenizer: SpeechTokenizer,
    rows: Sequence[Utterance],
    folder: Path,
    references: int = REFERENCES,
) -> list[Line]:
    """Decode rows with the next voice's timbre; similarity to that voice and to their own.

    The first `references` rows of a voice make its timbre vector and its target; the next ten are
    swapped. Raises InputError if there are too few voices or rows.
    """
    by_voice, names = _swappable(rows, references)
    if len(names) < 2:
        voices = ", ".join(by_voice)
        raise InputError(
            f"voices '{voices}': swapping timbre needs two voices with more than "
            f"{references} recordings each",
            code="missing",
        )
    files = {name: [row.audio for row in by_voice[name][:references]] for name in names}
    targets = centroids(files)
    vectors = {name: make_voice(paths, tokenizer, name).vector for name, paths in files.items()}
    spec = tokenizer.spec
    made, asked, source = [], [], []
    for name, target in zip(names, [*names[1:], names[0]], strict=True):
        speaker = torch.from_numpy(vectors[target])[None]  # [1, D_s]
        for row in by_voice[name][references : references + 10]:
            codes = tokenizer.encode(
                torch.from_numpy(read_audio(row.audio, spec.input_rate))[None]
            ).codes
            wav = tokenizer.decode(codes, speaker)[0].numpy()
            path = folder / f"{name}-as-{target}-{len(made)}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            Audio(wav, spec.sample_rate).save(path)
            made.append(embed(path))
            asked.append(target)
            source.append(name)
    to_target, to_other = compare(made, asked, targets)
    to_source, _ = compare(made, source, targets)
    figures = (to_target, to_source, to_other)
    return [Line(what, "swapped timbre", f) for what, f in zip(SWAPPED, figures, strict=True)]


def can_swap(rows: Sequence[Utterance], references: int = REFERENCES) -> bool:
    """Whether there are voices and recordings enough for `swap_timbre`."""
    return len(_swappable(rows, references)[1]) >= 2


def _swappable(
    rows: Sequence[Utterance], references: int
) -> tuple[dict[str, list[Utterance]], list[str]]:
    """`rows` by voice, and the voices with more than `references` of them."""
    by_voice: dict[str, list[Utterance]] = {}
    for row in rows:
        by_voice.setdefault(row.voice, []).append(row)
    return by_voice, sorted(name for name, own in by_voice.items() if len(own) > references)
