"""VocalNet (SJTU, arXiv 2504.04060): a text LM, and a speech decoder over its hidden states.

The text LM's states for an answer go through two decoder layers to the speech decoder, which predicts
one unit of CosyVoice 2 at a time; a chain of modules predicts up to five more. The states are those
from which the answer's tokens are predicted; the embedding of the end follows. A sentence is spoken as
the answer to the request to repeat it. The Whisper encoder and the adaptor, for spoken questions, are
not read.
"""

from typing import TYPE_CHECKING, Any, cast

from vocalmtp.decoding.synthesis import PromptFormat, SentenceRequest
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Context, ControlToken, Segment, Speech, Text
from vocalmtp.published.base import FAMILIES, FamilyCard
from vocalmtp.published.folder import PublishedFolder, number
from vocalmtp.published.llasa import TEXT

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.models.config import SpeechLMConfig
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

PREFIX = "omni_speech2s_"  # of the model_type, before that of the text LM
ENDS = {"llama": "<|eot_id|>", "qwen2": "<|endoftext|>"}  # the token that ends a spoken text
GENERATOR = "speech_generator."
ABILITIES = (
    "You are {name} helpful language and speech assistant. You are able to understand the speech "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language and speech."
)
NAMES = {"llama": "a", "qwen2": "Qwen, created by Alibaba Cloud. You are a"}
REQUEST = "Please repeat after me: "
SIZES = {  # of the configuration, with the values that the release assumes where it says nothing
    "decoder_num_heads": 32,
    "decoder_num_layers": 4,
    "encoder_num_layers": 2,
    "mtp_num": 5,
    "speech_max_position_embeddings": 2048,
    "unit_vocab_size": 6561,
}


class VocalNet:
    """The family of VocalNet, see Family."""

    card = FamilyCard(
        name="VocalNet",
        tokenizer="cosyvoice2",
        licence="Llama 3.2 Community License (1B), Llama 3.1 (8B); Qwen2.5 7B: Apache-2.0",
        sampling={"greedy": True},
        notes="three units a step: --drafts 2 --accept all",
    )

    def matches(self, folder: PublishedFolder) -> bool:
        """See Family."""
        kind = str(folder.config.get("model_type"))
        return kind.startswith(PREFIX) and kind.removeprefix(PREFIX) in ENDS

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """See Family."""
        return self.card

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer | None":
        """See Family: it is published apart."""
        return None

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """See Family."""
        from vocalmtp.published.weights import Weights, assign, build_empty, with_prefix

        # the text LM feeds layers that a CPU runs in float32
        weights = Weights(folder, half=False)
        model = build_empty(vocalnet_config(folder, tokenizer.spec), folder.what)
        for unused in ("model.speech_", "lm_head."):  # of spoken questions and written answers
            weights.take_all(unused)
        trunk, chain = cast(Any, model.trunk), cast(Any, model.draft)
        assign(trunk.lm, weights.take_all("model."))
        generator = weights.take_all(GENERATOR)
        weights.check_empty()
        units = tokenizer.spec.streams[0].size
        fill_embedding(model, generator, units)
        fill_decoder(model.backbone, with_prefix(generator, "decode_layers."))
        fill_head(model.head, generator, "norm.weight", units)
        for k, block in enumerate(trunk.layers):
            assign(block, block_weights(with_prefix(generator, f"encode_layers.{k}.")))
        for k, (block, head) in enumerate(zip(chain.layers, chain.heads, strict=True)):
            module = with_prefix(generator, f"mtp_layers.{k}.")
            assign(block, block_weights(with_prefix(module, "decoder_layer.")))
            fill_head(head, module, "norm_final.weight", units)
        return model.eval().requires_grad_(False)

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """See Family."""
        kind = next((kind for kind, end in ENDS.items() if folder.has_token(end)), "llama")
        chat = [
            {"role": "system", "content": ABILITIES.format(name=NAMES[kind])},
            {"role": "user", "content": f"{REQUEST}{TEXT}"},
            {"role": "assistant", "content": TEXT},
        ]
        end = folder.id_of(ENDS[kind])

        def segments(sentence: SentenceRequest) -> list[Segment]:
            marks = folder.render_chat(chat).split(TEXT)
            if len(marks) != len(chat):
                raise InputError(
                    f"{folder.what}: its chat template leaves texts out; download it again",
                    code="damaged",
                )
            before, between, _ = marks
            text = folder.encode(sentence.sentence.original)
            context = [*folder.encode_marked(before), *text, *folder.encode_marked(between)]
            answer = Text([context[-1], context[-1], *text, end])
            return [Context(context[:-1]), answer, ControlToken("speech"), Speech(None)]

        return segments


def vocalnet_config(folder: PublishedFolder, spec: "TokenizerSpec") -> "SpeechLMConfig":
    """Return the configuration of the SpeechLM.

    Args:
        folder: of the published model.
        spec: of the speech tokenizer.

    Raises:
        InputError: its config.json is damaged, or its units are not the codes of the tokenizer.

    """
    from vocalmtp.models.config import SpeechLMConfig

    settings = folder.config
    sizes = {name: number(settings, name, folder, default) for name, default in SIZES.items()}
    width, heads = number(settings, "hidden_size", folder), sizes["decoder_num_heads"]
    inner = number(settings, "decoder_ffn_dim", folder, 4 * width)
    if spec.streams[0].size != sizes["unit_vocab_size"]:
        raise InputError(
            f"unit_vocab_size '{sizes['unit_vocab_size']}': the tokenizer '{spec.name}' has "
            f"{spec.streams[0].size} codes; give the one that belongs to the weights",
            code="mismatch",
        )
    layer = {"heads": heads, "hidden": inner, "epsilon": 1e-6}
    return SpeechLMConfig(
        backbone=decoder_settings(width, inner, heads, sizes),
        trunk=trunk_settings(settings),
        trunk_layers={"layers": sizes["encoder_num_layers"]} | layer,
        backbone_norm=False,
        streams=[{"name": stream.name, "size": stream.size} for stream in spec.streams],
        text="prompt",
        prompt_format="vocalnet",
        head={"name": "normed", "head": {"name": "parallel", "kind": "linear"}},
        draft={"name": "sequential", "steps": sizes["mtp_num"], "normed": False} | layer,
        tokenizer=spec.reference(),
        speaker_dropout=0.0,
        step_dropout=0.0,
    )


def trunk_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the text LM."""
    own = {name: value for name, value in settings.items() if "speech" not in name}
    for name in ("architectures", "auto_map", "torch_dtype", "dtype"):
        own.pop(name, None)
    return own | {"model_type": str(settings["model_type"]).removeprefix(PREFIX)}


def decoder_settings(width: int, inner: int, heads: int, sizes: dict[str, int]) -> dict[str, Any]:
    """Return the configuration of the speech decoder, as the release builds it."""
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    return special | {
        "model_type": "llama",
        "vocab_size": 1,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": sizes["decoder_num_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": sizes["speech_max_position_embeddings"],
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }


def block_weights(layer: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the weights of a decoder layer of Transformers as those of a Block."""
    import torch

    from vocalmtp.published.weights import take

    def joined(part: str, *names: str) -> "Tensor":
        return torch.cat([take(layer, f"{part}.{name}_proj.weight") for name in names])

    return {
        "attention_norm.weight": take(layer, "input_layernorm.weight"),
        "qkv.weight": joined("self_attn", "q", "k", "v"),
        "out.weight": take(layer, "self_attn.o_proj.weight"),
        "feed_norm.weight": take(layer, "post_attention_layernorm.weight"),
        "gate_up.weight": joined("mlp", "gate", "up"),
        "down.weight": take(layer, "mlp.down_proj.weight"),
    }


def fill_decoder(backbone: Any, layers: "dict[str, Tensor]") -> None:
    """Assign the layers of the speech decoder, which has no text."""
    import torch

    from vocalmtp.published.weights import assign

    text = torch.zeros(1, backbone.config.hidden_size)
    rest = {"model.embed_tokens.weight": text, "lm_head.weight": text}
    assign(backbone, rest | {f"model.layers.{name}": tensor for name, tensor in layers.items()})


def fill_head(head: Any, weights: "dict[str, Tensor]", norm: str, units: int) -> None:
    """Assign a norm and the output layer behind it: rows of the units, and of the end."""
    from vocalmtp.published.weights import assign, take, with_padding

    rows = unit_rows(units)
    layer = head.head.projection.free["0"]
    assign(head.norm, {"weight": take(weights, norm)})
    layer.weight = with_padding(take(weights, "output_proj.weight")[rows])
    layer.bias = with_padding(take(weights, "output_proj.bias")[rows])


def fill_embedding(model: "SpeechLM", generator: "dict[str, Tensor]", units: int) -> None:
    """Assign the embedding of units, and those of what begins text and speech."""
    from torch import nn

    from vocalmtp.published.weights import take, with_padding

    table = take(generator, "embedding.weight")
    trunk: Any = model.trunk
    model.embedding.table = with_padding(table[unit_rows(units)])
    trunk.start = nn.Parameter(table[units].clone())
    model.control_tokens.weight = nn.Parameter(table[units + 1 : units + 2].clone())


def unit_rows(units: int) -> list[int]:
    """Return the rows of the units and of their end; behind the units are two beginnings."""
    return [*range(units), units + 2]


FAMILIES.register("vocalnet")(VocalNet())
