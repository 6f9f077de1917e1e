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

from vocalmtp.audio import Audio, read_audio
from vocalmtp.data.manifest import Utterance
from vocalmtp.errors import InputError
from vocalmtp.eval.report import Line
from vocalmtp.eval.rows import progress
from vocalmtp.eval.similarity import centroids, compare, embed
from vocalmtp.eval.statistics import Figure, bootstrap_correlation, bootstrap_ratio
from vocalmtp.pitch import fill_unvoiced, track_pitch
from vocalmtp.tokenizers import SpeechTokenizer
from vocalmtp.voices import make_voice

PROBE_STEPS, PROBE_BATCH = 300, 2048
PROBES = {"linear": 0, "mlp": 128}  # width of the hidden layer
HELD_OUT = 3  # every third sentence is for scoring, whoever says it


@dataclass
class Frames:
    """Codes and labels of many utterances, frame by frame."""

    codes: Tensor  # [N, Q] int64
    phones: Tensor  # [N] int64
    pitch: Tensor  # [N] log F0 relative to the utterance
    voiced: Tensor  # [N] bool
    speakers: Tensor  # [N] int64
    utterances: Tensor  # [N] int64
    held: Tensor  # [N] bool: of a sentence that is for scoring


def gather(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> Frames:
    """Encode `rows` and label every codec frame from their phone times, F0 and voice."""
    card = tokenizer.card
    phones = sorted({phone for row in rows for phone, _ in row.phones})
    if not phones:
        raise InputError("manifest: its rows have no phone times; the phone probe needs them")
    voices = sorted({row.voice for row in rows})
    # By sentence: no two voices say the same one on both sides, and every voice is on both.
    held = set(sorted({row.text for row in rows})[::HELD_OUT])
    parts: list[list[Tensor]] = []
    for number, row in enumerate(progress(rows, len(rows), "probe")):
        wav = torch.from_numpy(read_audio(row.audio, card.sample_rate))[None]
        codes = tokenizer.encode(wav).codes[0].T  # [T, Q]
        frames = len(codes)
        ends = np.array([end for _, end in row.phones])
        middles = (np.arange(frames) + 0.5) / card.frame_rate
        place = np.searchsorted(ends, middles).clip(max=len(ends) - 1)
        labels = torch.tensor([phones.index(row.phones[i][0]) for i in place])
        f0 = track_pitch(F.pad(wav, (0, card.hop)), sample_rate=card.sample_rate, hop=card.hop)
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


def streams_of(tokenizer: SpeechTokenizer, prosody: bool) -> list[int]:
    """Indices of the prosody streams, or of all the others."""
    roles = [stream.role == "prosody" for stream in tokenizer.card.streams]
    return [q for q, is_prosody in enumerate(roles) if is_prosody == prosody]


def probe_streams(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> list[Line]:
    """Phone accuracy, F0 correlation and speaker accuracy from content and from prosody streams.

    Chance is the share of the largest class; speakers are told by whole utterances, whose frames
    vote together. Raises InputError if the rows have no phone times.
    """
    frames = gather(tokenizer, rows)
    held, owner = frames.held, frames.utterances
    owners = torch.unique(owner[held])
    speakers = torch.stack([frames.speakers[owner == u][0] for u in owners])
    lines = []
    for kind, hidden in PROBES.items():
        for name, prosody in (("content", False), ("prosody", True)):
            streams = streams_of(tokenizer, prosody)
            if not streams:
                continue
            codes = frames.codes[:, streams]

            made = probe(codes, frames.phones, ~held, int(frames.phones.max()) + 1, hidden)
            right = (made.argmax(-1) == frames.phones).float()
            found = _share(right[held], owner[held])
            lines.append(Line(f"phone accuracy, {kind} probe", name, found, "%", 1))

            heard = held & frames.voiced
            made = probe(codes, frames.pitch, ~held & frames.voiced, None, hidden)
            pairs = (made[heard].numpy(), frames.pitch[heard].numpy(), owner[heard].numpy())
            lines.append(Line(f"F0 correlation, {kind} probe", name, bootstrap_correlation(*pairs)))

            made = probe(codes, frames.speakers, ~held, int(frames.speakers.max()) + 1, hidden)
            votes = torch.zeros(int(owner.max()) + 1, made.shape[1])
            votes.index_add_(0, owner, made.log_softmax(-1))
            right = (votes[owners].argmax(-1) == speakers).float()
            found = _share(right, owners)
            lines.append(Line(f"speaker accuracy, {kind} probe", name, found, "%", 1))
        for what, labels, units in (
            ("phone", frames.phones[held], owner[held]),
            ("speaker", speakers, owners),
        ):
            chance = _share((labels == labels.mode().values).float(), units)
            lines.append(Line(f"{what} accuracy, {kind} probe", "chance", chance, "%", 1))
    return lines


def _share(right: Tensor, units: Tensor) -> Figure:
    """Mean of `right` [N], with an interval over the `units` [N] that its entries belong to."""
    groups = torch.unique(units, return_inverse=True)[1]
    totals = torch.zeros(int(groups.max()) + 1).index_add_(0, groups, right)
    return bootstrap_ratio(totals.tolist(), groups.bincount().tolist())


def swap_timbre(
    tokenizer: SpeechTokenizer, rows: Sequence[Utterance], folder: Path, references: int = 6
) -> list[Line]:
    """Decode rows with the next voice's timbre; similarity to that voice and to their own.

    The first `references` rows of a voice make its timbre vector and its target; the next ten are
    swapped. Raises InputError if there are too few voices or rows.
    """
    by_voice: dict[str, list[Utterance]] = {}
    for row in rows:
        by_voice.setdefault(row.voice, []).append(row)
    names = sorted(name for name, own in by_voice.items() if len(own) > references)
    if len(names) < 2:
        raise InputError(
            f"voices '{', '.join(by_voice)}': swapping timbre needs two voices with more than "
            f"{references} recordings each"
        )
    files = {name: [row.audio for row in by_voice[name][:references]] for name in names}
    targets = centroids(files)
    vectors = {name: make_voice(paths, tokenizer, name).vector for name, paths in files.items()}
    rate = tokenizer.card.sample_rate
    made, asked, source = [], [], []
    for name, target in zip(names, [*names[1:], names[0]], strict=True):
        speaker = torch.from_numpy(vectors[target])[None]  # [1, D_s]
        for row in by_voice[name][references : references + 10]:
            codes = tokenizer.encode(torch.from_numpy(read_audio(row.audio, rate))[None]).codes
            wav = tokenizer.decode(codes, speaker)[0].numpy()
            path = folder / f"{name}-as-{target}-{len(made)}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            Audio(wav, rate).save(path)
            made.append(embed(path))
            asked.append(target)
            source.append(name)
    to_target, to_other = compare(made, asked, targets)
    to_source, _ = compare(made, source, targets)
    return [
        Line("similarity to the voice of the vector", "swapped timbre", to_target),
        Line("similarity to the voice of the codes", "swapped timbre", to_source),
        Line("similarity to the nearest voice but that of the vector", "swapped timbre", to_other),
    ]
