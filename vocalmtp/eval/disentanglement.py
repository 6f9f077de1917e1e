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
from vocalmtp.eval.rows import progress
from vocalmtp.eval.similarity import centroids, compare, embed
from vocalmtp.eval.statistics import Figure
from vocalmtp.pitch import fill_unvoiced, track_pitch
from vocalmtp.tokenizers import SpeechTokenizer

PROBE_STEPS = 300


@dataclass
class Frames:
    """Codes and labels of many utterances, frame by frame."""

    codes: Tensor  # [N, Q] int64
    phones: Tensor  # [N] int64
    pitch: Tensor  # [N] log F0 relative to the utterance
    voiced: Tensor  # [N] bool
    speakers: Tensor  # [N] int64
    utterances: Tensor  # [N] int64


def gather(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> Frames:
    """Encode `rows` and label every codec frame from their phone times, F0 and voice."""
    card = tokenizer.card
    phones = sorted({phone for row in rows for phone, _ in row.phones})
    if not phones:
        raise InputError("manifest: its rows have no phone times; the phone probe needs them")
    voices = sorted({row.voice for row in rows})
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
        speaker = voices.index(row.voice) * whole
        parts.append([codes, labels, log_f0 - mean, voiced, speaker, number * whole])
    return Frames(*(torch.cat(column) for column in zip(*parts, strict=True)))


def probe(codes: Tensor, target: Tensor, train: Tensor, classes: int | None) -> Tensor:
    """Predictions [N] (or [N, classes]) of a net over `codes` [N, q], fitted where `train`."""
    torch.manual_seed(0)
    tables = nn.ModuleList(
        nn.Embedding(int(codes[:, q].max()) + 1, 32) for q in range(codes.shape[1])
    )
    head = nn.Sequential(nn.Linear(32 * len(tables), 128), nn.GELU(), nn.Linear(128, classes or 1))
    optimizer = torch.optim.Adam([*tables.parameters(), *head.parameters()], lr=5e-3)
    places = train.nonzero()[:, 0]

    def run(index: Tensor) -> Tensor:
        return head(torch.cat([t(codes[index, q]) for q, t in enumerate(tables)], dim=-1))

    for _ in range(PROBE_STEPS):
        index = places[torch.randint(len(places), (2048,))]
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


def probe_streams(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> dict[str, float]:
    """Phone accuracy, F0 correlation and speaker accuracy from content and from prosody streams.

    Every third utterance is held out for scoring. Chance levels are those of the largest class.
    """
    frames = gather(tokenizer, rows)
    held = frames.utterances % 3 == 0
    figures: dict[str, float] = {
        "phone_chance": _largest(frames.phones[held]),
        "speaker_chance": _largest(frames.speakers[held]),
    }
    for name, prosody in (("content", False), ("prosody", True)):
        streams = streams_of(tokenizer, prosody)
        if not streams:
            continue
        codes = frames.codes[:, streams]
        made = probe(codes, frames.phones, ~held, int(frames.phones.max()) + 1)
        figures[f"phone_from_{name}"] = _accuracy(made.argmax(-1)[held], frames.phones[held])
        made = probe(codes, frames.pitch, ~held & frames.voiced, None)
        heard = held & frames.voiced
        pair = torch.stack([made[heard], frames.pitch[heard]])
        figures[f"pitch_from_{name}"] = torch.corrcoef(pair)[0, 1].item()
        made = probe(codes, frames.speakers, ~held, int(frames.speakers.max()) + 1)
        logs = made.log_softmax(-1)
        votes = torch.zeros(int(frames.utterances.max()) + 1, logs.shape[1])
        votes.index_add_(0, frames.utterances, logs)  # an utterance's frames vote together
        first = torch.unique(frames.utterances[held])
        truth = torch.stack([frames.speakers[frames.utterances == u][0] for u in first])
        figures[f"speaker_from_{name}"] = _accuracy(votes[first].argmax(-1), truth)
    return figures


def swap_timbre(
    tokenizer: SpeechTokenizer, rows: Sequence[Utterance], folder: Path, references: int = 6
) -> dict[str, Figure]:
    """Decode every row with the next voice's timbre; similarity to that voice and to its own."""
    by_voice: dict[str, list[Utterance]] = {}
    for row in rows:
        by_voice.setdefault(row.voice, []).append(row)
    names = sorted(by_voice)
    if len(names) < 2:
        raise InputError(f"voices '{names[0]}': swapping timbre needs two voices or more")
    files = {name: [row.audio for row in by_voice[name][:references]] for name in names}
    targets = centroids(files)
    rate = tokenizer.card.sample_rate
    vectors = {}
    for name, paths in files.items():
        wavs = [torch.from_numpy(read_audio(path, rate))[None] for path in paths]
        vectors[name] = F.normalize(
            torch.cat([tokenizer.embed_speaker(w) for w in wavs]).mean(0), dim=0
        )
    made, asked, source = [], [], []
    for name in names:
        target = names[(names.index(name) + 1) % len(names)]
        for row in by_voice[name][references : references + 10]:
            codes = tokenizer.encode(torch.from_numpy(read_audio(row.audio, rate))[None]).codes
            wav = tokenizer.decode(codes, vectors[target][None])[0].numpy()
            path = folder / f"{name}-as-{target}-{len(made)}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            Audio(wav, rate).save(path)
            made.append(embed(path))
            asked.append(target)
            source.append(name)
    to_target, _ = compare(made, asked, targets)
    to_source, _ = compare(made, source, targets)
    return {"swapped_to_target": to_target, "swapped_to_source": to_source}


def _accuracy(made: Tensor, truth: Tensor) -> float:
    return (made == truth).float().mean().item()


def _largest(labels: Tensor) -> float:
    return labels.bincount().max().item() / len(labels)
