"""Audio to code shards and back: batched, and resumable by shard or file."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from vocalmtp.audio.formats import check_format
from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.shards import (
    CodeItem,
    CodeShards,
    check_spec,
    list_splits,
    read_row,
    write_shard,
    write_spec,
)
from vocalmtp.errors import InputError
from vocalmtp.io.read import read_lines
from vocalmtp.io.run_folder import only_writer
from vocalmtp.tokenizers import SpeechTokenizer

SHARD = 1000  # utterances
MAX_SECONDS = 600  # of a batch, padding included


def tokenize_manifest(
    manifest: Path | str,
    output: Path | str,
    tokenizer: SpeechTokenizer,
    *,
    split: str | None = None,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Encode every utterance of `manifest` into shards in `output`; see `tokenize_rows`."""
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
    """Encode the audio of `rows` into shards in `output`.

    Complete shards are kept.

    Args:
        rows: the utterances.
        output: the folder of the shards.
        tokenizer: the encoder, on any device.
        batch_size: utterances per batch at most.
        progress: called with the numbers of encoded and of all utterances after every batch.

    Returns:
        The number of utterances.

    Raises:
        InputError: `output` holds codes of another tokenizer or of other utterances, another
            process writes there, or an audio file cannot be read.

    """
    output, done = Path(output), 0
    with only_writer(output):
        write_spec(output, tokenizer.spec)
        _check_rows(output, rows)
        for row in rows:  # before encoding starts
            if not row.audio.is_file():
                raise InputError(
                    f"audio '{row.audio}': no such file; correct the manifest", code="not_found"
                )
        for path, name, chunk in _shards(output, rows):
            if not _complete(path, chunk):
                items = []
                for batch in _batches(chunk, batch_size):
                    items += _encode(batch, tokenizer)
                    progress(done + len(items), len(rows))
                write_shard(path, items, name)
            done += len(chunk)
            progress(done, len(rows))
    return done


def _check_rows(output: Path, rows: list[Utterance]) -> None:
    """Raise InputError if shards of a split of `rows` hold other utterances."""
    requested: dict[str, set[str]] = {}
    for row in rows:
        requested.setdefault(row.split, set()).add(row.id)
    for split, ids in requested.items():
        for file in sorted(output.glob(f"{split}-*.jsonl")):
            for name in _ids(file):
                if name not in ids:
                    raise InputError(
                        f"output '{output}': holds codes of another input ('{name}' of '{split}'); "
                        "choose another folder, or delete that one",
                        code="other_run",
                    )


def _ids(file: Path) -> list[str]:
    """The ids of the utterances of a shard."""
    what = f"shards '{file.parent}'"
    return [read_row(file, number, line, what).id for number, line in read_lines(file, what)]


def _complete(path: Path, rows: list[Utterance]) -> bool:
    """Whether a shard is written and holds exactly these rows."""
    file = path.with_suffix(".jsonl")
    if not (file.is_file() and path.with_suffix(".safetensors").is_file()):
        return False
    return sorted(_ids(file)) == sorted(row.id for row in rows)


def _shards(output: Path, rows: list[Utterance]) -> Iterator[tuple[Path, str, list[Utterance]]]:
    """Path, split and rows of every shard; a shard holds one split."""
    for split, group in groupby(sorted(rows, key=lambda row: row.split), key=lambda row: row.split):
        members = list(group)
        for start in range(0, len(members), SHARD):
            yield output / f"{split}-{start // SHARD:05d}", split, members[start : start + SHARD]


def _batches(rows: list[Utterance], size: int) -> Iterator[list[Utterance]]:
    """Group rows of similar length, to limit padding; fewer rows if they are long."""
    batch: list[Utterance] = []
    for row in sorted(rows, key=lambda row: row.seconds):
        if len(batch) == size or (batch and (len(batch) + 1) * row.seconds > MAX_SECONDS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _encode(rows: list[Utterance], tokenizer: SpeechTokenizer) -> list[CodeItem]:
    wavs = [torch.from_numpy(read_audio(row.audio, tokenizer.spec.input_rate)) for row in rows]
    lengths = torch.tensor([len(wav) for wav in wavs])
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)  # [B, N]
    encoded = tokenizer.encode(padded.to(tokenizer.device), lengths.to(tokenizer.device))
    items = []
    for place, row in enumerate(rows):
        codes: Tensor = encoded.codes[place, :, : encoded.lengths[place]].cpu()
        speaker = None if encoded.speaker is None else encoded.speaker[place].cpu()
        ends = torch.tensor(row.chars) if row.chars else None
        items.append(CodeItem(row.id, row.text, row.voice, codes, speaker, ends))
    return items


# -- codes to audio ----------------------------------------------------------------------------------


def detokenize_shards(
    codes: Path | str,
    output: Path | str,
    tokenizer: SpeechTokenizer,
    *,
    split: str | None = None,
    batch_size: int = 16,
    format: str = "wav",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Decode every utterance in the folder `codes` to `output`/ID.wav.

    Existing files are kept.

    Args:
        codes: a folder of code shards.
        output: the folder of the audio.
        tokenizer: the decoder, on any device.
        split: decode only this split.
        batch_size: utterances per batch.
        format: wav, flac or ogg.
        progress: called with the numbers of decoded and of all utterances after every batch.

    Returns:
        The number of utterances.

    Raises:
        InputError: the codes, or the files in `output`, were made by another tokenizer.

    """
    codes, output, format = Path(codes), Path(output), check_format(format)
    check_spec(codes, tokenizer.spec)
    items = [
        item
        for name in ([split] if split else list_splits(codes))
        for item in _items(CodeShards(codes, name))
    ]
    if not items:
        raise InputError(
            f"shards '{codes}': no utterances; make them with 'vocalmtp tokenize'", code="empty"
        )
    places = [_place(output, item.id, format) for item in items]
    with only_writer(output):
        write_spec(output, tokenizer.spec)
        todo = [pair for pair in zip(items, places, strict=True) if not pair[1].is_file()]
        todo.sort(key=lambda pair: pair[0].codes.shape[1])  # limits padding
        progress(len(items) - len(todo), len(items))
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            for (_, place), audio in zip(
                batch, _decode([item for item, _ in batch], tokenizer), strict=True
            ):
                place.parent.mkdir(parents=True, exist_ok=True)
                audio.save(place, format)
            progress(len(items) - len(todo) + start + len(batch), len(items))
    return len(items)


def _items(shards: CodeShards) -> list[CodeItem]:
    return [shards[index] for index in range(len(shards))]


def _place(output: Path, name: str, format: str) -> Path:
    """The file of an id, which must be inside `output`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise InputError(
            f"utterance '{name}': its id is not a file name inside the output folder",
            code="invalid_value",
        )
    return output / f"{name}.{format}"


def _decode(items: list[CodeItem], tokenizer: SpeechTokenizer) -> list[Audio]:
    spec, device = tokenizer.spec, tokenizer.device
    lengths = torch.tensor([item.codes.shape[1] for item in items])
    codes = torch.zeros(len(items), len(spec.streams), int(lengths.max()), dtype=torch.int64)
    for row, item in enumerate(items):
        codes[row, :, : lengths[row]] = item.codes
    speaker = None
    if spec.speaker_dim:
        vectors = [item.speaker for item in items if item.speaker is not None]
        if len(vectors) < len(items):
            raise InputError(
                f"codes of {spec.name}: have no speaker vectors; tokenize again", code="empty"
            )
        speaker = torch.stack(vectors).to(device)  # [B, D_s]
    wav = tokenizer.decode(codes.to(device), speaker, lengths.to(device)).cpu()
    ends = (lengths * spec.hop).tolist()
    return [Audio(wav[row, :end].numpy(), spec.sample_rate) for row, end in enumerate(ends)]
