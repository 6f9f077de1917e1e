"""Auxiliary losses, which have weights of their own and are dropped when a model is exported."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from vocalmtp.config import parse
from vocalmtp.errors import InputError, nearest
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.token_order import TokenOrderConfig, TokenOrderObjective

OBJECTIVES = {"top": (TokenOrderConfig, TokenOrderObjective)}


def build_objectives(
    config: Mapping[str, Mapping[str, Any]], layout: TokenLayout, width: int
) -> nn.ModuleDict:
    """The objectives that `config` names, each with its settings.

    Called with hidden [B, L, D] and targets [B, L, K], each gives its weighted loss. Raises
    InputError for unknown names and keys.
    """
    built = nn.ModuleDict()
    for name, settings in config.items():
        if name not in OBJECTIVES:
            raise InputError(
                f"objectives '{name}': no such objective; {nearest(name, OBJECTIVES)}",
                code="not_found",
            )
        config_class, objective = OBJECTIVES[name]
        checked = parse(config_class, settings or {}, f"objective '{name}'")
        built[name] = objective(checked, layout, width)
    return built
