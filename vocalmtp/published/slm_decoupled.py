"""SLM-Decoupled-MTP (arXiv 2506.12537): Qwen2.5 over content and prosody of FACodec.

With next tokens, codes are tokens of the text vocabulary, three a frame. With 3, 6 or 12 heads, a step
has one, two or four frames, a head for each code, and the mean of its codes' embeddings as input; any
head may end the speech. A prompt is a request to read a sentence, in models that were trained so with
the speaker vector in it. Letters: V ids, D width.
"""

from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from vocalmtp.decoding.synthesis import PromptFormat, SentenceRequest
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import ControlToken, Segment, Speaker, Speech, Text
from vocalmtp.published.base import FAMILIES, FamilyCard
from vocalmtp.published.folder import PublishedFolder, number

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.models.config import SpeechLMConfig
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

STREAMS = "abc"  # content, content, prosody
BEGIN, END, PAD, PLACEHOLDER = "<sosp>", "<eosp>", "<|speech_pad|>", "<|placeholder|>"
HEADS = "medusa_num_heads"  # in the configuration; a model of next tokens has none
KINDS = {  # of heads, there and here
    "linear": "linear",
    "mlp": "slot_mlp",
    "transformer": "slot_transformer",
}
UNUSED = (  # settings that are no backbone's
    HEADS,
    "architectures",
    "auto_map",
    "base_model_name_or_path",
    "dtype",
    "head_implement",
    "head_transformers_layer",
    "medusa_num_layers",
    "model_max_length",
    "spk_aware",
    "spk_emb_dim",
    "torch_dtype",
)


class SlmDecoupled:
    """The family of SLM-Decoupled-MTP, see Family."""

    card = FamilyCard(
        name="SLM-Decoupled-MTP",
        tokenizer="facodec-v2-3",
        licence="not stated; no weights are published",
        sampling={"greedy": True},
    )

    def matches(self, folder: PublishedFolder) -> bool:
        """See Family."""
        own = HEADS in folder.config or "spk_emb_dim" in folder.config
        return own and folder.config.get("model_type") == "qwen2"

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """See Family."""
        return self.card

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer | None":
        """See Family: it is published apart."""
        return None

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """See Family."""
        from torch import nn

        from vocalmtp.published.weights import Weights, assign, build_empty

        weights = Weights(folder, half)
        table = weights.take("lm_model.model.embed_tokens.weight")
        text = {"lm_head.weight": table} | weights.take_all("lm_model.")
        config = slm_config(folder.config, tokenizer.spec, len(table))
        model = build_empty(config, folder.what)
        assign(model.backbone, {"model.embed_tokens.weight": table} | text)
        size = tokenizer.spec.streams[0].size
        model.embedding.table = nn.Parameter(table_of_steps(table, folder, config.flat, size))
        begin, projection = folder.id_of(BEGIN), model.speaker_projection
        model.control_tokens.weight = nn.Parameter(table[begin : begin + 1].clone())
        if projection is not None:
            assign(projection.projection, weights.take_all("spk_emb_proj."))
            projection.no_speaker = nn.Parameter(table[folder.id_of(PLACEHOLDER)].clone())
        if config.flat:
            layer = cast(Any, model.head).projection.free["0"]
            output = table_of_steps(text["lm_head.weight"], folder, True, size)
            layer.weight = nn.Parameter(output)
            layer.bias = nn.Parameter(output.new_zeros(len(output)))
        else:
            shared = number(folder.config, "num_key_value_heads", folder)
            fill_heads(model.head, weights.take_all("speech_heads."), shared)
        weights.check_empty()
        return model.eval().requires_grad_(False)

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """See Family."""
        knows_speakers = any(folder.config.get(name) for name in ("spk_aware", "speaker_dim"))
        beginning = [folder.id_of("<|im_start|>"), folder.id_of("[Human]")]
        assistant = folder.id_of("[Assistant]")

        def segments(sentence: SentenceRequest) -> list[Segment]:
            voice, text = sentence.voice, sentence.sentence.original.strip().capitalize()
            request = f": Read this sentence: {text}."
            announced = [assistant, *folder.encode(": The speech is: ")]
            if not knows_speakers:
                ids = [*beginning, *folder.encode(f"{request}\n "), *announced]
                return [Text(ids), ControlToken("speech"), Speech(None)]
            return [
                Text([*beginning, *folder.encode(f"{request} You should speak like: ")]),
                Speaker(None if voice is None else voice.vector),
                Text([*folder.encode(".\n "), *announced]),
                ControlToken("speech"),
                Speech(None),
            ]

        return segments


def slm_config(
    settings: dict[str, Any], spec: "TokenizerSpec", vocabulary: int
) -> "SpeechLMConfig":
    """Return the configuration of the SpeechLM.

    Args:
        settings: content of the published config.json.
        spec: of the speech tokenizer.
        vocabulary: tokens of text and speech.

    Raises:
        InputError: its heads are of another kind or number.

    """
    from vocalmtp.models.config import SpeechLMConfig

    heads, kind = settings.get(HEADS), settings.get("head_implement", "linear")
    if kind not in KINDS:
        raise InputError(
            f"head_implement '{kind}': no such kind of heads; give a model with one of: "
            f"{', '.join(KINDS)}",
            code="unsupported",
        )
    if heads is not None and (not isinstance(heads, int) or heads < 3 or heads % len(STREAMS)):
        raise InputError(f"{HEADS} '{heads}': is no multiple of 3; copy it again", code="damaged")
    backbone = {name: value for name, value in settings.items() if name not in UNUSED}
    aware = bool(settings.get("spk_aware"))
    grouped: dict[str, Any] = {"flat": True}
    head: dict[str, Any] = {"name": "parallel", "kind": "linear"}
    if heads is not None:
        head["kind"] = KINDS[kind]
        if kind == "transformer":
            head["layers"] = settings.get("head_transformers_layer", 2)
            head["hidden"], head["epsilon"] = (
                settings["intermediate_size"],
                settings["rms_norm_eps"],
            )
        grouped = {"frames_per_step": heads // len(STREAMS), "end_slots": "all"}
    return SpeechLMConfig(
        backbone=backbone | {"vocab_size": vocabulary},
        streams=[{"name": stream.name, "size": stream.size} for stream in spec.streams],
        step_embedding="mean",
        text="prompt",
        prompt_format="slm_decoupled",
        head=head,
        tokenizer=spec.reference(),
        speaker_dim=spec.speaker_dim if aware else 0,
        speaker_projection={"hidden": 4 * spec.speaker_dim, "activation": "silu", "scaled": False},
        speaker_dropout=0.0,
        step_dropout=0.0,
        **grouped,
    )


def table_of_steps(table: "Tensor", folder: PublishedFolder, flat: bool, size: int) -> "Tensor":
    """Return the rows of codes, end and padding, as a slot embedding has them: [V, D].

    Args:
        table: of the text vocabulary.
        folder: knows the ids.
        flat: whether all streams share the end.
        size: codes of a stream.

    """
    import torch

    codes = [
        folder.check_consecutive(f"<{name}0>", f"<{name}{size - 1}>", size) for name in STREAMS
    ]
    end = folder.id_of(END)
    if flat:  # which has no padding
        rows = table[[*chain(*codes), end]]
        return torch.cat([rows, torch.zeros_like(rows[:1])])
    special = [end, folder.id_of(PAD)]
    return table[[i for own in codes for i in (*own, *special)]]


def fill_heads(head: Any, weights: "dict[str, Tensor]", shared: int) -> None:
    """Assign the layers of every head; those of first frames have no padding.

    Args:
        head: of all slots.
        weights: of all heads, by their number.
        shared: heads of keys and values in a layer.

    """
    from vocalmtp.heads.parallel import SlotStacks
    from vocalmtp.published.weights import assign, with_padding, with_prefix

    for k, slot in enumerate(head.layout.slots):
        own = with_prefix(weights, f"{k}.head.")
        if isinstance(head.maps, SlotStacks):
            own = with_prefix(weights, f"{k}.head_proj.")
            *layers, norm = cast(Any, head.maps.stacks[k])
            assign(norm, with_prefix(weights, f"{k}.head_norm."))
            for number, layer in enumerate(layers):
                published = with_prefix(weights, f"{k}.head_layers.{number}.")
                assign(layer, layer_weights(published, shared))
        elif head.maps is not None:
            assign(head.maps.up[k], with_prefix(own, "0."))
            own = with_prefix(own, "2.")
        if slot.frame == 0:
            own = {name: with_padding(tensor).data for name, tensor in own.items()}
        assign(head.projection.free[str(k)], own)


def layer_weights(layer: "dict[str, Tensor]", shared: int) -> "dict[str, Tensor]":
    """Return the weights of a decoder layer of Qwen2 as those of a SelfLayer.

    A position that attends to itself alone gets its own values: one linear map to them, and one from
    them, whose columns are added up where heads share values.

    Args:
        layer: under the names of Transformers.
        shared: heads of keys and values.

    """
    import torch

    from vocalmtp.published.weights import take

    values, bias = (take(layer, f"self_attn.v_proj.{part}") for part in ("weight", "bias"))
    output = take(layer, "self_attn.o_proj.weight")  # [D, heads * size]
    heads = output.view(len(output), shared, -1, len(values) // shared)
    output = heads.sum(2).flatten(1)  # [D, shared * size]
    names = ("mlp.gate_proj.weight", "mlp.up_proj.weight")
    return {
        "attention_norm.weight": take(layer, "input_layernorm.weight"),
        "attention.weight": output @ values,
        "attention.bias": output @ bias,
        "feed_norm.weight": take(layer, "post_attention_layernorm.weight"),
        "gate_up.weight": torch.cat([take(layer, name) for name in names]),
        "down.weight": take(layer, "mlp.down_proj.weight"),
    }


FAMILIES.register("slm_decoupled")(SlmDecoupled())
