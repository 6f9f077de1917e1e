"""What cells that draft need beside a training: own speech to learn from, a tree, and its count."""

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vocalmtp.ablation.expand import OWN, Cell
from vocalmtp.ablation.judges import Evaluators
from vocalmtp.data.manifest import read_manifest
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.tree import DraftTree, choose_paths
from vocalmtp.decoding.tree_calibration import measure_ranks
from vocalmtp.evaluation.statistics import Estimate, once
from vocalmtp.evaluation.systems import voices_of
from vocalmtp.io.atomic import atomic_path
from vocalmtp.training.distill import SpeechDistillJob, distill_speech
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import load_voices

if TYPE_CHECKING:
    from vocalmtp.ablation.grid import Grid

DISTILLED = Sampler(temperature=0.6, top_k=20, top_p=0.95)  # FastMTP, arXiv 2509.18362, section 3.3
BATCH = 8
TREE = "tree.json"  # a file of a cell
LEARNED, RANKS = 24, 8  # sentences that a tree is chosen by, and candidates that it may have


def write_own_speech(grid: "Grid", cell: Cell) -> None:
    """What the model that `cell` takes says of the corpus's first sentences, as shards.

    Held-out utterances stay those of the corpus. What has been said is kept.
    """
    rows = read_manifest(grid.corpus, "train", grid.voices)[: cell.distilled]
    folder, model = cell.folder / OWN, cell.folder.parent / str(cell.after) / "model"
    with atomic_path(cell.folder / "sentences.txt") as partial:
        partial.write_text("".join(f"{row.text}\n" for row in rows), encoding="utf-8")
    job = SpeechDistillJob(
        input=cell.folder / "sentences.txt",
        output=folder,
        model=str(model),
        sampler=DISTILLED,
        voices=tuple(load_voices(model / "voices")),
        split=cell.recipe.data.split,
    )
    distill_speech(job, batch_size=BATCH)
    for file in grid.codes(cell.tokenizer).glob("valid-*"):
        shutil.copy2(file, folder)


def choose_tree(grid: "Grid", cell: Cell, tts: TTS) -> None:
    """Choose by held-out sentences which candidates `cell` drafts; a tree that is there stays."""
    path = cell.folder / TREE
    if path.is_file():
        return
    rows = read_manifest(grid.corpus, "valid", grid.voices)[:LEARNED]
    sampling = grid.sampling(cell)
    asked = [
        SynthesisRequest(text=row.text, seed=n, sampling=sampling) for n, row in enumerate(rows)
    ]
    prompts = [tts.prompt(sentence) for request in asked for sentence in tts.plan(request)]
    acceptance = measure_ranks(tts.model, prompts, tts.model.draft.offsets[-1], RANKS, BATCH)
    tree, expected = choose_paths(acceptance, cell.tree)
    tree.save(path, acceptance, expected)


def decoding_of(cell: Cell) -> Decoding:
    """How `cell` decodes, once its tree has been chosen if it has one."""
    if not cell.tree:
        return cell.decoding
    return replace(cell.decoding, tree=DraftTree.load(cell.folder / TREE), accept="seed")


def drafted(tts: TTS, judges: Evaluators, sampling: dict[str, Any]) -> dict[str, Estimate]:
    """What drafts bring in saying the few sentences; nothing without drafts.

    The acceptance of a draft is conditional: of the times that all before it were kept.
    """
    if not tts.decoding.drafts:
        return {}
    fresh = tts.using(tts.decoding)
    voices = voices_of(judges.few, fresh, judges.references)
    asked = [voices[item.voice] for item in judges.few]
    texts = [item.text for item in judges.few]
    for _ in fresh.batch(texts, voice=asked, **sampling):
        pass
    found = fresh.statistics.summary()
    values = {name: found[name] for name in ("steps_per_forward", "wasted")}
    values["draft_parameters"] = sum(p.numel() for p in fresh.model.draft.parameters())
    values |= {f"kept_{n}": share for n, share in enumerate(found["acceptance"], start=1)}
    return {name: once(value) for name, value in values.items()}
