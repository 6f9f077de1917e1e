"""Build the model of a speech LM recipe: a new one, or one to continue from."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from vocalmtp.data.shards import CodeShards
from vocalmtp.decoding.draft_state import check_layout
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.io.read import read_object
from vocalmtp.models.aligner import load_aligner
from vocalmtp.models.audio_encoder import MelEmbedding
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_lm import TextLM
from vocalmtp.published.base import find_family
from vocalmtp.published.saving import load_whole
from vocalmtp.text import ALPHABET
from vocalmtp.text.ipa import PHONES
from vocalmtp.tokenizers.spec import TokenizerSpec
from vocalmtp.training.lora import add_adapters
from vocalmtp.training.recipe import ModelRecipe, SpeechLMRecipe, TextLMRecipe
from vocalmtp.training.regroup import published_folder, regroup


def build_model(recipe: SpeechLMRecipe, shards: CodeShards) -> tuple[SpeechLM, Any]:
    """Build the model to train.

    Returns:
        The model, and the text tokenizer of its backbone; None if its text is characters.

    Raises:
        InputError: the recipe has both or neither of `model` and `init`, or `init` was trained on
            the codes of another tokenizer than that of `shards`.

    """
    check_source(recipe)
    if recipe.model is not None:
        model, tokenizer = new_model(recipe.model, shards.spec)
        add_audio_input(model, recipe.model.audio_input, tokenizer)
        add_interleave(model, recipe.model.interleave)
        return model, tokenizer
    assert recipe.init is not None, "check_source"
    model, tokenizer = load_trained(model_folder(recipe.init))
    take_codes(recipe, model, shards.spec)
    if recipe.trunk is not None:
        model, tokenizer = (
            add_trunk(model, recipe.trunk, recipe.init),
            load_text_tokenizer(recipe.trunk),
        )
    if recipe.draft:
        add_draft(model, recipe.draft, recipe.init)
    add_audio_input(model, recipe.audio_input, tokenizer)
    add_interleave(model, recipe.interleave)
    if recipe.speaker_dropout is not None and model.speaker_projection is not None:
        model.config.speaker_dropout = recipe.speaker_dropout
        model.speaker_projection.dropout = recipe.speaker_dropout
    return model, tokenizer


def check_source(recipe: SpeechLMRecipe) -> None:
    """Raise InputError unless the recipe has exactly one of `model` and `init`."""
    if (recipe.model is None) == (recipe.init is None):
        raise InputError(
            "recipe: needs either 'model' (a new one) or 'init' (one to continue from)",
            code="missing" if recipe.model is None else "conflict",
            key="model",
        )
    for key in ("draft", "audio_input", "interleave", "trunk"):
        if getattr(recipe, key) and recipe.init is None:
            raise InputError(
                f"{key}: applies to 'init'; for a new model, set model.{key}", code="conflict"
            )


def take_codes(recipe: SpeechLMRecipe, model: SpeechLM, made: TokenizerSpec) -> None:
    """Let `model` go on with the codes of `made`.

    Raises:
        InputError: it was trained on others, and the recipe has no `new_codes`, or the streams of
            these have other sizes or levels.

    """
    expected = model.config.tokenizer
    if expected["hash"] == made.hash:
        return
    mismatch = (
        f"shards '{recipe.data.shards}': are codes of '{made.name}' ({made.hash}), and the model "
        f"'{recipe.init}' has those of '{expected['name']}' ({expected['hash']})"
    )
    if not recipe.new_codes:
        raise InputError(
            f"{mismatch}; make shards with 'vocalmtp tokenize --tokenizer {recipe.init}', or set "
            "new_codes=true",
            code="mismatch",
        )
    known = [(stream.size, stream.levels) for stream in model.config.codec_streams]
    asked = [(stream.size, stream.levels) for stream in made.streams]
    if asked != known or made.frame_rate != expected["frame_rate"]:
        raise InputError(
            f"{mismatch}, of other streams; leave new_codes out and train a new model",
            code="mismatch",
        )
    model.config.tokenizer = made.reference()


def speaking_model(recipe: SpeechLMRecipe) -> str:
    """Return the model that speaks the data of a recipe. Raises InputError if it is a new one."""
    check_source(recipe)
    name = recipe.init or (recipe.model.pretrained if recipe.model else None)
    if name is None:
        raise InputError(
            "data.own_speech: a new model cannot speak; give init or model.pretrained",
            code="missing",
        )
    return name


def model_config(recipe: ModelRecipe, spec: TokenizerSpec) -> SpeechLMConfig:
    """Configuration of a new model for the codes of a tokenizer.

    Raises:
        InputError: the recipe has both or neither of `backbone` and `pretrained`.

    """
    if (recipe.backbone is None) == (recipe.pretrained is None):
        raise InputError(
            "model.backbone: give either this (a configuration) or model.pretrained (a model)",
            code="missing" if recipe.backbone is None else "conflict",
        )
    settings = recipe.model_dump(
        exclude={
            "pretrained",
            "pretrained_config",
            "trunk",
            "audio_input",
            "interleave",
            "phones",
        }
    )
    return SpeechLMConfig(
        **settings,
        streams=[{"name": s.name, "size": s.size, "levels": list(s.levels)} for s in spec.streams],
        speaker_dim=spec.speaker_dim,
        alphabet=ALPHABET,
        phones=" ".join(PHONES) if recipe.phones else "",
        tokenizer=spec.reference(),
    )


def new_model(recipe: ModelRecipe, spec: TokenizerSpec) -> tuple[SpeechLM, Any]:
    """Initialize a model, with the backbone of `pretrained` if the recipe has it.

    That is a causal LM, a published speech LM, or another one, possibly of another speech tokenizer.
    The second result is what is saved beside the model, see `load_trained`.
    """
    name = recipe.pretrained
    if name is not None and (folder := published_folder(name)) is not None:
        return regroup(recipe, folder)
    config = model_config(recipe, spec)
    if recipe.trunk is not None:
        if name is not None:
            raise InputError(
                "model.trunk: the backbone over a trunk is a new one; give model.backbone instead "
                "of model.pretrained",
                code="conflict",
            )
        return SpeechLM.over_trunk(recipe.trunk, config), load_text_tokenizer(recipe.trunk)
    if name is None:
        return SpeechLM(config), None
    if not is_speech_lm(name):
        return SpeechLM.from_backbone(name, config), load_text_tokenizer(name)
    known, tokenizer = load_trained(model_folder(name))
    config.backbone = known.config.backbone
    model = SpeechLM(config)
    model.take_backbone(known.backbone)
    return model, tokenizer


def is_speech_lm(name: str) -> bool:
    """Whether a name or folder is that of a vocalmtp speech LM."""
    with suppress(InputError):  # a name that only Transformers knows
        config = read_object(model_folder(name) / "config.json", f"model '{name}'")
        return config.get("model_type") == SpeechLMConfig.model_type
    return False


def load_trained(folder: Path) -> tuple[SpeechLM, Any]:
    """Load a speech LM, and what is saved beside it.

    That is the text tokenizer of its backbone, or None, or all parts of a published model.
    """
    if find_family(folder) is not None:
        model, parts = load_whole(folder)
        return model.requires_grad_(True), parts
    has_tokenizer = (folder / "tokenizer_config.json").is_file()
    return SpeechLM.load(folder), load_text_tokenizer(folder) if has_tokenizer else None


def add_audio_input(model: SpeechLM, settings: dict[str, Any], tokenizer: Any) -> None:
    """Add an audio encoder to `model`, or replace it if `settings` differ from those it has.

    Fitting weights are kept. The acoustic model of a new encoder for log-mels is initialized from
    the bundled aligner.

    Raises:
        InputError: the backbone's text tokenizer has no end-of-text token.

    """
    if not settings:
        return
    end = len(ALPHABET) if tokenizer is None else tokenizer.eos_token_id
    if end is None:
        raise InputError(
            "audio_input: the backbone's text tokenizer has no end-of-text token; use another",
            code="unsupported",
        )
    settings, before = {"end_id": end} | settings, model.config.audio_input.get("source")
    if settings == model.config.audio_input:
        return
    model.add_audio_input(settings)
    assert model.audio_encoder is not None, "add_audio_input"
    embedding = model.audio_encoder.embedding
    if isinstance(embedding, MelEmbedding) and before != "mels":
        weights = load_aligner().state_dict()  # with those of its output layer besides
        embedding.acoustics.load_state_dict(weights, strict=False)


def add_interleave(model: SpeechLM, settings: dict[str, Any]) -> None:
    """Let the text and the speech of answers alternate from now on.

    Raises:
        InputError: the settings are invalid, or do not fit the model.

    """
    if settings:
        model.config.interleave = dict(settings)
        _ = model.config.interleave_config  # checks them


def add_trunk(model: SpeechLM, trunk: str, name: str) -> SpeechLM:
    """Return a trained model over a frozen text LM; only the projection of its states is new.

    Args:
        model: its text is on the track; the prompt then has it too.
        trunk: name or folder of the text LM.
        name: of the model, for errors.

    Raises:
        InputError: the text LM cannot be loaded, or the model reads text from its prompts already.

    """
    if model.config.text != "track":
        raise InputError(
            f"trunk '{trunk}': the prompts of '{name}' have text already; "
            "take a model with text: track",
            code="conflict",
        )
    config = deepcopy(model.config)
    config.text = "both"
    over = SpeechLM.over_trunk(trunk, config)
    over.load_state_dict(model.state_dict(), strict=False)  # all but the trunk
    return over


# -- draft heads -----------------------------------------------------------------------------------


def add_draft(model: SpeechLM | TextLM, settings: dict[str, Any], name: str) -> None:
    """Add a draft head to a trained model, or change `settings` of the one that it has.

    A head of another kind than the model's replaces it.

    Raises:
        InputError: the head's weights do not fit the changed settings, or drafts do not fit the model.

    """
    check_layout(model.layout, "draft")
    old, kind = model.draft, model.config.draft.get("name")
    model.add_draft(changed_draft(model.config.draft, settings))
    if old is None or model.draft is None or model.config.draft["name"] != kind:
        return
    try:
        model.draft.load_state_dict(old.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"draft: the draft head of '{name}' has other weights; change only settings that need "
            "none, such as loss_weight",
            code="conflict",
        ) from error


def changed_draft(known: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a draft head after a change; one of another kind keeps none of them."""
    same = settings.get("name", known.get("name")) == known.get("name")
    return {**known, **settings} if same else settings


def freeze(model: SpeechLM | TextLM, recipe: SpeechLMRecipe | TextLMRecipe) -> Callable[[], object]:
    """Freeze the parameters that a recipe does not train: all but a draft head, or the backbone.

    Returns:
        What to call before the trained model is saved.

    Raises:
        InputError: the model has no draft head, or its backbone is not a pretrained one.

    """
    trainable = recipe.optim.trainable
    if recipe.lora is not None:
        _check_lora(recipe, trainable)
        return add_adapters(model.backbone, recipe.lora)
    if trainable == "all":  # but for the text LM of a trunk, which is never trained
        return lambda: None
    if model.draft is None:
        raise InputError(
            "optim.trainable 'draft': the model has no draft head; add 'draft'", code="missing"
        )
    model.requires_grad_(False)
    model.draft.requires_grad_(True)
    return lambda: None


def _check_lora(recipe: SpeechLMRecipe | TextLMRecipe, trainable: str) -> None:
    """Raise InputError unless the backbone is pretrained and is to be trained."""
    if trainable != "all":
        raise InputError(
            f"lora: optim.trainable '{trainable}' trains no backbone; leave one out",
            code="conflict",
        )
    model = recipe.model if isinstance(recipe, SpeechLMRecipe) else None
    if recipe.init is None and (model is None or model.pretrained is None):
        raise InputError(
            "lora: adapts a pretrained backbone, and this one is new; give model.pretrained or init",
            code="conflict",
        )
