"""Train a speech LM on code shards, from a recipe: `train(recipe)`.

The loop is the Trainer of Transformers, with batches of similar lengths under a budget of frames.
Under `torchrun`, the processes share every batch, so that they train as one process does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.data_loader import prepare_data_loader
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from vocalmtp.data.shards import CodeShards
from vocalmtp.heads.draft.base import later_targets
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.progress import quiet
from vocalmtp.models.base import LossShares, TrainingOutput
from vocalmtp.models.batch import Batch
from vocalmtp.models.layout import IGNORED
from vocalmtp.models.objectives import Objective
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_lm import Supervisor, TextLM
from vocalmtp.training.batches import (
    BatchShares,
    FrameBatches,
    RandomStepSizes,
    StepSizeCollator,
    StepSizeDataset,
    cut_batches,
    every_step_size,
)
from vocalmtp.training.build import build_model, freeze, speaking_model
from vocalmtp.training.callbacks import DialogueEvalCallback, RunLog, train_to_end
from vocalmtp.training.distill import write_own_speech
from vocalmtp.training.distributed import (
    flushed_denormals,
    is_first,
    mean_over_processes,
    num_processes,
    select_device,
    share_of_counts,
    usable_precision,
)
from vocalmtp.training.recipe import Curriculum, OptimRecipe, SpeechLMRecipe, TextLMRecipe
from vocalmtp.training.run_files import (
    CHECKPOINTS,
    LOG,
    check_run,
    progress_bar,
    write_recipe,
)
from vocalmtp.training.tasks import SizedDataset, build_dataset


class SpeechTrainer(Trainer):
    """Trainer with batches by frames, and the loss of every slot, draft state and task in its logs.

    Args:
        collator: makes a batch of prompts.
        optim: the recipe.
        teacher: of a text LM; None for no teacher.
        kwargs: of the Trainer.

    """

    model: SpeechLM | TextLM

    def __init__(
        self,
        collator: Callable[[list[Any]], Batch],
        optim: OptimRecipe,
        teacher: Supervisor | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_collator=lambda rows: {"batch": collator(rows)}, **kwargs)
        self.recipe = optim
        self.supervision = {} if teacher is None else {"teacher": teacher}
        # By whether in training: name -> [2] value times weight, and weight, of every batch.
        self.losses: dict[bool, dict[str, list[Tensor]]] = {True: {}, False: {}}

    def get_train_dataloader(self) -> DataLoader:
        """Load this process's share of every batch."""
        dataset, optim = cast(SizedDataset, self.train_dataset), self.recipe
        batches = FrameBatches(dataset.frames, optim.batch_frames, optim.max_steps, optim.seed)
        shares = BatchShares(
            batches, self.accelerator.process_index, self.accelerator.num_processes
        )
        if not self.elastic:
            return self._loader(dataset, shares)
        return self._loader(
            StepSizeDataset(dataset), RandomStepSizes(shares, self.model.step_sizes, optim.seed)
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Load all batches in every process, so that their means are those of one process."""
        dataset = cast(SizedDataset, eval_dataset or self.eval_dataset)
        frames = torch.tensor(dataset.frames)
        order = frames.argsort()
        batches = cut_batches(order.tolist(), frames[order].tolist(), self.recipe.batch_frames)
        if not self.elastic:
            return self._loader(dataset, batches)
        return self._loader(
            StepSizeDataset(dataset), every_step_size(batches, self.model.step_sizes)
        )

    @property
    def elastic(self) -> bool:
        """Whether batches have different numbers of frames per step."""
        return len(self.model.step_sizes) > 1

    def _loader(self, dataset: Any, batches: Any) -> DataLoader:
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=self.data_collator)
        # As the Trainer does, but it would give every process other batches.
        return prepare_data_loader(
            loader, self.accelerator.device, 1, 0, put_on_device=self.accelerator.device_placement
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of a batch; the losses that it consists of are kept for the log."""
        batch, active = inputs["batch"], self._active_drafts(model.training)
        sized = self.model.for_batch(batch)
        counts, shares = loss_shares(sized, batch)
        output: TrainingOutput = model(
            batch, active_drafts=active, shares=shares, **self.supervision
        )
        assert output.loss is not None and output.per_slot is not None, "of every batch"
        values, weights = [output.per_slot], [counts * (not sized.skips_head)]
        if output.per_draft is not None:  # the first `active` states have a loss
            states = torch.arange(len(output.per_draft), device=counts.device)
            is_active = states < (len(states) if active is None else active)
            values.append(output.per_draft)
            weights.append(is_active)
        for value in (output.auxiliary or {}).values():
            values.append(value[None])
            weights.append(torch.ones_like(value[None]))
        names = [*loss_names(sized), *self.supervision]
        for name, value, weight in zip(names, torch.cat(values), torch.cat(weights), strict=True):
            self._keep(model.training, name, value, weight)
        if isinstance(self.model, SpeechLM) and self.model.audio_encoder is not None:
            self._keep_text_losses(batch, output, model.training)
        return (output.loss, {}) if return_outputs else output.loss

    def _keep_text_losses(self, batch: Batch, output: TrainingOutput, training: bool) -> None:
        """Keep the losses of transcripts, answers and characters of the audio input.

        All are kept for every batch, so that all processes log the same names.
        """
        assert output.head_loss is not None, "of every batch"
        parts, characters = output.text_loss_parts, output.character_loss
        if parts is None:  # [2, 2]
            parts = output.head_loss.new_zeros(2, 2)
        for name, (value, count) in zip(("transcript", "answer"), parts, strict=True):
            self._keep(training, name, value, count)
        if characters is None:
            characters = output.head_loss.new_zeros(())
        count = count_targets(batch.audio_characters, characters)
        self._keep(training, "characters", characters.detach(), count)

    def _keep(self, training: bool, name: str, value: Tensor, weight: Tensor) -> None:
        """Keep a loss for the log, which has the mean by weight."""
        pair = torch.stack([value * weight, weight.to(value.dtype)])
        self.losses[training].setdefault(name, []).append(pair)

    def _active_drafts(self, training: bool) -> int | None:
        """Number of states of the draft head that are trained now; None for all."""
        if self.model.draft is None or not training:
            return None
        before = 1 if self.recipe.trainable == "all" else 0  # the next-token head, unless frozen
        heads, step = before + len(self.model.draft.offsets), self.state.global_step
        return active_heads(self.recipe.curriculum, step, self.recipe.max_steps, heads) - before

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean of every loss since the last log, if any batch had it."""
        training = "loss" in logs
        kept = self.losses[training]
        if kept and (training or "eval_loss" in logs):
            means = torch.stack([torch.stack(pairs).mean(0) for pairs in kept.values()])
            for name, (value, weight) in zip(
                kept, mean_over_processes(means).tolist(), strict=True
            ):
                if weight:
                    logs[f"{'' if training else 'eval_'}{name}"] = round(value / weight, 4)
            kept.clear()
        super().log(logs, *args, **kwargs)


def count_targets(targets: Tensor | None, like: Tensor) -> Tensor:
    """Number of targets that are not ignored, [] in the dtype of `like`."""
    return like.new_zeros(()) if targets is None else (targets != IGNORED).sum().to(like.dtype)


def loss_shares(model: SpeechLM | TextLM, batch: Batch) -> tuple[Tensor, LossShares]:
    """Count the targets of every slot, and compute the factors of this process's losses.

    Args:
        model: in the step size of the batch.
        batch: this process's share of the rows.

    Returns:
        [K] counts of the head's slots, and the factors; 1 with one process.
    """
    targets = batch.step_targets
    offsets = () if model.draft is None else model.draft.offsets
    slots = [(later_targets(targets, n) != IGNORED).sum((0, 1)) for n in (0, *offsets)]
    slots += [cast(Objective, each).counts(targets) for each in model.objectives.values()]
    counts = torch.stack(slots).float()  # [1 + N + objectives, K]
    others = [count_targets(x, counts) for x in (batch.text_targets, batch.audio_characters)]
    shares = share_of_counts(torch.cat([counts.flatten(), torch.stack(others)]))
    rows, drafts = shares[:-2].view_as(counts), 1 + len(offsets)
    objectives = dict(zip(model.objectives, rows[drafts:], strict=True))
    return counts[0], LossShares(rows[0], rows[1:drafts], objectives, shares[-2], shares[-1])


def loss_names(model: SpeechLM | TextLM) -> list[str]:
    """Names in the log of every slot, draft state (by its offset) and objective.

    Those of an elastic model begin with its frames per step, such as "g2.".
    """
    offsets = () if model.draft is None else model.draft.offsets
    slots = [slot.name for slot in model.layout.slots]
    names = [*slots, *(f"draft.{offset}" for offset in offsets), *model.objectives]
    prefix = f"g{model.layout.frames_per_step}." if len(model.step_sizes) > 1 else ""
    return [prefix + name for name in names]


def active_heads(curriculum: Curriculum, step: int, steps: int, heads: int) -> int:
    """Number of heads that a multi-token curriculum trains at a step (arXiv 2505.22757, section 3).

    The run is divided into as many equal phases as there are heads: `forward` begins with the first
    head and ends with all, `reverse` begins with all. Inactive heads are neither computed nor in
    the loss. The number depends on the step alone, so that a resumed run has the same phases.

    Args:
        curriculum: the schedule; "constant" trains all heads at every step.
        step: 0 to `steps` - 1.
        steps: length of the run.
        heads: number of heads; the first one is the next-token head, unless it is frozen.

    """
    phase = min(step, steps - 1) * heads // steps  # 0 .. heads - 1
    if curriculum == "forward":
        return phase + 1
    return heads - phase if curriculum == "reverse" else heads


# Keys that may differ when a run is resumed.
RUN_LENGTH = ("max_steps", "max_seconds", "log_every", "eval_every", "save_every", "precision")
MAY_CHANGE = {"output": True, "device": True, "optim": dict.fromkeys(RUN_LENGTH, True)}


def arguments(optim: OptimRecipe, device: str, folder: Path, evaluate: bool) -> TrainingArguments:
    """Translate a recipe to the arguments of the Trainer, which saves checkpoints in `folder`."""
    place = select_device(device)
    cpu = place.type == "cpu"
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=optim.max_steps,
        learning_rate=optim.learning_rate,
        lr_scheduler_type=optim.schedule,
        warmup_steps=optim.warmup_steps,
        weight_decay=optim.weight_decay,
        adam_beta2=optim.adam_beta2,
        max_grad_norm=optim.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=usable_precision(optim.precision, place) == "bf16",
        use_cpu=cpu,
        ddp_backend="gloo" if num_processes() > 1 and cpu else None,
        ddp_broadcast_buffers=False,  # they are constants
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


@flushed_denormals()
def train(recipe: SpeechLMRecipe, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Train a speech LM, or resume from the last checkpoint in `recipe.output`.

    Returns:
        That folder, with the model, the text tokenizer of a pretrained backbone, the resolved
        recipe.yaml and log.jsonl.

    Raises:
        InputError: data is missing, the model cannot be built, or the folder holds another run.

    """
    output = Path(recipe.output)
    if recipe.data.own_speech is not None:
        write_own_speech(recipe, speaking_model(recipe))
    shards = CodeShards(recipe.data.shards, recipe.data.split)
    torch.manual_seed(recipe.optim.seed)
    model, tokenizer = build_model(recipe, shards)
    finish = freeze(model, recipe)
    config = model.config
    data = build_dataset(recipe.data, recipe.data.split, config, tokenizer)
    valid = None
    if recipe.data.valid_split is not None:
        most = recipe.data.valid_items
        valid = build_dataset(recipe.data, recipe.data.valid_split, config, tokenizer, most)
        if config.audio_input:
            callbacks = [DialogueEvalCallback(output / LOG, valid, tokenizer), *callbacks]
    collator = StepSizeCollator(config) if len(model.step_sizes) > 1 else model.collator()

    def save(folder: Path) -> None:
        finish()
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)

    return run_trainer(recipe, model, collator, data, valid, save, callbacks)


def run_trainer(
    recipe: SpeechLMRecipe | TextLMRecipe,
    model: SpeechLM | TextLM,
    collator: Callable[[list[Any]], Batch],
    data: SizedDataset,
    valid: SizedDataset | None,
    save: Callable[[Path], object],
    callbacks: Sequence[TrainerCallback] = (),
    teacher: Supervisor | None = None,
) -> Path:
    """Train a model with the `optim`, `device` and `output` of a recipe.

    Args:
        recipe: of a speech or text LM.
        model: the initial model.
        collator: makes a batch of rows.
        data: rows with their lengths, `frames`.
        valid: likewise for validation, or None.
        save: writes the trained model to a folder.
        callbacks: of the Trainer, besides the log.
        teacher: of a text LM; None for no teacher.

    Returns:
        The output folder.

    """
    output, optim = Path(recipe.output), recipe.optim
    check_run(output, recipe, MAY_CHANGE)
    checkpoints = output / CHECKPOINTS
    with quiet(), progress_bar(output.name, is_first()) as show:
        trainer = SpeechTrainer(
            collator=collator,
            optim=optim,
            teacher=teacher,
            model=model,
            args=arguments(optim, recipe.device, checkpoints, valid is not None),
            train_dataset=data,
            eval_dataset=valid,
            callbacks=[RunLog(output / LOG, optim.max_seconds, show), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)  # RunLog prints
        if trainer.is_world_process_zero():
            write_recipe(output, recipe)
        train_to_end(trainer, checkpoints)
        if trainer.is_world_process_zero():
            with atomic_folder(output) as partial:
                save(partial)
        trainer.accelerator.wait_for_everyone()
    return output
