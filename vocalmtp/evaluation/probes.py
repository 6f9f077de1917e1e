"""Probes of a tokenizer's streams: trained on the codes of some sentences, scored on others.

In a decoupled tokenizer phones are in the content streams and not in prosody, pitch is in prosody
and not in content, and the speaker is in neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.audio.io import read_audio
from vocalmtp.audio.pitch import fill_unvoiced, track_pitch
from vocalmtp.data.manifest import Utterance
from vocalmtp.errors import InputError
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.statistics import (
    NOT_MEASURED,
    Estimate,
    bootstrap_correlation,
    bootstrap_ratio,
)
from vocalmtp.io.progress import track
from vocalmtp.tokenizers import SpeechTokenizer, TokenizerSpec

PROBE_STEPS, PROBE_BATCH = 300, 2048
PROBES = {"linear": 0, "mlp": 128}  # width of the hidden layer
GROUPS = {  # of streams, by their roles; no tokenizer has all of them
    "content": ("content", "semantic"),
    "prosody": ("prosody",),
    "acoustic": ("acoustic",),
}
HELD_OUT = 3  # every third sentence is for scoring, in all voices


@dataclass
class Frames:
    """Codes and labels of many utterances, frame by frame."""

    codes: Tensor  # [N, Q] int64
    phones: Tensor  # [N] int64, -1 where unknown
    pitch: Tensor  # [N] log F0 relative to the utterance's mean
    voiced: Tensor  # [N] bool
    speakers: Tensor  # [N] int64
    utterances: Tensor  # [N] int64
    held: Tensor  # [N] bool, of a sentence for scoring


def gather(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> Frames:
    """Encode `rows` and label every codec frame with its phone, F0 and speaker.

    Phones are unknown unless every row has phone times.
    """
    spec = tokenizer.spec
    timed = all(row.phones for row in rows)
    phones = sorted({phone for row in rows for phone, _ in row.phones})
    voices = sorted({row.voice for row in rows})
    # By sentence: none is in both sets, and every voice is in both.
    held = set(sorted({row.text for row in rows})[::HELD_OUT])
    parts: list[list[Tensor]] = []
    for number, row in enumerate(track(rows, len(rows), "probe")):
        wav = torch.from_numpy(read_audio(row.audio, spec.input_rate))[None]
        with torch.no_grad():
            codes = tokenizer.encode(wav.to(tokenizer.device)).codes[0].T.cpu()  # [T, Q]
        frames = len(codes)
        labels = torch.full((frames,), -1)
        if timed:
            ends = np.array([end for _, end in row.phones])
            middles = (np.arange(frames) + 0.5) / spec.frame_rate
            indices = np.searchsorted(ends, middles).clip(max=len(ends) - 1)
            labels = torch.tensor([phones.index(row.phones[i][0]) for i in indices])
        padded, hop = F.pad(wav, (0, spec.input_hop)), spec.input_hop
        f0 = track_pitch(padded, sample_rate=spec.input_rate, hop=hop)
        f0 = f0[0, :frames]
        log_f0, voiced = fill_unvoiced(f0[None])[0], f0 > 0
        mean = log_f0[voiced].mean() if voiced.any() else 0.0
        ones = torch.ones(frames, dtype=torch.int64)
        speaker, is_held = voices.index(row.voice) * ones, (row.text in held) * ones
        pitch = log_f0 - mean
        parts.append([codes, labels, pitch, voiced, speaker, number * ones, is_held.bool()])
    return Frames(*(torch.cat(column) for column in zip(*parts, strict=True)))


def probe(
    codes: Tensor, target: Tensor, train: Tensor, classes: int | None, hidden: int = 128
) -> Tensor:
    """Fit a probe on the frames of `train` [N] and predict all.

    Args:
        codes: codes [N, q] of the probed streams.
        target: labels [N] int64, or values [N] for regression.
        train: frames [N] bool that the probe is fitted on.
        classes: number of labels; None for regression.
        hidden: width of the hidden layer over embedded codes; 0 for a linear probe of the one-hot
            codes.

    Returns:
        Logits [N, classes], or values [N].
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
    candidates = train.nonzero()[:, 0]

    def run(index: Tensor) -> Tensor:
        parts = [table(codes[index, q]) for q, table in enumerate(tables)]
        output: Tensor = head(torch.cat(parts, dim=-1)) if hidden else torch.stack(parts).sum(0)
        return output

    for _ in range(PROBE_STEPS):
        index = candidates[torch.randint(len(candidates), (PROBE_BATCH,))]
        output = run(index)
        if classes is None:
            loss = F.mse_loss(output[:, 0], target[index])
        else:
            loss = F.cross_entropy(output, target[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        output = run(torch.arange(len(codes)))
    return output[:, 0] if classes is None else output


def stream_groups(spec: TokenizerSpec) -> dict[str, list[int]]:
    """Indices of the streams of every group that the tokenizer has."""
    groups = {
        name: [q for q, stream in enumerate(spec.streams) if stream.role in roles]
        for name, roles in GROUPS.items()
    }
    return {name: streams for name, streams in groups.items() if streams}


def probe_streams(tokenizer: SpeechTokenizer, rows: Sequence[Utterance]) -> list[Metric]:
    """Probe the codes of `rows`, see `probe_frames`; raises InputError without phone times."""
    if not all(row.phones for row in rows):
        raise InputError(
            "manifest: its rows have no phone times, which the phone probe needs", code="missing"
        )
    return probe_frames(tokenizer.spec, gather(tokenizer, rows))


def probe_frames(spec: TokenizerSpec, frames: Frames) -> list[Metric]:
    """Phone accuracy, F0 correlation and speaker accuracy of every group of streams.

    Speakers are classified by the summed votes of an utterance's frames. Chance is the share of the
    largest class. Unknown phones and a single speaker are n/a.

    Raises:
        InputError: there is only one sentence.
    """
    if bool(frames.held.all()):
        raise InputError(
            "limit: the probes need two sentences or more; give a larger --limit", code="empty"
        )
    metrics = []
    for kind, hidden in PROBES.items():
        for name, streams in stream_groups(spec).items():
            codes = frames.codes[:, streams]
            phones = _phone_accuracy(frames, codes, hidden)
            speakers = _speaker_accuracy(frames, codes, hidden)
            metrics += [
                Metric(f"phone accuracy, {kind} probe", name, phones, "%", 1),
                Metric(f"F0 correlation, {kind} probe", name, _pitch(frames, codes, hidden)),
                Metric(f"speaker accuracy, {kind} probe", name, speakers, "%", 1),
            ]
        for target, chance in _chance(frames).items():
            metrics.append(Metric(f"{target} accuracy, {kind} probe", "chance", chance, "%", 1))
    return metrics


def _phone_accuracy(frames: Frames, codes: Tensor, hidden: int) -> Estimate:
    """Share of held-out frames whose phone is predicted from `codes` [N, q]."""
    held, count = frames.held, int(frames.phones.max()) + 1
    if not count:
        return NOT_MEASURED
    logits = probe(codes, frames.phones, ~held, count, hidden)
    return _share((logits.argmax(-1) == frames.phones).float()[held], frames.utterances[held])


def _speaker_accuracy(frames: Frames, codes: Tensor, hidden: int) -> Estimate:
    """Share of held-out utterances whose speaker is predicted from `codes` [N, q]."""
    count, utterances = int(frames.speakers.max()) + 1, frames.utterances
    if count < 2:
        return NOT_MEASURED
    logits = probe(codes, frames.speakers, ~frames.held, count, hidden)
    votes = torch.zeros(int(utterances.max()) + 1, count)
    votes.index_add_(0, utterances, logits.log_softmax(-1))
    owners, speakers = _held_speakers(frames)
    return _share((votes[owners].argmax(-1) == speakers).float(), owners)


def _pitch(frames: Frames, codes: Tensor, hidden: int) -> Estimate:
    """Correlation of F0, as predicted from `codes` [N, q], with the true one in voiced frames."""
    held, voiced = frames.held, frames.voiced
    scored = held & voiced
    if not bool(scored.any() and (~held & voiced).any()):
        return NOT_MEASURED
    values = probe(codes, frames.pitch, ~held & voiced, None, hidden)
    return bootstrap_correlation(
        values[scored].numpy(), frames.pitch[scored].numpy(), frames.utterances[scored].numpy()
    )


def _held_speakers(frames: Frames) -> tuple[Tensor, Tensor]:
    """The held-out utterances [U] and their speakers [U]."""
    owners = torch.unique(frames.utterances[frames.held])
    speakers = [frames.speakers[frames.utterances == owner][0] for owner in owners]
    return owners, torch.stack(speakers)


def _chance(frames: Frames) -> dict[str, Estimate]:
    """The accuracy of always predicting the largest class."""
    owners, speakers = _held_speakers(frames)
    phones, units = frames.phones[frames.held], frames.utterances[frames.held]
    chance = dict.fromkeys(("phone", "speaker"), NOT_MEASURED)
    if int(frames.phones.max()) >= 0:
        chance["phone"] = _share((phones == phones.mode().values).float(), units)
    if int(frames.speakers.max()) > 0:
        chance["speaker"] = _share((speakers == speakers.mode().values).float(), owners)
    return chance


def _share(correct: Tensor, units: Tensor) -> Estimate:
    """Mean of `correct` [N], with an interval over the `units` [N] that its entries belong to."""
    groups = torch.unique(units, return_inverse=True)[1]
    totals = torch.zeros(int(groups.max()) + 1).index_add_(0, groups, correct)
    return bootstrap_ratio(totals.tolist(), groups.bincount().tolist())
