"""The model that a recipe trains: a new one, or one to go on from."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from vocalmtp.data.shards import CodeShards
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.io.read import read_object
from vocalmtp.models.aligner import load_aligner
from vocalmtp.models.audio_encoder import MelEmbedding
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.text import ALPHABET
from vocalmtp.tokenizers.base import TokenizerSpec
from vocalmtp.training.drafts import give_draft
from vocalmtp.training.recipe import ModelRecipe, SpeechLMRecipe


def model_config(recipe: ModelRecipe, spec: TokenizerSpec) -> SpeechLMConfig:
    """The configuration of a model for codes of the tokenizer `spec`.

    Raises InputError unless exactly one of `backbone` and `pretrained` is given.
    """
    if (recipe.backbone is None) == (recipe.pretrained is None):
        raise InputError(
            "model: give either 'backbone' (a configuration) or 'pretrained' (a model)",
            code="conflict",
        )
    settings = recipe.model_dump(exclude={"pretrained", "shape", "audio_input"})
    return SpeechLMConfig(
        **settings,
        streams=[{"name": s.name, "size": s.size, "levels": list(s.levels)} for s in spec.streams],
        speaker_dim=spec.speaker_dim,
        alphabet=ALPHABET,
        tokenizer={"name": spec.name, "hash": spec.hash, "frame_rate": spec.frame_rate},
    )


def build_model(recipe: SpeechLMRecipe, shards: CodeShards) -> tuple[SpeechLM, Any]:
    """The model to train, and its text tokenizer if it has one of its own.

    Raises InputError unless exactly one of `model` and `init` is given, or if `init` speaks the
    codes of another tokenizer than `shards` has.
    """
    if (recipe.model is None) == (recipe.init is None):
        raise InputError(
            "recipe: give either 'model' (a new one) or 'init' (one to go on from)", code="conflict"
        )
    for key in ("draft", "audio_input"):
        if getattr(recipe, key) and recipe.init is None:
            raise InputError(
                f"recipe: '{key}' is for 'init'; a new model has model.{key}", code="conflict"
            )
    if recipe.init is None:
        model, tokenizer = new_model(recipe.model, shards.spec)
        give_ears(model, recipe.model.audio_input, tokenizer)
        return model, tokenizer
    model, tokenizer = load_trained(model_folder(recipe.init))
    made, asked = shards.spec, model.config.tokenizer
    if asked["hash"] != made.hash:
        raise InputError(
            f"shards '{recipe.data.shards}': are codes of '{made.name}' ({made.hash}); the model "
            f"'{recipe.init}' speaks those of '{asked['name']}' ({asked['hash']}); make shards "
            f"with 'vocalmtp tokenize --tokenizer {recipe.init}'",
            code="mismatch",
        )
    if recipe.draft:
        give_draft(model, recipe.draft, recipe.init)
    give_ears(model, recipe.audio_input, tokenizer)
    return model, tokenizer


def new_model(recipe: ModelRecipe, spec: TokenizerSpec) -> tuple[SpeechLM, Any]:
    """A model that has learned nothing, or but the backbone of `pretrained`: a causal LM's, or that
    of a speech LM, whose speech tokenizer may be another.
    """
    config, name = model_config(recipe, spec), recipe.pretrained
    if name is None:
        return SpeechLM(config), None
    if not is_speech_lm(name):
        return SpeechLM.from_backbone(name, config), load_text_tokenizer(name)
    known, tokenizer = load_trained(model_folder(name))
    config.backbone = known.config.backbone
    model = SpeechLM(config)
    model.backbone = known.backbone
    return model, tokenizer


def is_speech_lm(name: str) -> bool:
    """Whether a name or folder is that of a speech LM of ours."""
    with suppress(InputError):  # the name of a model that Transformers knows
        config = read_object(model_folder(name) / "config.json", f"model '{name}'")
        return config.get("model_type") == SpeechLMConfig.model_type
    return False


def load_trained(folder: Path) -> tuple[SpeechLM, Any]:
    """A speech LM, and its text tokenizer if it has one of its own."""
    own = (folder / "tokenizer_config.json").is_file()
    return SpeechLM.load(folder), load_text_tokenizer(folder) if own else None


def give_ears(model: SpeechLM, settings: dict[str, Any], tokenizer: Any) -> None:
    """Let the model listen and write, as `settings` say; none leave it as it is.

    Ears that it has already are replaced: what fits of them is kept. New ears for log-mels begin as
    those of the aligner that comes with the package. Raises InputError if the model's text
    tokenizer has no end.
    """
    if not settings:
        return
    end = len(ALPHABET) if tokenizer is None else tokenizer.eos_token_id
    if end is None:
        raise InputError(
            "audio_input: the backbone's text tokenizer has no end; give one that has", code="empty"
        )
    settings, before = {"end_id": end} | settings, model.config.audio_input.get("source")
    if settings == model.config.audio_input:
        return
    model.add_audio_input(settings)
    new = model.audio_encoder.embedding
    if isinstance(new, MelEmbedding) and before != "mels":
        letters = load_aligner().state_dict()  # it has letters besides
        new.acoustics.load_state_dict(letters, strict=False)
