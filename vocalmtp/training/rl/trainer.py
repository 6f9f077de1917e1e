"""Train a model to decide whether to think, by reinforcement: `train_rl(recipe)`.

The loop, generation and the clipped loss are those of TRL's GRPOTrainer; advantages per token, forced
modes and groups without variance are added here.
Letters: B replies, T tokens of a reply.
"""

import math
import shutil
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from vocalmtp.data.text_rows import read_rows
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.progress import quiet
from vocalmtp.models.checkpoint import load_backbone, load_text_tokenizer
from vocalmtp.text.thinking import (
    MODES,
    Mode,
    Reply,
    judge_contradicts,
    opening,
    parse_decision,
    parse_reply,
)
from vocalmtp.training.callbacks import RunLog, train_to_end
from vocalmtp.training.distributed import is_first, select_device
from vocalmtp.training.rl.advantages import (
    decoupled_advantages,
    judge_rewards,
    mode_entropy,
    normalize,
    step_advantages,
    wanted_modes,
)
from vocalmtp.training.rl.recipe import RLRecipe
from vocalmtp.training.run_files import (
    CHECKPOINTS,
    LOG,
    check_run,
    progress_bar,
    write_recipe,
)

LOGGED = (
    "loss",
    "grad_norm",
    "reward",
    "reward_std",
    "think_rate",
    "mode_entropy",
    "broken_rate",
    "groups_used",
    "entropy",
    "completions/mean_length",
    "completions/clipped_ratio",
    "train_runtime",
)
MAY_CHANGE = {"output": True, "device": True, "optim": {"max_steps", "max_seconds"}}
THINKING: dict[Mode | None, float] = {"on": 1.0, "off": 0.0, None: math.nan}


class ThinkingTrainer(GRPOTrainer):
    """GRPO with advantages per token, see vocalmtp/training/rl/advantages.py.

    Args:
        recipe: the settings.
        kwargs: of GRPOTrainer.

    """

    def __init__(self, recipe: RLRecipe, **kwargs: Any):
        super().__init__(reward_funcs=cast(Any, answer_rewards(recipe.rationales)), **kwargs)
        self.recipe = recipe
        self.text_tokenizer: Any = self.processing_class
        self.group_rewards = torch.empty(0)  # [B] of the replies that were generated last

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        """Generate replies; the first ones of every group have a forced mode."""
        size, count = self.recipe.group_size, self.recipe.forced
        forced: dict[int, Mode] = dict.fromkeys(range(count), "on")
        forced |= dict.fromkeys(range(count, 2 * count), "off")
        modes = [forced.get(row % size) for row in range(len(prompt_ids))]
        heads = [self._opening_ids(mode) for mode in modes]
        prompts = [ids + head for ids, head in zip(prompt_ids, heads, strict=True)]
        replies, log_probs = super()._generate_single_turn(prompts, *args, **kwargs)
        return [head + ids for head, ids in zip(heads, replies, strict=True)], log_probs

    def _opening_ids(self, mode: Mode | None) -> list[int]:
        if mode is None:
            return []
        text = opening(self.recipe.rationales[mode], mode)
        return list(self.text_tokenizer(text, add_special_tokens=False)["input_ids"])

    def _calculate_rewards(self, inputs: Any, *args: Any) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, *args)
        if not torch.isfinite(rewards).all():
            bad = int((~torch.isfinite(rewards)).nonzero()[0, 0]) % len(inputs)
            raise InputError(
                f"reward: of '{inputs[bad]['prompt']}' is not a number; give every question an answer",
                code="invalid_value",
            )
        first = self.accelerator.process_index * len(inputs)
        self.group_rewards = rewards[first : first + len(inputs), 0].cpu()
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        mask = output["completion_mask"]  # [B, T]
        replies = [
            ids[kept.bool()].tolist()
            for ids, kept in zip(output["completion_ids"], mask, strict=True)
        ]
        advantages, thinks = self.advantages(replies, mask.shape[1])
        output["advantages"] = advantages.to(mask.device)
        # Groups without variance teach nothing, and must not count in the mean over tokens.
        used = advantages.view(-1, self.recipe.group_size * mask.shape[1]).any(1)
        output["completion_mask"] = mask * used.repeat_interleave(self.recipe.group_size)[
            :, None
        ].to(mask.device)
        count = self.accelerator.gather(output["completion_mask"].sum()).sum()
        output["num_items_in_batch"] = count
        metrics = self._metrics["train" if cast(Any, self.model).training else "eval"]
        metrics["think_rate"].append(thinks.nanmean().nan_to_num().item())
        metrics["mode_entropy"].append(mode_entropy(thinks))
        metrics["broken_rate"].append(thinks.isnan().float().mean().item())
        metrics["groups_used"].append(used.float().mean().item())
        return output

    def advantages(self, replies: Sequence[list[int]], length: int) -> tuple[Tensor, Tensor]:
        """Compute the advantages of replies to the questions of a batch.

        Args:
            replies: tokens of B replies, whole groups.
            length: T.

        Returns:
            [B, T] advantages, and [B] 1 with thinking, 0 without, NaN without a mode.

        """
        recipe, rewards = self.recipe, self.group_rewards
        groups = torch.arange(len(replies)) // recipe.group_size
        modes = [parse_decision(self._text(ids), recipe.rationales) for ids in replies]
        thinks = torch.tensor([THINKING[mode] for mode in modes])
        ends = torch.tensor([self._mode_end(ids) for ids in replies])
        if recipe.algorithm != "step-srpo":
            costly = rewards - recipe.think_cost * (thinks == 1) * (rewards > 0)
            advantages = normalize(costly, groups)
            if recipe.algorithm == "grpo":
                return advantages[:, None].expand(-1, length).clone(), thinks
            lengths = torch.tensor([len(ids) for ids in replies])
            weight = recipe.control_weight
            return decoupled_advantages(advantages, ends, lengths, length, weight), thinks
        if recipe.judge:
            wanted = wanted_modes(thinks, rewards, groups, recipe.margin)
            judge = normalize(judge_rewards(thinks, wanted), groups)
        else:
            judge = normalize(rewards, groups)
        # Forced openings are no samples of the model: to learn from unwanted ones has no bound.
        judge[torch.arange(len(replies)) % recipe.group_size < 2 * recipe.forced] = 0
        by_mode = 3 * groups + thinks.nan_to_num(2).long()
        return step_advantages(judge, normalize(rewards, by_mode), ends, length), thinks

    def _text(self, ids: list[int]) -> str:
        text: str = self.text_tokenizer.decode(ids)
        return text.replace(self.text_tokenizer.eos_token, "")

    def _mode_end(self, ids: list[int]) -> int:
        """Count the tokens up to and including the first mode; all of them if there is none."""
        return bisect_left(
            range(len(ids)),
            True,
            key=lambda n: any(m in self._text(ids[:n]) for m in MODES.values()),
        )


def answer_rewards(rationales: Mapping[Mode, str]) -> Callable[..., list[float]]:
    """Return the reward: 1 for the right answer in the template, else 0.

    A reply whose judge gives the rationale of the other mode breaks the template.
    """

    def answer_reward(
        completions: Sequence[str], answer: Sequence[str], **_: object
    ) -> list[float]:
        replies = map(parse_reply, completions)
        return [
            is_right(reply, str(right)) * (not judge_contradicts(reply, rationales))
            for reply, right in zip(replies, answer, strict=True)
        ]

    return answer_reward


def is_right(reply: Reply, answer: str) -> float:
    """1 if a reply keeps to the template and has that answer, else 0."""
    return float(not reply.problem and reply.answer.split() == answer.split())


def train_rl(recipe: RLRecipe, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Train a model, or resume from the last checkpoint in `recipe.output`.

    Returns:
        That folder, with the model and tokenizer as Transformers saves them, the draft head of
        `init` if it has one, the resolved recipe.yaml and log.jsonl.

    Raises:
        InputError: questions or model cannot be read, or the folder holds another run.

    """
    output = Path(recipe.output)
    questions = read_questions(recipe.questions)
    check_run(output, recipe, MAY_CHANGE)
    tokenizer = load_text_tokenizer(recipe.init)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = load_backbone(recipe.init)
    with quiet(), progress_bar(output.name, is_first()) as show:
        trainer = ThinkingTrainer(
            recipe,
            model=model,
            args=arguments(recipe, output / CHECKPOINTS),
            train_dataset=Dataset.from_list(questions),
            processing_class=tokenizer,
            callbacks=[RunLog(output / LOG, recipe.optim.max_seconds, show), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)  # RunLog prints
        if trainer.is_world_process_zero():
            write_recipe(output, recipe)
        train_to_end(trainer, output / CHECKPOINTS)
        if trainer.is_world_process_zero():
            with atomic_folder(output) as partial:
                cast(Any, trainer.accelerator.unwrap_model(trainer.model)).save_pretrained(partial)
                tokenizer.save_pretrained(partial)
                for file in Path(recipe.init).glob("draft.*"):
                    shutil.copy(file, partial)
        trainer.accelerator.wait_for_everyone()
    return output


def arguments(recipe: RLRecipe, folder: Path) -> GRPOConfig:
    """Translate a recipe to the arguments of TRL's trainer, which saves checkpoints in `folder`."""
    optim, on_cpu = recipe.optim, select_device(recipe.device).type == "cpu"
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=optim.max_steps,
        learning_rate=optim.learning_rate,
        warmup_steps=optim.warmup_steps,
        lr_scheduler_type="constant_with_warmup",
        max_grad_norm=optim.max_grad_norm,
        epsilon=optim.clip,
        beta=optim.kl,
        loss_type="grpo" if recipe.algorithm == "degrpo" else "dapo",
        num_generations=recipe.group_size,
        per_device_train_batch_size=recipe.group_size * recipe.questions_per_step,
        max_completion_length=recipe.max_tokens,
        temperature=recipe.temperature,
        use_cpu=on_cpu,
        gradient_checkpointing=not on_cpu,  # it saves memory and costs time
        seed=optim.seed,
        logging_steps=optim.log_every,
        save_steps=optim.save_every,
        save_total_limit=2,
        bf16=False,
        disable_tqdm=True,
        report_to="none",
    )


def read_questions(files: Sequence[str]) -> list[dict[str, str]]:
    """Read questions with answers.

    Raises:
        InputError: a file cannot be read, or a row has no prompt or no answer.

    """
    rows = []
    for where, fields in read_rows(files, "questions"):
        row = {key: fields.get(key) for key in ("prompt", "answer")}
        if not all(isinstance(value, str) and value.strip() for value in row.values()):
            raise InputError(
                f"{where}: needs a prompt and an answer; write both as text", code="missing"
            )
        rows.append(cast(dict[str, str], row))
    return rows
