"""Training loop on Accelerate for models that do not fit the Trainer of Transformers.

The speech tokenizer, which has two optimizers and an averaged copy, and the aligner use it.
"""

import json
import math
import random
import shutil
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vocalmtp.io.read import read_object
from vocalmtp.training.distributed import (
    average_gradients,
    flushed_denormals,
    from_first,
    make_accelerator,
    mean_over_processes,
)
from vocalmtp.training.recipe import LoopRecipe
from vocalmtp.training.run_files import (
    CHECKPOINTS,
    LOG,
    STATE,
    check_run,
    last_whole_checkpoint,
    progress_bar,
    saving_on_termination,
    write_recipe,
    write_row,
)

LOG_EVERY = 50  # steps
KEPT_CHECKPOINTS = 2
MAX_GRAD_NORM = 1.0
RANK_SEED = 1_000_003  # between the seeds of two processes


# Keys that may differ when a run is resumed.
MAY_CHANGE = dict.fromkeys(
    ("output", "steps", "max_minutes", "save_minutes", "device", "precision", "threads"), True
)


class TrainingLoop(ABC):
    """One run: device, mixed precision, processes, checkpoints, log and progress.

    A subclass builds its modules and optimizers in `__init__` and registers them with `prepare`;
    it defines `update` and `save_model`. The same command resumes an interrupted run.

    Attributes:
        step: updates so far.
        seconds: time spent on them, over all sessions of the run.
        draws: random numbers of this process for crops and augmentation.

    """

    def __init__(self, recipe: LoopRecipe):
        torch.set_num_threads(recipe.threads)
        self.accelerator = make_accelerator(recipe.device, recipe.precision)
        self.output = recipe.output
        self.step, self.seconds = 0, 0.0
        self.draws = random.Random(recipe.seed)
        torch.manual_seed(recipe.seed)
        self._run = recipe

    @abstractmethod
    def update(self) -> dict[str, Tensor]:
        """Make one optimization step and return its losses, detached scalars."""

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write the trained model, for users, to `folder`."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps besides weights, optimizers and random numbers, as JSON."""
        return {"global_step": self.step, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Set what `state` returned."""
        self.step, self.seconds = state["global_step"], state["seconds"]

    # -- for subclasses ----------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Device of the modules."""
        return self.accelerator.device

    @property
    def progress(self) -> float:
        """Completed share of the run, by steps or by time, whichever is larger."""
        limit = self._run.max_minutes
        by_time = self.seconds / 60 / limit if limit else 0.0
        return max(self.step / self._run.steps, by_time)

    def learning_rate(self, floor: float) -> float:
        """Linear warm-up, then a cosine from the recipe's rate to `floor` times that."""
        rate = self._run.learning_rate * min(1.0, (self.step + 1) / max(self._run.warmup_steps, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress)))
        return rate * (floor + (1 - floor) * cosine)

    def prepare(self, *modules: nn.Module) -> None:
        """Move modules to the device and include them in checkpoints.

        Gradients are averaged in `descend`, so that no module is wrapped.
        """
        for module in modules:
            self.accelerator.prepare_model(module, evaluation_mode=True)

    def seed_process(self) -> None:
        """Give this process random numbers of its own.

        Call it after the weights are initialized, which must be the same in all processes.
        """
        seed = self._run.seed + self.step + RANK_SEED * self.accelerator.process_index
        self.draws.seed(seed)
        torch.manual_seed(seed)

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step of `optimizer` down the gradient of `loss`, averaged over the processes."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        average_gradients(parameters)
        self.accelerator.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimizer.step()

    # -- the run -----------------------------------------------------------------------------------

    @flushed_denormals()
    def run(self) -> None:
        """Train to the end, from the last checkpoint in the output folder if there is one.

        Raises:
            InputError: the folder holds a run of another recipe, or a damaged checkpoint.

        """
        check_run(self.output, self._run, MAY_CHANGE)
        self._resume()
        first = self.accelerator.is_main_process
        if first:
            write_recipe(self.output, self._run)
        began, saved = time.monotonic() - self.seconds, self.seconds
        losses: dict[str, list[Tensor]] = {}
        with (
            progress_bar(self.output.name, first) as show,
            saving_on_termination() as terminated,
        ):
            while self.progress < 1 and not terminated():
                for name, value in self.update().items():
                    losses.setdefault(name, []).append(value)
                self.step += 1
                self.seconds = from_first(time.monotonic() - began)
                show(self.progress)
                if self.step % LOG_EVERY == 0:
                    self._log(losses)
                    losses = {}
                if self.seconds - saved > 60 * self._run.save_minutes:
                    self._save()
                    saved = self.seconds
            self._save()

    def _log(self, losses: dict[str, list[Tensor]]) -> None:
        """Log the mean of every loss over the steps that had it."""
        means = torch.stack([torch.stack(values).mean() for values in losses.values()])
        means = mean_over_processes(means)
        if self.accelerator.is_main_process:
            row = {"step": self.step, "seconds": round(self.seconds)}
            row |= {name: round(mean, 4) for name, mean in zip(losses, means.tolist(), strict=True)}
            write_row(self.output / LOG, row)

    def _save(self) -> None:
        """Write a checkpoint, unless there is one of this step, and the model."""
        folder = self.output / CHECKPOINTS / f"checkpoint-{self.step}"
        if not (folder / STATE).is_file():
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(folder))
            self._draws_file(folder).write_text(json.dumps({"state": self.draws.getstate()}))
            self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        (folder / STATE).write_text(json.dumps(self.state()))
        self.save_model(self.output)
        others = [path for path in folder.parent.glob("checkpoint-*") if path != folder]
        others.sort(key=lambda path: int(path.name.rpartition("-")[2]))
        for path in others[: len(others) + 1 - KEPT_CHECKPOINTS]:
            shutil.rmtree(path)

    def _draws_file(self, folder: Path) -> Path:
        return folder / f"draws_{self.accelerator.process_index}.json"

    def _resume(self) -> None:
        folder = last_whole_checkpoint(self.output / CHECKPOINTS)
        if folder is None:
            return
        self.accelerator.load_state(str(folder))
        self.restore(read_object(folder / STATE, f"checkpoint '{folder}'"))
        file = self._draws_file(folder)
        if not file.is_file():  # there are more processes than before
            self.seed_process()
            return
        version, numbers, rest = read_object(file, f"checkpoint '{folder}'")["state"]
        self.draws.setstate((version, tuple(numbers), rest))
