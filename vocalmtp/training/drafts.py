"""Draft heads in training: for a model that has none, with other settings, or alone."""

from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.models.speech_lm import SpeechLM


def give_draft(model: SpeechLM, settings: dict[str, Any], name: str) -> None:
    """A draft head for a trained model, or `settings` changed of the one that it has.

    Raises InputError if the weights that it has do not fit the changed settings.
    """
    old = model.draft
    model.add_draft({**model.config.draft, **settings})
    if old is None:
        return
    try:
        model.draft.load_state_dict(old.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"draft: the draft head of '{name}' has other weights; only change what needs none, "
            "such as loss_weight",
            code="conflict",
        ) from error


def freeze(model: SpeechLM, trains: str) -> None:
    """Keep all but the draft head as it is, if that is all that `trains`.

    Raises InputError if there is none.
    """
    if trains == "all":
        return
    if model.draft is None:
        raise InputError(
            "optim.trains 'draft': the model has no draft head; add 'draft'", code="missing"
        )
    model.requires_grad_(False)
    model.draft.requires_grad_(True)
