"""Train a speech LM on code shards, from a recipe: `train(recipe)`.

The loop is the Hugging Face Trainer; batches are grouped by length under a budget of frames. Under
`torchrun` the processes share every batch, so that they train as one process does.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from vocalmtp.config import StrictModel
from vocalmtp.data.shards import CodeShards
from vocalmtp.heads import SpeechHead
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.models.base import TrainingOutput
from vocalmtp.models.batch import Batch
from vocalmtp.models.checkpoint import quiet
from vocalmtp.models.layout import IGNORED
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.training.batches import FrameBatches, Shares, cut
from vocalmtp.training.build import build_model
from vocalmtp.training.curriculum import active_heads
from vocalmtp.training.distributed import (
    flushed_denormals,
    from_first,
    is_first,
    mean_over_processes,
    num_processes,
    select_device,
    share_of_counts,
)
from vocalmtp.training.drafts import freeze
from vocalmtp.training.elastic import (
    DrawnGroupings,
    GroupedCollator,
    GroupedDataset,
    every_grouping,
)
from vocalmtp.training.eval_callback import DialogueEvalCallback
from vocalmtp.training.recipe import OptimRecipe, SpeechLMRecipe
from vocalmtp.training.run_files import (
    CHECKPOINTS,
    LOG,
    check_run,
    last_whole_checkpoint,
    progress_bar,
    write_recipe,
    write_row,
)
from vocalmtp.training.tasks import build_dataset


class SpeechTrainer(Trainer):
    """The Trainer with our batches, and the cross-entropy of every slot in its logs."""

    def __init__(self, collator: Callable[[list[Any]], Batch], optim: OptimRecipe, **kwargs: Any):
        super().__init__(data_collator=lambda rows: {"batch": collator(rows)}, **kwargs)
        self.recipe = optim
        self.losses: dict[bool, dict[str, list[Tensor]]] = {True: {}, False: {}}  # [2]

    def get_train_dataloader(self) -> DataLoader:
        batches = FrameBatches(
            self.train_dataset.frames,
            self.recipe.batch_frames,
            self.recipe.max_steps,
            self.recipe.seed,
        )
        shares = Shares(batches, self.accelerator.process_index, self.accelerator.num_processes)
        if self.elastic:
            shares = DrawnGroupings(shares, self.model.step_sizes, self.recipe.seed)
        return self._loader(self.train_dataset, shares)

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader:
        """All of the batches in every process: their means are then those of one process."""
        dataset = eval_dataset or self.eval_dataset
        frames = torch.tensor(dataset.frames)
        order = frames.argsort()
        batches = cut(order.tolist(), frames[order].tolist(), self.recipe.batch_frames)
        if self.elastic:
            batches = every_grouping(batches, self.model.step_sizes)
        return self._loader(dataset, batches)

    @property
    def elastic(self) -> bool:
        return len(self.model.step_sizes) > 1

    def _loader(self, dataset: Dataset, batches: Any) -> DataLoader:
        if self.elastic:
            dataset = GroupedDataset(dataset)
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=self.data_collator)
        # As the accelerator does it, except that it would hand every process other batches.
        return prepare_data_loader(
            loader, self.accelerator.device, 1, 0, put_on_device=self.accelerator.device_placement
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Batch],
        return_outputs: bool = False,
        **_: Any,
    ) -> Any:
        batch = inputs["batch"]
        counts = (batch.step_targets != IGNORED).sum((0, 1))  # [K]
        share = share_of_counts(counts)
        own = self.model.for_batch(batch)
        with weighted(own.head, share):
            output: TrainingOutput = model(batch, active_drafts=self._active(model.training))
        loss = output.loss + self._written(batch, output, model.training)
        parts, weights = [output.per_slot], [counts]
        if output.per_draft is not None:
            parts.append(output.per_draft)
        parts += [value[None] for value in output.auxiliary.values()]
        weights += [torch.ones_like(part) for part in parts[1:]]
        for noted in zip(loss_names(own), torch.cat(parts), torch.cat(weights), strict=True):
            self._note(model.training, *noted)
        return (loss, output) if return_outputs else loss

    def _written(self, batch: Batch, output: TrainingOutput, training: bool) -> Tensor | float:
        """Note the losses of what is written; what their weights over processes add to the loss."""
        if not isinstance(self.model, SpeechLM) or self.model.audio_encoder is None:
            return 0.0
        nothing = output.head_loss.new_zeros(())
        losses = (output.text_loss, output.character_loss)
        text, letters = (nothing if loss is None else loss for loss in losses)
        both = batch.text_targets, batch.audio_characters
        counts = torch.stack([count_targets(targets, nothing) for targets in both])
        parts = (
            nothing.new_zeros(2, 2) if output.text_loss_parts is None else output.text_loss_parts
        )
        for name, (value, count) in zip(WRITTEN[:2], parts, strict=True):
            self._note(training, name, value, count)
        self._note(training, WRITTEN[2], letters.detach(), counts[1])
        config, more = self.model.config, share_of_counts(counts) - 1.0  # [2]
        character_loss_weight = config.audio_input_config.character_loss_weight
        return config.text_loss_weight * more[0] * text + character_loss_weight * more[1] * letters

    def _note(self, training: bool, name: str, value: Tensor, weight: Tensor) -> None:
        """Keep a loss for the log, which has the mean by weight."""
        pair = torch.stack([value * weight, weight])
        self.losses[training].setdefault(name, []).append(pair)

    def _active(self, training: bool) -> int | None:
        """How many states of the draft head count now; None = all."""
        if self.model.draft is None or not training:
            return None
        own = int(
            self.recipe.trains == "all"
        )  # a head of next tokens that stays as it is has no turn
        heads, step = own + len(self.model.draft.offsets), self.state.global_step
        return active_heads(self.recipe.curriculum, step, self.recipe.max_steps, heads) - own

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        training = "loss" in logs
        seen = self.losses[training]
        if seen and (training or "eval_loss" in logs):
            sums = [torch.stack(pairs).mean(0) for pairs in seen.values()]
            sums = mean_over_processes(torch.stack(sums)).tolist()
            for name, (value, weight) in zip(seen, sums, strict=True):
                if weight:  # there was some of it
                    logs[f"{'' if training else 'eval_'}{name}"] = round(value / weight, 4)
            seen.clear()
        super().log(logs, *args, **kwargs)


def count_targets(targets: Tensor | None, like: Tensor) -> Tensor:
    """Count the targets that are learned, [] in the dtype of `like`."""
    return torch.zeros_like(like) if targets is None else (targets != IGNORED).sum().to(like.dtype)


WRITTEN = ("transcript", "answer", "letters")  # what is logged of a model that listens


def loss_names(model: SpeechLM) -> list[str]:
    """What is logged: every slot, every state of the draft head (by its offset), objectives.

    Those of an elastic model begin with its frames a step, such as g2.
    """
    offsets = () if model.draft is None else model.draft.offsets
    slots = [slot.name for slot in model.layout.slots]
    names = [*slots, *(f"draft.{offset}" for offset in offsets), *model.objectives]
    grouping = f"g{model.layout.frames_per_step}." if len(model.step_sizes) > 1 else ""
    return [grouping + name for name in names]


@contextmanager
def weighted(head: SpeechHead, shares: Tensor) -> Iterator[None]:
    """The head's loss with the part of every slot times its `shares` [K], inside the block."""
    names = [f"weight_{k}" for k in range(len(shares))]
    kept = [getattr(head, name) for name in names]
    try:
        for name, weight, share in zip(names, kept, shares, strict=True):
            setattr(head, name, weight * share)
        yield
    finally:
        for name, weight in zip(names, kept, strict=True):
            setattr(head, name, weight)


# Keys that may differ when a run is resumed.
MAY_CHANGE: dict[str, Any] = {
    "output": True,
    "device": True,
    "optim": dict.fromkeys(
        (
            "max_steps",
            "max_seconds",
            "log_every",
            "eval_every",
            "save_every",
            "precision",
        ),
        True,
    ),
}


def arguments(optim: OptimRecipe, device: str, folder: Path, evaluate: bool) -> TrainingArguments:
    """Translate a recipe to the arguments of the Trainer, which saves checkpoints in `folder`."""
    cpu = select_device(device).type == "cpu"
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=optim.max_steps,
        learning_rate=optim.learning_rate,
        lr_scheduler_type=optim.schedule,
        warmup_steps=optim.warmup_steps,
        weight_decay=optim.weight_decay,
        adam_beta2=optim.beta2,
        max_grad_norm=optim.clip,
        optim="adamw_torch_fused",
        bf16=optim.precision == "bf16",
        use_cpu=cpu,
        ddp_backend="gloo" if num_processes() > 1 and cpu else None,
        ddp_broadcast_buffers=False,  # they are constants, and weighted() has its own in each
        seed=optim.seed,
        logging_steps=optim.log_every,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=optim.eval_every,
        save_steps=optim.save_every,
        save_total_limit=2,
        remove_unused_columns=False,
        label_names=["batch"],
        prediction_loss_only=True,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=not cpu,
    )


class RunLog(TrainerCallback):
    """Write every log to a file, with an estimate of the time left; stop when time is up.

    Of several processes, the first one writes, and its clock counts for all.

    Args:
        file: the log, see `write_row`.
        max_seconds: the run stops, and saves, after this time.
        show: takes the completed share of the run.
    """

    def __init__(self, file: Path, max_seconds: float | None, show: Callable[[float], None]):
        self.file, self.max_seconds, self.show = file, max_seconds, show
        self.start = time.monotonic()
        self.first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start, self.first_step = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        seconds = time.monotonic() - self.start
        rate = (state.global_step - self.first_step) / max(seconds, 1e-9)
        left = (state.max_steps - state.global_step) / max(rate, 1e-9)
        if self.max_seconds is not None:
            left = max(0.0, min(left, self.max_seconds - seconds))
        row = {
            "step": state.global_step,
            "seconds": round(seconds, 1),
            "steps_per_s": round(rate, 3),
            "left_s": round(left),
        }
        write_row(self.file, row | {key: value for key, value in logs.items() if key != "epoch"})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        seconds, limit = time.monotonic() - self.start, self.max_seconds
        self.show(max(state.global_step / state.max_steps, seconds / limit if limit else 0.0))
        if limit is not None and from_first(seconds) > limit:
            control.should_training_stop = control.should_save = True
        return control


@flushed_denormals()
def train(recipe: SpeechLMRecipe, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Train (or go on from the last checkpoint in `recipe.output`) and return the model's folder.

    Writes config.json, model.safetensors, a pretrained backbone's text tokenizer, the resolved
    recipe.yaml and log.jsonl there. Raises InputError for missing shards or a model that cannot be
    built.
    """
    output = Path(recipe.output)
    shards = CodeShards(recipe.data.shards, recipe.data.split)
    torch.manual_seed(recipe.optim.seed)
    model, tokenizer = build_model(recipe, shards)
    freeze(model, recipe.optim.trains)
    config = model.config
    data = build_dataset(recipe.data, recipe.data.split, config, tokenizer)
    valid = None
    if recipe.data.valid_split is not None:
        most = recipe.data.valid_items
        valid = build_dataset(recipe.data, recipe.data.valid_split, config, tokenizer, most)
        if config.audio_input:
            callbacks = [DialogueEvalCallback(output / LOG, valid, tokenizer), *callbacks]
    collator = GroupedCollator(config) if len(model.step_sizes) > 1 else model.collator()

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)

    return run_trainer(recipe, model, collator, data, valid, save, callbacks)


def run_trainer(
    recipe: StrictModel,
    model: torch.nn.Module,
    collator: Callable[[list[Any]], Batch],
    data: Dataset,
    valid: Dataset | None,
    save: Callable[[Path], object],
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Train `model` as the `optim` of a recipe says, going on from the last whole checkpoint in its
    `output`; `save` writes what came out to a folder.
    """
    output, optim = Path(recipe.output), recipe.optim
    check_run(output, recipe, MAY_CHANGE)
    checkpoints = output / CHECKPOINTS
    with quiet(), progress_bar(output.name, is_first()) as show:
        trainer = SpeechTrainer(
            collator=collator,
            optim=optim,
            model=model,
            args=arguments(optim, recipe.device, checkpoints, valid is not None),
            train_dataset=data,
            eval_dataset=valid,
            callbacks=[RunLog(output / LOG, optim.max_seconds, show), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)  # RunLog prints
        if trainer.is_world_process_zero():
            write_recipe(output, recipe)
        checkpoint = last_whole_checkpoint(checkpoints)
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        if trainer.is_world_process_zero():
            with atomic_folder(output) as partial:
                save(partial)
        trainer.accelerator.wait_for_everyone()
    return output
