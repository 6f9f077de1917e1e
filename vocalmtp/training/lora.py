"""Low-rank adaptation of a pretrained backbone (LoRA, arXiv 2106.09685), by the package peft.

While a model is trained, its frozen backbone has adapters; it is saved with their products added to
its weights, as a model that needs neither peft nor this module.
"""

from collections.abc import Callable
from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.io.read import reason
from vocalmtp.optional import require
from vocalmtp.training.recipe import LoRARecipe

ADAPTER = "default"


def add_adapters(backbone: Any, recipe: LoRARecipe) -> Callable[[], object]:
    """Freeze a backbone and add adapters to its linear layers.

    Args:
        backbone: a causal LM, which is changed in place; its output layer gets no adapter.
        recipe: the settings.

    Returns:
        What adds the adapters to the weights and removes them, after training.

    Raises:
        InputError: the package peft is missing, or the backbone has no such layers.

    """
    peft = require("peft")
    config = peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear" if recipe.targets is None else list(recipe.targets),
        task_type="CAUSAL_LM",
    )
    try:
        tuner: Any = peft.LoraModel(backbone, config, ADAPTER)
    except ValueError as error:
        layers = sorted(
            {n.rpartition(".")[2] for n, m in backbone.named_modules() if not list(m.children())}
        )
        raise InputError(
            f"lora.targets: {reason(error)}; give names of layers: {', '.join(layers)}",
            code="invalid_value",
        ) from error
    return lambda: tuner.merge_and_unload()
