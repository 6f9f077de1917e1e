"""Elastic models: one model for several step sizes, the numbers of frames that a step may have.

What depends on the step size are the slot embedding, the head and the objectives. The model has
them for its largest step size, and in `smaller_steps` for every other one, where they share all
parameters that have the same name and shape: a step of G frames is the first G frames of the
largest, so that code tables, maps, layers and projections are common. Only what describes a whole
step is separate: the rows of joint symbols, and a head's slot positions. A learned vector that is
added at every position indicates the step size.

A view of the model with the modules of one step size is a model like any other, so heads and
decoding do not depend on step sizes.
Letters: G frames per step, D width.
"""

from copy import copy
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from vocalmtp.errors import InputError
from vocalmtp.heads import DraftHead, build_head
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.embeddings import SlotEmbedding
from vocalmtp.models.objectives import build_objectives

if TYPE_CHECKING:
    from vocalmtp.models.speech_decoding import SpeechDecoding
    from vocalmtp.models.speech_lm import SpeechLM

Decoding = TypeVar("Decoding", bound="SpeechDecoding")


def add_smaller_steps(model: "SpeechLM") -> None:
    """Add the modules of all but the largest step size; shared parameters are saved once."""
    ties: dict[str, str] = {}
    for frames in model.config.step_sizes[:-1]:
        modules = build_step_modules(model.config, frames, model.width)
        model.smaller_steps[str(frames)] = modules
        shared = share_parameters(modules, model)
        ties |= {f"smaller_steps.{frames}.{name}": name for name in shared}
    if ties:
        model._tied_weights_keys = ties  # left out of files
        model.all_tied_weights_keys = model.all_tied_weights_keys | ties  # tied again when loaded


def build_step_modules(config: SpeechLMConfig, frames: int, width: int) -> nn.ModuleDict:
    """Build the embedding, the head and the objectives for steps of `frames` frames."""
    layout = config.layout_for(frames)
    return nn.ModuleDict(
        {
            "embedding": SlotEmbedding(layout, width, config.layouts, config.step_embedding),
            "head": build_head(config.head, layout, width, config.stream_weights),
            "objectives": build_objectives(config.objectives, layout, width),
        }
    )


def share_parameters(part: nn.Module, whole: nn.Module) -> list[str]:
    """Replace parameters of `part` by those of `whole` with the same name and shape: their names."""
    available, shared = dict(whole.named_parameters()), []
    for name, parameter in list(part.named_parameters()):
        if name in available and available[name].shape == parameter.shape:
            parent, _, leaf = name.rpartition(".")
            setattr(part.get_submodule(parent), leaf, available[name])
            shared.append(name)
    return shared


def view_at_step_size(model: Decoding, frames: int) -> Decoding:
    """Return the model for steps of `frames` frames; all weights are shared.

    Raises:
        InputError: the model was not trained for this step size.

    """
    if frames == model.layout.frames_per_step:
        return model
    if str(frames) not in model.smaller_steps:
        raise InputError(
            f"frames_per_step '{frames}': this model was trained for "
            f"{' or '.join(map(str, model.config.step_sizes))}",
            code="unsupported",
        )
    view = copy(model)
    modules = model.smaller_steps[str(frames)]
    assert isinstance(modules, nn.ModuleDict)
    view._modules = model._modules | dict(modules.items())
    view.layout = model.config.layout_for(frames)
    view.step_size_index = model.config.step_sizes.index(frames)
    return view


def check_draft(draft: DraftHead, step_sizes: tuple[int, ...]) -> None:
    """Check that a draft head fits an elastic model.

    Raises:
        InputError: its states have heads of their own, which fit one step size only.

    """
    if len(draft.heads) and len(step_sizes) > 1:
        raise InputError(
            "draft.own_heads: would fit one number of frames_per_step only, and it lists "
            f"{', '.join(map(str, step_sizes))}; set own_heads: false, or give one number",
            code="conflict",
        )
