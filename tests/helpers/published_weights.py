"""Weights that are the same everywhere, by the published key: no random generator is needed."""

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import torch

from vocalmtp.tokenizers import TOKENIZERS, find_card
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.bigcodec import BigCodecConfig
from vocalmtp.tokenizers.published.campplus import CAMPPlusConfig
from vocalmtp.tokenizers.published.cosyvoice2 import CosyVoice2Config
from vocalmtp.tokenizers.published.facodec import FACodecConfig
from vocalmtp.tokenizers.published.flow_matching import FlowConfig
from vocalmtp.tokenizers.published.kanade import KanadeConfig
from vocalmtp.tokenizers.published.mimo import MimoConfig
from vocalmtp.tokenizers.published.moss import MossConfig
from vocalmtp.tokenizers.published.qwen3_tts import Qwen3TTSConfig
from vocalmtp.tokenizers.published.s3 import S3Config
from vocalmtp.tokenizers.published.snac import SnacConfig
from vocalmtp.tokenizers.published.speechtokenizer import SpeechTokenizerConfig
from vocalmtp.tokenizers.published.wavtokenizer import WavTokenizerConfig

KEYS = Path(__file__).parents[1] / "tokenizers" / "keys"
TINY = {  # by type: the streams and codes of the cards, and few channels
    "bigcodec": BigCodecConfig(width=2, dim=8, decoder_width=32),
    "cosyvoice2": CosyVoice2Config(
        s3=S3Config(heads=1, head_dim=16, layers=1, kernel=5),
        speaker=CAMPPlusConfig(planes=2, width=4, growth=2, layers=(1, 1, 1)),
        flow=FlowConfig(
            width=16,
            heads=2,
            hidden=16,
            layers=1,
            up_layers=1,
            channels=8,
            channel_heads=2,
            head_dim=4,
            blocks=1,
            block_layers=1,
        ),
        vocoder_width=16,
        pitch_width=8,
    ),
    "facodec": FACodecConfig(width=2, decoder_width=16, timbre_layers=1, timbre_hidden=8),
    "kanade": KanadeConfig(
        ssl_width=16,
        ssl_heads=2,
        ssl_hidden=16,
        ssl_filters=8,
        ssl_positions=(16, 2),
        heads=2,
        hidden=16,
        layers=1,
        voice_width=8,
        voice_hidden=16,
        voice_layers=1,
        voice_attention=8,
        post_width=8,
        post_layers=3,
        vocoder_width=16,
        pitch_width=8,
    ),
    "mimo_audio_tokenizer": MimoConfig(
        mels=8,
        width=8,
        hidden=8,
        heads=2,
        layers=1,
        skipped=1,
        vocoder_width=8,
        vocoder_hidden=8,
        vocoder_heads=2,
        vocoder_layers=1,
    ),
    "moss_audio_tokenizer": MossConfig(
        width=8,
        hidden=8,
        heads=2,
        layers=1,
        slow_width=12,
        slow_hidden=8,
        slow_heads=2,
        slow_layers=1,
        between=4,
        latent=8,
        residual=6,
        seconds=0.4,
        codebook_dim=4,
    ),
    "qwen3_tts_12hz": Qwen3TTSConfig(
        encoder_filters=2,
        encoder_width=16,
        encoder_hidden=16,
        encoder_layers=1,
        encoder_heads=2,
        codebook_dim=8,
        latent=8,
        width=8,
        hidden=16,
        layers=2,
        heads=2,
        head_dim=4,
        window=7,
        decoder_width=32,
    ),
    "s3": S3Config(heads=1, head_dim=16, layers=1, kernel=5),
    "snac": SnacConfig(width=2, decoder_width=16),
    "speechtokenizer": SpeechTokenizerConfig(width=2, dim=8),
    "wavtokenizer": WavTokenizerConfig(
        width=4, dim=2, decoder_width=16, decoder_hidden=16, decoder_layers=1, groups=4
    ),
}
CONSTANTS = ("filter", "hann_window", "mel_basis", "pe", "window")  # computed, not learned


def scattered(key: str, shape: torch.Size) -> torch.Tensor:
    """Numbers between -1 and 1 without a pattern, times what keeps activations at about 1."""
    place = torch.arange(shape.numel(), dtype=torch.float64)
    noise = torch.frac((place * 12.9898 + crc32(key.encode()) % 1000).sin().abs() * 43758.5453)
    noise = (2 * noise - 1).view(shape)
    module, name = key.split(".")[-2:]
    if name == "original0":
        noise = 0.5 + 0.1 * noise
    elif name in ("running_var", "cluster_usage"):
        noise = 1 + 0.1 * noise
    elif name == "weight_g" or (name == "alpha" and (len(shape) == 3 or "activations" in key)):
        noise = 0.8 + 0.2 * noise
    elif name == "weight" and len(shape) == 1:  # of a normalisation
        noise = 1 + 0.1 * noise
    elif len(shape) == 1:
        noise = noise * 0.2
    elif module != "_codebook" and name not in ("weight_v", "original1"):
        noise = noise * 1.7 / shape[1:].numel() ** 0.5
    if ".conv2.conv." in key or key.startswith("decoder.decoder.6."):  # so that nothing clips
        noise = noise * 0.3
    return noise.float()


def set_weights(model: PublishedTokenizer) -> PublishedTokenizer:
    """`model` with the weights of its keys, ready to be used."""
    for own, tensor in model.state_dict().items():
        key = model.published_key(own)
        if key.split(".")[-1] not in CONSTANTS:
            tensor.copy_(scattered(key, tensor.shape))
    return model.eval()


def make_published(name: str) -> PublishedTokenizer:
    """The tokenizer of card `name` with the weights of its keys, and few channels."""
    return set_weights(TOKENIZERS[find_card(name).type](tiny_config(name)))


def tiny_config(name: str) -> PublishedConfig:
    """The configuration of card `name` at the size of TINY."""
    card = find_card(name)
    changes = TOKENIZERS[card.type].Config.of(card).model_dump(exclude_defaults=True)
    sizes = {key: value for key, value in changes.items() if key != "layers"}
    return TINY[card.type].model_copy(update={"name": name, **sizes})


def published_keys(name: str) -> Iterator[tuple[str, str, tuple[int, ...], bool]]:
    """File, key, shape, and whether coding can do without it, of every published tensor."""
    for line in (KEYS / f"{name}.tsv").read_text().splitlines()[1:]:
        file, key, shape, used = line.split("\t")
        sizes = () if shape == "-" else tuple(int(size) for size in shape.split("x"))
        yield file, key, sizes, used != "yes"


def buzz(samples: int) -> torch.Tensor:
    """A gliding tone with noise that is no noise: [1, samples]."""
    time = torch.arange(samples, dtype=torch.float64) / 16_000
    tone = 0.4 * torch.sin(2 * torch.pi * (150 * time + 8 * torch.sin(5 * time)))
    return (tone[None] + 0.1 * scattered("a.buzz", torch.Size((1, samples)))).float()
