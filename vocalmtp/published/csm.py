"""CSM (Sesame): a Llama over text and frames of Mimi, and a depth decoder over 32 codebooks.

A frame's embedding is the sum of its codes'. The backbone's own output layer predicts codebook 0,
the depth decoder the other ones, with an output matrix each. A frame of zeros ends the speech. A
prompt is "[speaker]text", after the transcript and the frames of a voice's recording.
Letters: K codebooks, V rows of one in the tables, D width.
"""

from typing import TYPE_CHECKING, Any

from vocalmtp.decoding.synthesis import PromptFormat, SentenceRequest
from vocalmtp.models.prompts import Segment, Speech, Text
from vocalmtp.published.base import FAMILIES, FamilyCard
from vocalmtp.published.folder import PublishedFolder

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

BEFORE, AFTER = "<|begin_of_text|>", "<|end_of_text|>"
BACKBONE, DEPTH = "backbone_model.", "depth_decoder."
TABLES = f"{DEPTH}model.embed_tokens.weight"
LLAMA = (  # settings of a Llama in the configurations of both transformers
    "attention_bias",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_bias",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
)


class Csm:
    """The family of CSM, see Family."""

    card = FamilyCard(
        name="CSM",
        tokenizer="mimi-32",
        licence="Apache-2.0",
        sampling={"temperature": 0.9, "top_k": 50},
        voices=("0", "1"),
    )

    def matches(self, folder: PublishedFolder) -> bool:
        """See Family."""
        return folder.config.get("model_type") == "csm"

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """See Family."""
        return self.card

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer":
        """See Family: the Mimi among the weights."""
        from vocalmtp.tokenizers import TOKENIZERS, find_card

        card = find_card(self.card.tokenizer)
        make: Any = TOKENIZERS[card.type]
        tokenizer: SpeechTokenizer = make(load_csm(folder, half=False).codec_model.eval(), card)
        return tokenizer

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """See Family."""
        return self.convert(load_csm(folder, half), tokenizer.spec)

    def random_model(self, layers: int | None) -> Any:
        """See TransformersFamily."""
        from transformers import CsmConfig, CsmForConditionalGeneration

        depth: Any = {} if layers is None else {"num_hidden_layers": layers}
        return CsmForConditionalGeneration(CsmConfig(**depth))

    def convert(self, published: Any, spec: "TokenizerSpec") -> "SpeechLM":
        """See TransformersFamily."""
        from vocalmtp.models.config import SpeechLMConfig
        from vocalmtp.published.weights import assign, build_empty

        settings = published.config
        config = SpeechLMConfig(
            backbone=llama_settings(settings, settings.text_vocab_size),
            streams=[{"name": stream.name, "size": stream.size} for stream in spec.streams],
            step_embedding="sum",
            text="prompt",
            prompt_format="csm",
            head={
                "name": "depth_decoder",
                "decoder": llama_settings(settings.depth_decoder_config, 1),
                "end_code": settings.codebook_eos_token_id,
                "published_ids": True,
            },
            tokenizer=spec.reference(),
            speaker_dropout=0.0,
            step_dropout=0.0,
        )
        model = build_empty(config)
        weights = published.state_dict()
        assign(model.backbone, backbone_weights(weights))
        sizes = [stream.size for stream in spec.streams]
        tables = slot_tables(weights, settings.vocab_size, sizes, settings.codebook_eos_token_id)
        fill_head(model.head, weights, tables)
        fill_embedding(model, tables)
        return model.eval().requires_grad_(False)

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """See Family."""
        before, after = folder.id_of(BEFORE), folder.id_of(AFTER)

        def turn(text: str, speaker: str) -> Text:
            return Text([before, *folder.encode(f"[{speaker}]{text}"), after])

        def segments(sentence: SentenceRequest) -> list[Segment]:
            voice, text = sentence.voice, sentence.sentence.original
            if voice is None or voice.codes is None:
                return [turn(text, "0" if voice is None else voice.name), Speech(None)]
            import torch

            recording = Speech(torch.from_numpy(voice.codes))
            return [turn(voice.transcript, "0"), recording, turn(text, "0"), Speech(None)]

        return segments


def load_csm(folder: PublishedFolder, half: bool) -> Any:
    """Load all parts of a published CSM as Transformers has them."""
    from transformers import CsmForConditionalGeneration

    from vocalmtp.published.weights import load_model

    return load_model(CsmForConditionalGeneration, folder, half)


def llama_settings(config: Any, vocabulary: int) -> dict[str, Any]:
    """Return the configuration of a Llama with the sizes of `config`."""
    settings = {name: getattr(config, name) for name in LLAMA}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    tied = {"vocab_size": vocabulary, "tie_word_embeddings": True}
    return {"model_type": "llama"} | settings | special | tied


def llama_weights(weights: "dict[str, Tensor]", prefix: str) -> "dict[str, Tensor]":
    """Return the layers and the last norm of a transformer as those of a Llama."""
    names = (f"{prefix}layers.", f"{prefix}norm.")
    return {
        f"model.{name.removeprefix(prefix)}": tensor
        for name, tensor in weights.items()
        if name.startswith(names)
    }


def backbone_weights(weights: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the weights of the backbone as those of a causal Llama over text."""
    text = weights["embed_text_tokens.weight"]
    tables = {"model.embed_tokens.weight": text, "lm_head.weight": text}
    return llama_weights(weights, BACKBONE) | tables


def slot_tables(
    weights: "dict[str, Tensor]", rows: int, sizes: list[int], end: int
) -> "list[Tensor]":
    """Return the embedding [V_k, D] of every slot: that of its codes, and twice that of code `end`.

    So the end step of the layout has the embedding of a frame of end codes.
    """
    import torch

    tables = weights[TABLES]
    parts = [tables[k * rows : k * rows + size] for k, size in enumerate(sizes)]
    return [torch.cat([part, part[[end, end]]]) for part in parts]


def fill_head(head: Any, weights: "dict[str, Tensor]", tables: "list[Tensor]") -> None:
    """Assign the weights of a depth decoder's head."""
    from torch import nn
    from torch.nn import functional as F

    from vocalmtp.published.weights import assign, assign_decoder

    slots = head.layout.slots
    outputs = weights[f"{DEPTH}codebooks_head.weight"].transpose(1, 2)  # [K - 1, V, W]
    rows = [weights["lm_head.weight"], *outputs]
    rows = [F.pad(x[: slot.size], (0, 0, 0, 2)) for x, slot in zip(rows, slots, strict=True)]
    for layer, row in zip((head.first, *head.outputs), rows, strict=True):
        layer.weight = nn.Parameter(row.contiguous())
    for layer, table in zip(head.tables, tables, strict=False):
        layer.weight = nn.Parameter(table)
    projector = weights[f"{DEPTH}model.inputs_embeds_projector.weight"]
    assign(head.projection, {"weight": projector})
    assign_decoder(head.decoder, llama_weights(weights, f"{DEPTH}model."))


def fill_embedding(model: "SpeechLM", tables: "list[Tensor]") -> None:
    """Assign the embedding of steps."""
    import torch
    from torch import nn

    model.embedding.table = nn.Parameter(torch.cat(tables))


FAMILIES.register("csm")(Csm())
