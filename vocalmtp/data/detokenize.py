"""Code shards to audio files: batched and resumable."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import torch

from vocalmtp.audio.io import Audio, check_format
from vocalmtp.data.shards import CodeItem, CodeShards, check_spec, list_splits, write_spec
from vocalmtp.errors import InputError
from vocalmtp.io.run_folder import only_writer
from vocalmtp.tokenizers import SpeechTokenizer


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
        if any(item.speaker is None for item in items):
            raise InputError(
                f"codes of {spec.name}: have no speaker vectors; tokenize again", code="empty"
            )
        speaker = torch.stack([item.speaker for item in items]).to(device)  # [B, D_s]
    wav = tokenizer.decode(codes.to(device), speaker, lengths.to(device)).cpu()
    ends = (lengths * spec.hop).tolist()
    return [Audio(wav[row, :end].numpy(), spec.sample_rate) for row, end in enumerate(ends)]
