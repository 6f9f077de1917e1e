"""The codec in the folders of Qwen3-TTS, with the speaker encoder of models that clone voices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocalmtp.config import parse
from vocalmtp.io.read import read_object
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.published.weights import assign, read_part
from vocalmtp.tokenizers.convert import convert
from vocalmtp.tokenizers.published.ecapa import SpeakerEncoderConfig
from vocalmtp.tokenizers.published.qwen3_tts import Qwen3TTSConfig, Qwen3TTSTokenizer

SIZES = {  # our names, by part and name in the published configuration
    "decoder_config": {
        "codebook_size": "codebook_size",
        "latent_dim": "latent",
        "hidden_size": "width",
        "intermediate_size": "hidden",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "head_dim": "head_dim",
        "sliding_window": "window",
        "decoder_dim": "decoder_width",
    },
    "encoder_config": {
        "num_filters": "encoder_filters",
        "hidden_size": "encoder_width",
        "intermediate_size": "encoder_hidden",
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_heads",
        "codebook_dim": "codebook_dim",
    },
}


def load_codec(
    folder: PublishedFolder, path: Path, name: str, encoder: Mapping[str, Any] | None
) -> Qwen3TTSTokenizer:
    """Load the codec of a model.

    Args:
        folder: of the model.
        path: of the codec.
        name: of the codec's card.
        encoder: sizes of the speaker encoder among the model's weights; None: it has none.

    Raises:
        InputError: a file is missing or damaged, or weights differ from their configuration.

    """
    config = codec_config(read_object(path / "config.json", folder.what), name)
    codec = convert(name, [path / "model.safetensors"], config)
    assert isinstance(codec, Qwen3TTSTokenizer)
    if encoder is None:
        return codec
    speaker = parse(SpeakerEncoderConfig, dict(encoder), f"{folder.what}: speaker_encoder_config")
    whole = Qwen3TTSTokenizer(codec.config.model_copy(update={"speaker": speaker}))
    weights = read_part(folder, "speaker_encoder.")
    network = {f"speaker_encoder.network.{key}": tensor for key, tensor in weights.items()}
    assign(whole, codec.state_dict() | network)
    return whole.eval()


def codec_config(published: Mapping[str, Any], name: str) -> Qwen3TTSConfig:
    """Return the sizes in a published configuration; those it lacks are the usual ones."""
    sizes = {
        own: published[part][key]
        for part, names in SIZES.items()
        for key, own in names.items()
        if key in (published.get(part) or {})
    }
    return parse(Qwen3TTSConfig, sizes | {"name": name}, f"tokenizer '{name}': config.json")
