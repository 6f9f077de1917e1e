"""Elastic grouping: one model that says a step of G frames, for any G of a few that it learned.

A grouping is a slot embedding, a head and the objectives over the layout of its G. They are what
they would be in a model of that G alone, but share all parameters that have the same name and shape
in the grouping of the most frames: a step of G frames is the first G of those, so codec tables,
maps, layers and projections are common. What a grouping has alone is what tells of a whole step:
its joint symbols (of an advance of G frames) and the places of a head's slots. The backbone is told
G by a learned vector at every position.

No head knows of this. A view of the model with the modules of one grouping is a model like any
other, so that decoding keeps no G anywhere but in the model that it is called with.
"""

from copy import copy
from typing import TYPE_CHECKING

from torch import nn

from vocalmtp.errors import InputError
from vocalmtp.heads.base import build_head
from vocalmtp.heads.draft.base import DraftHead
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.embeddings import SlotEmbedding
from vocalmtp.models.objectives import build_objectives

if TYPE_CHECKING:
    from vocalmtp.models.speech_lm import SpeechLM


def build_grouping(config: SpeechLMConfig, frames: int, width: int) -> nn.ModuleDict:
    """What depends on the frames of a step: embedding, head and objectives."""
    layout = config.layout_for(frames)
    return nn.ModuleDict(
        {
            "embedding": SlotEmbedding(layout, width, config.layouts),
            "head": build_head(config.head, layout, width, config.stream_weights),
            "objectives": build_objectives(config.objectives, layout, width),
        }
    )


def add_groupings(model: "SpeechLM", width: int) -> None:
    """Give a new model the groupings of fewer frames; what is shared is saved and loaded once."""
    ties: dict[str, str] = {}
    for frames in model.step_sizes[:-1]:
        model.smaller_steps[str(frames)] = part = build_grouping(model.config, frames, width)
        ties |= {f"smaller_steps.{frames}.{name}": name for name in share(part, model)}
    if ties:
        model._tied_weights_keys = ties  # which are left out of files
        model.all_tied_weights_keys = model.all_tied_weights_keys | ties  # shared again when loaded


def share(part: nn.Module, whole: nn.Module) -> list[str]:
    """Let `part` use the parameters of `whole` that have its names and shapes; their names."""
    theirs, shared = dict(whole.named_parameters()), []
    for name, parameter in list(part.named_parameters()):
        if name in theirs and theirs[name].shape == parameter.shape:
            parent, _, leaf = name.rpartition(".")
            setattr(part.get_submodule(parent), leaf, theirs[name])
            shared.append(name)
    return shared


def check_draft(draft: DraftHead, groupings: tuple[int, ...]) -> None:
    """Raise InputError if a draft head has grouped heads of its own, and steps have no one size."""
    if len(draft.heads) and len(groupings) > 1:
        raise InputError(
            "draft.own_heads: would fit one number of frames_per_step only, and it lists "
            f"{', '.join(map(str, groupings))}; set own_heads: false, or give one number",
            code="invalid_value",
        )


def view_at(model: "SpeechLM", frames: int) -> "SpeechLM":
    """The model with steps of so many frames; weights are shared, nothing is copied.

    Raises InputError, naming those that it was trained for, if this is none of them.
    """
    if frames == model.layout.frames_per_step:
        return model
    if str(frames) not in model.smaller_steps:
        raise InputError(
            f"frames_per_step '{frames}': this model was trained for "
            f"{' or '.join(map(str, model.config.step_sizes))}",
            code="invalid_value",
        )
    view = copy(model)
    view._modules = model._modules | dict(model.smaller_steps[str(frames)].items())
    view.layout = model.config.layout_for(frames)
    view.step_size_index = model.config.step_sizes.index(frames)
    return view


def frames_of_tokens(config: SpeechLMConfig, tokens: int) -> int:
    """Frames of a step of so many codec tokens.

    Raises InputError, naming those that the model was trained for, if this is none of them.
    """
    counts = {config.layout_for(frames).codec_tokens: frames for frames in config.step_sizes}
    if tokens not in counts:
        raise InputError(
            f"tokens_per_step '{tokens}': this model was trained for "
            f"{' or '.join(map(str, counts))}",
            code="invalid_value",
        )
    return counts[tokens]
