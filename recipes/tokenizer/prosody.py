"""How well the prosody stream keeps F0, by its levels and by the range of the F0 tracker.

The prosody encoder, quantizer and pitch decoder of the tokenizer alone, trained for a minute or two
on the contours of a corpus: an upper limit of what the whole tokenizer can reach with these codes.

    python recipes/tokenizer/prosody.py corpus --limit 400 --steps 1500
"""

import math
import random
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.audio.io import read_audio
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.tokenizers.neural import EXCITATION_LEAD, LOOKAHEAD, NeuralTokenizerConfig
from vocalmtp.tokenizers.neural.features import FOLD, FeatureExtractor
from vocalmtp.tokenizers.neural.model import Decoder, Encoder
from vocalmtp.training.distributed import flushed_denormals

RATE, MELS = 24_000, 8
CROP, BATCH = 48, 24  # codec frames, rows
VARIANTS = {
    "10 bits: 4 4 4 4 4": (4, 4, 4, 4, 4),
    "12 bits: 8 8 8 8": (8, 8, 8, 8),
    "12 bits: 4 4 4 4 4 4": (4, 4, 4, 4, 4, 4),
    "13.3 bits: 10 10 10 10": (10, 10, 10, 10),
    "14 bits: 8 8 8 8 4": (8, 8, 8, 8, 4),
    "12 bits: 16 16 4 4": (16, 16, 4, 4),
    "12 bits: 32 8 4 4": (32, 8, 4, 4),
    "12 bits: 32 32 2 2": (32, 32, 2, 2),
    "12 bits: 64 4 4 4": (64, 4, 4, 4),
    "12 bits: 64 8 4 2": (64, 8, 4, 2),
    "12 bits: 64 16 2 2": (64, 16, 2, 2),
}
Contours = tuple[Tensor, Tensor, Tensor]  # prosody [F, 3], log F0 [F], voiced [F]


def contours(rows: list[Utterance], highest: float) -> list[Contours]:
    """F0, voicing and energy of every utterance that has a voiced frame."""
    extract, found = FeatureExtractor(RATE, MELS, (60.0, highest)), []
    for row in rows:
        wav = torch.from_numpy(read_audio(row.audio, RATE))[None]
        one = extract(wav)
        if one.voiced.any():
            found.append((one.prosody[0], one.log_f0[0] - one.pitch_mean[0], one.voiced[0]))
    return found


def batch_of(data: list[Contours], draws: random.Random) -> list[Tensor]:
    """Crops of one length: prosody [B, F, 3], log F0 relative to the mean [B, F], voiced [B, F]."""
    size, rows = (CROP + 2) * FOLD, []
    for parts in draws.choices(data, k=BATCH):
        start = draws.randrange(max(1, len(parts[1]) - size)) // FOLD * FOLD
        cut = [part[start : start + size].float() for part in parts]
        rows.append([F.pad(x.T, (0, size - len(x))).T if x.dim() == 2 else
                     F.pad(x, (0, size - len(x))) for x in cut])  # fmt: skip
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def losses(encoder: Encoder, decoder: Decoder, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Absolute errors of log F0 [B, F], and their weights: 1 where a voiced frame is decoded."""
    prosody, log_f0, voiced = parts
    hidden, _ = encoder.prosody(encoder.prosody_in(prosody.unflatten(1, (-1, FOLD)).flatten(2)))
    latent = encoder.prosody_out(hidden)
    zeros = latent.new_zeros(*latent.shape[:2], len(encoder.content_out.bias))
    values = encoder.quantizer(torch.cat([zeros, latent], dim=-1)).values
    x, _ = decoder.pitch(decoder.pitch_in(values[..., -decoder.digits :].double()))
    found = (decoder.pitch_out(x).flatten(1) / 4)[:, LOOKAHEAD * FOLD :]
    frames = found.shape[1] - EXCITATION_LEAD
    true = log_f0[:, EXCITATION_LEAD:][:, :frames]
    return (found[:, :frames] - true).abs(), voiced[:, EXCITATION_LEAD:][:, :frames].float()


@flushed_denormals()
def train(levels: tuple[int, ...], data: list[Contours], steps: int) -> tuple[Encoder, Decoder]:
    """Train the parts of a tokenizer that encode and decode prosody."""
    torch.manual_seed(0)
    config = NeuralTokenizerConfig(
        sample_rate=RATE, mels=MELS, prosody_levels=levels, content_streams=1, levels=(2,),
        encoder_dim=8, encoder_layers=1, decoder_dim=8, decoder_layers=1, frame_dim=8, frame_layers=1,
    )  # fmt: skip
    encoder, decoder = Encoder(config), Decoder(config)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    draws = random.Random(0)
    for step in range(steps):
        rate = (
            2e-3
            * min(1, (step + 1) / 50)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        )
        optimizer.param_groups[0]["lr"] = rate
        error, weight = losses(encoder, decoder, batch_of(data, draws))
        loss = (error * (0.1 + 0.9 * weight)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder, decoder


def main(
    corpus: Annotated[Path, typer.Argument(help="A corpus of recipes/corpus.")],
    limit: Annotated[int, typer.Option(help="Utterances to train on.")] = 400,
    steps: Annotated[int, typer.Option(help="Updates of each variant.")] = 1500,
    highest: Annotated[float, typer.Option(help="Highest F0 of the tracker, Hz.")] = 600.0,
) -> None:
    """Print the mean error of F0 on held-out utterances by levels, and F0 ranges by voice."""
    torch.set_num_threads(1)
    draws = random.Random(0)
    rows = {split: read_manifest(corpus, split) for split in ("train", "valid")}
    chosen = {split: draws.sample(own, min(limit, len(own))) for split, own in rows.items()}
    by_voice: dict[str, list[Tensor]] = defaultdict(list)
    extract = FeatureExtractor(RATE, MELS, (60.0, highest))
    for row in chosen["valid"]:
        one = extract(torch.from_numpy(read_audio(row.audio, RATE))[None])
        by_voice[row.voice].append(one.log_f0[one.voiced].exp())
    print("| voice | median F0, Hz | 99th percentile | above 420 Hz |\n|---|---|---|---|")
    for voice, values in sorted(by_voice.items()):
        f0 = torch.cat(values)
        high = f0.quantile(0.99)
        print(f"| {voice} | {f0.median():.0f} | {high:.0f} | {(f0 > 420).float().mean():.1%} |")
    data = {split: contours(own, highest) for split, own in chosen.items()}
    print("\n| prosody stream | mean error of F0 | above 5 % |\n|---|---|---|", flush=True)
    for name, levels in VARIANTS.items():
        encoder, decoder = train(levels, data["train"], steps)
        draws, total, wrong, count = random.Random(1), 0.0, 0.0, 0.0
        with torch.no_grad():
            for _ in range(40):
                error, weight = losses(encoder, decoder, batch_of(data["valid"], draws))
                total += float((error * weight).sum())
                wrong += float(((error > 0.05) * weight).sum())
                count += float(weight.sum())
        print(f"| {name} | {total / count:.2%} | {wrong / count:.1%} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
