"""The control of similarity: how like the two voices of a `SwappedTTS` its speech is.

What is then like the vector's voice is the tokenizer's doing; what is still like the voice that the
codes were said in was carried by the codes, which is the speech LM's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from vocalmtp.ablation.judges import Evaluators, embeddings
from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.data.manifest import Utterance
from vocalmtp.evaluation import similarity
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.evaluation.swapped import SwappedTTS, next_names
from vocalmtp.evaluation.systems import voices_of
from vocalmtp.io.run_folder import JsonlStore
from vocalmtp.tokenizers.base import SpeechTokenizer
from vocalmtp.tts import TTS
from vocalmtp.voices import make_voice


def swapped_speech(
    tts: TTS, judges: Evaluators, folder: Path, sampling: dict[str, Any]
) -> dict[str, Estimate]:
    """Similarities of what a model says, see `compare_swapped`; nothing if it has no vectors."""
    voices = voices_of(judges.few, tts, judges.references)
    if not tts.tokenizer.spec.speaker_dim or len(voices) < 2:
        return {}
    swapped = SwappedTTS(tts, voices)

    def say(items: Sequence[Utterance]) -> Iterator[Audio]:
        asked = [voices[item.voice] for item in items]
        return swapped.batch([i.text for i in items], voice=asked, **sampling)

    return compare_swapped("tts", say, judges, folder)


def swapped_resynthesis(
    tokenizer: SpeechTokenizer, judges: Evaluators, folder: Path
) -> dict[str, Estimate]:
    """As `swapped_speech`, of natural speech's own codes."""
    spec = tokenizer.spec
    names = {item.voice for item in judges.few}
    if not spec.speaker_dim or len(names) < 2:
        return {}
    vectors = {}
    for name in names:
        paths = [row.audio for row in judges.references if row.voice == name]
        vectors[name] = torch.from_numpy(make_voice(paths, tokenizer, name).vector)[None]
    other = next_names(names)

    def say(items: Sequence[Utterance]) -> Iterator[Audio]:
        for item in items:
            wav = torch.from_numpy(read_audio(item.audio, spec.input_rate))[None]
            codes = tokenizer.encode(wav)
            made = tokenizer.decode(codes.codes, vectors[other[item.voice]], codes.lengths)
            yield Audio(made[0].numpy(), spec.sample_rate)

    return compare_swapped("resynthesis", say, judges, folder)


def compare_swapped(system: str, say: Any, judges: Evaluators, folder: Path) -> dict[str, Estimate]:
    """`say(items)` the few items; compare to the voice of the vector, and to that of the codes.

    Audio and rows are kept in `folder`; what is there is not said again.
    """
    rows = JsonlStore(folder / "rows" / f"audio-swapped-{system}.jsonl")
    todo = [item for item in judges.few if rows.get(item.id) is None]
    for item, audio in zip(todo, say(todo) if todo else (), strict=True):
        path = folder / "audio" / f"swapped-{system}" / f"{item.id.replace('/', '_')}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.save(path)
        rows.append({"id": item.id, "audio": str(path), "seconds": audio.duration})
    said = [rows.get(item.id) for item in judges.few]
    heard = {row["id"]: Path(row["audio"]) for row in said if row["seconds"]}
    made = embeddings(heard, folder / "rows" / f"speaker-swapped-{system}.jsonl")
    vectors = [made.get(item.id) for item in judges.few]
    source = [item.voice for item in judges.few]
    other = next_names(set(source))
    to_vector, _ = similarity.compare(vectors, [other[name] for name in source], judges.targets)
    to_codes, _ = similarity.compare(vectors, source, judges.targets)
    return {"swapped_to_vector": to_vector, "swapped_to_codes": to_codes}
