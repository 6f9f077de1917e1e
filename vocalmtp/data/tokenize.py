"""Audio to code shards: batched, resumable, shard by shard."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from vocalmtp.audio import read_audio
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.shards import CodeItem, read_row, stamp, write_shard
from vocalmtp.lock import only_writer
from vocalmtp.reading import read_lines
from vocalmtp.tokenizers import SpeechTokenizer

SHARD = 1000  # utterances


def tokenize_manifest(
    manifest: Path | str,
    output: Path | str,
    tokenizer: SpeechTokenizer,
    *,
    split: str | None = None,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Encode every utterance of `manifest` into shards in `output`; returns how many there are.

    See `tokenize_rows`.
    """
    rows = read_manifest(manifest, split)
    return tokenize_rows(rows, output, tokenizer, batch_size=batch_size, progress=progress)


def tokenize_rows(
    rows: list[Utterance],
    output: Path | str,
    tokenizer: SpeechTokenizer,
    *,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Encode the audio of `rows` into shards in `output`; returns how many there are.

    Shards that are whole are kept. `progress(done, total)` is called after every batch. Raises
    InputError if `output` holds the codes of another tokenizer or another process writes there, or
    an audio file cannot be read.
    """
    output, done = Path(output), 0
    with only_writer(output):
        stamp(output, tokenizer.card)
        for path, name, chunk in _shards(output, rows):
            if not _whole(path, chunk):
                items = []
                for batch in _batches(chunk, batch_size):
                    items += _encode(batch, tokenizer)
                    progress(done + len(items), len(rows))
                write_shard(path, items, name)
            done += len(chunk)
            progress(done, len(rows))
    return done


def _whole(path: Path, rows: list[Utterance]) -> bool:
    """Whether the shard is written, and of these rows: the input may have changed since."""
    file = path.with_suffix(".jsonl")
    if not (file.is_file() and path.with_suffix(".safetensors").is_file()):
        return False
    what = f"shards '{path.parent}'"
    there = [read_row(file, number, line, what).id for number, line in read_lines(file, what)]
    return sorted(there) == sorted(row.id for row in rows)


def _shards(output: Path, rows: list[Utterance]) -> Iterator[tuple[Path, str, list[Utterance]]]:
    """Path, split and rows of every shard; a shard holds one split."""
    for split, group in groupby(sorted(rows, key=lambda row: row.split), key=lambda row: row.split):
        members = list(group)
        for start in range(0, len(members), SHARD):
            yield output / f"{split}-{start // SHARD:05d}", split, members[start : start + SHARD]


def _batches(rows: list[Utterance], size: int) -> Iterator[list[Utterance]]:
    """Rows of like length together, so that little is padding."""
    ordered = sorted(rows, key=lambda row: row.seconds)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _encode(rows: list[Utterance], tokenizer: SpeechTokenizer) -> list[CodeItem]:
    wavs = [torch.from_numpy(read_audio(row.audio, tokenizer.card.sample_rate)) for row in rows]
    lengths = torch.tensor([len(wav) for wav in wavs])
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)  # [B, N]
    made = tokenizer.encode(padded.to(tokenizer.device), lengths.to(tokenizer.device))
    items = []
    for place, row in enumerate(rows):
        codes: Tensor = made.codes[place, :, : made.lengths[place]].cpu()
        speaker = None if made.speaker is None else made.speaker[place].cpu()
        ends = torch.tensor(row.chars) if row.chars else None
        items.append(CodeItem(row.id, row.text, row.voice, codes, speaker, ends))
    return items
