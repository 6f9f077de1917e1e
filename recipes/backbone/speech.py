"""What a row says: loss, words, voice and speed, and what its training took."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vocalmtp.ablation.evaluate import training_seconds
from vocalmtp.bench.speed import codec_seconds, loop_seconds
from vocalmtp.data.shards import CodeShards
from vocalmtp.decoding.options import UNVERIFIED, Decoding
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import Evaluators, success
from vocalmtp.evaluation.sentences import pick_items, pick_references
from vocalmtp.evaluation.systems import FAILURES, SYNTHESIS, synthesize
from vocalmtp.hub import model_folder
from vocalmtp.loading import load
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.streams import ADVANCE
from vocalmtp.training.batches import FrameBatches, cut_batches
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.run_files import LOG, read_log
from vocalmtp.training.tasks import PromptDataset
from vocalmtp.training.train import loss_shares
from vocalmtp.tts import TTS

JUDGES = ["whisper-tiny.en", "resemblyzer"]
LOOP_SECONDS, REPEATS = 2.4, 3  # of audio, in a timed decode loop
VALID_ROWS, VALID_FRAMES = 100, 1000

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all rows share.

    Attributes:
        manifest: of the corpus, with test sentences.
        codes: its shards.
        voice: that reads.
        sentences: of the test list.

    """

    manifest: Path
    codes: Path
    voice: str
    sentences: int


def measure_speech(
    model: str, setting: Setting, recipe: SpeechLMRecipe | None = None, modules: int = 0
) -> Row:
    """Measure a model; with the recipe, also its training.

    Args:
        model: name or folder of the exported model.
        setting: of all rows.
        recipe: of its training.
        modules: how many further steps a pass emits by the modules of a draft head, unverified.

    """
    decoding = Decoding(drafts=modules, accept=UNVERIFIED) if modules else None
    tts = load(model, int8=False, decoding=decoding)
    name = Path(model).name + (f"_{modules + 1}" if modules else "")
    row: Row = {"name": name} | spoken(name, tts, setting) | speed(tts)
    row |= validation_loss(SpeechLM.load(model_folder(model)), model_folder(model), setting)
    return row if recipe is None else row | training(recipe)


def spoken(name: str, tts: TTS, setting: Setting) -> Row:
    """Word error rate, success and similarity of the test sentences, with 95 % intervals."""
    items = pick_items(setting.manifest, "test", [setting.voice], setting.sentences)
    references = pick_references(setting.manifest, [setting.voice], items)
    evaluators = Evaluators(Judges(JUDGES, "cpu"), references, Path("spoken"))
    folder = Path("spoken") / name
    made = synthesize(SYNTHESIS, items, tts, folder, references)
    found = evaluators.intelligibility(SYNTHESIS, made, folder) | success(made)
    found |= evaluators.similarity(SYNTHESIS, made, folder)
    row: Row = {
        key: [found[key].value, found[key].low, found[key].high]
        for key in ("wer", "success", "similarity")
        if key in found
    }
    row["failures"] = {kind: sum(item.failure == kind for item in made) for kind in FAILURES}
    return row | {"sentences": len(made)}


def speed(tts: TTS) -> Row:
    """Real-time factor at batch 1: a decode loop of a fixed length, and the tokenizer."""
    frames = round(LOOP_SECONDS * tts.tokenizer.spec.frame_rate)
    passes = -(-tts.model.layout.num_steps(frames) // (1 + tts.decoding.drafts))
    loops = loop_seconds({"": tts}, 1, {"": passes}, REPEATS)[""]
    codec = codec_seconds(tts, frames, REPEATS)
    return {"rtf": [(codec + taken) / LOOP_SECONDS for taken in sorted(loops)]}


def measure_reading(model: str, setting: Setting) -> Row:
    """How much of its prompt a model uses: its loss after the text of another utterance."""
    folder = model_folder(model)
    speech_lm = SpeechLM.load(folder)
    own = validation_loss(speech_lm, folder, setting)
    return {"own": own, "other": validation_loss(speech_lm, folder, setting, other_text=True)}


@torch.inference_mode()
def validation_loss(
    model: SpeechLM, folder: Path, setting: Setting, other_text: bool = False
) -> Row:
    """Negative log-likelihood of validation speech, in nats per codec frame.

    It is that of all tokens: of the codec, and of the text track where there is one; `loss_codec` is
    that of the codec alone. A flat layout has one slot for both.

    Args:
        model: the speech LM.
        folder: its folder, with its text tokenizer.
        setting: of all rows.
        other_text: prompts have the text of another utterance; the text track is not changed.

    """
    model = model.eval()
    has_text = (folder / "tokenizer_config.json").is_file()
    text = load_text_tokenizer(folder) if has_text else None
    rows = PromptDataset(CodeShards(setting.codes, "valid"), model.config, VALID_FRAMES, text)
    frames = rows.frames[:VALID_ROWS]
    order = sorted(range(len(frames)), key=frames.__getitem__)
    total = torch.zeros(model.layout.tokens_per_step)
    for batch in cut_batches(order, [frames[i] for i in order], VALID_FRAMES):
        prompts = [rows[i] for i in batch]
        if other_text:
            texts = [rows[(i + 1) % len(frames)][0] for i in batch]
            prompts = [[text, *prompt[1:]] for text, prompt in zip(texts, prompts, strict=True)]
        collated = model.collator()(prompts)
        losses = model(collated).per_slot
        assert losses is not None, "of every batch"
        total += losses * loss_shares(model, collated)[0]
    row: Row = {"loss": float(total.sum()) / sum(frames)}
    if not model.layout.flat:
        streams = model.layout.streams
        codec = [streams[slot.stream].name != ADVANCE for slot in model.layout.slots]
        row["loss_codec"] = float(total[torch.tensor(codec)].sum()) / sum(frames)
    return row


def training(recipe: SpeechLMRecipe) -> Row:
    """Seconds, updates and hours of speech of a training, and what was trained."""
    log, optim = read_log(Path(recipe.output) / LOG), recipe.optim
    updates = max(row["step"] for row in log)
    shards = CodeShards(recipe.data.shards, recipe.data.split)
    frames = [count for count in shards.frames if count <= recipe.data.max_frames]
    batches = FrameBatches(frames, optim.batch_frames, updates, optim.seed)
    seen = sum(frames[index] for batch in batches for index in batch)
    return {
        "training_seconds": training_seconds(log),
        "updates": updates,
        "hours": seen / shards.spec.frame_rate / 3600,
    }
