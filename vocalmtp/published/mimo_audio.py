"""MiMo-Audio (Xiaomi): Qwen2 over text and groups of four frames, with transformers inside groups.

A position is a text token or a group of four frames of eight streams. A transformer without a mask
encodes a group as one embedding; another one decodes it from the backbone's state, each stream a frame
after the one before it. The output layer of text says whether a group follows, or the end. Speech has
its text in it: five tokens, five groups, and so on, and when the text is over, groups until the end.
Letters: Q streams, V rows of a table, D width.
"""

from typing import TYPE_CHECKING, Any

from vocalmtp.decoding.synthesis import PromptFormat, SentenceRequest
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Segment, Speech, Text
from vocalmtp.published.base import FAMILIES, OWN, FamilyCard
from vocalmtp.published.folder import PublishedFolder, number, rope_theta
from vocalmtp.published.qwen3 import QWEN2_SIZES, layers_of

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.models.config import SpeechLMConfig
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.published.weights import Weights
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

KIND = "mimo_audio"
SETTINGS = ("local_layers", "input_local_layers", "group_size", "speech_vocab_size")
EMPTY, END, TEXT_END = "<|empty|>", "<|eostm|>", "<|eot|>"
CHUNK = 5  # tokens of text, and groups, in turns
REQUESTS = {  # one of ten in either language that the models were trained with
    "English": "Please convert this text to speech",
    "Chinese": "请将这段文字转换为语音",
}
VOICE = "你需要根据指定的风格指令和文本内容来生成和语音prompt具有相同音色的语音。你的音色应该是："


class MimoAudio:
    """The family of MiMo-Audio, see Family."""

    card = FamilyCard(
        name="MiMo-Audio",
        tokenizer="mimo-audio-tokenizer",
        licence="MIT",
        sampling={"temperature": 0.9, "top_p": 0.95},
        languages=tuple(REQUESTS),
    )

    def matches(self, folder: PublishedFolder) -> bool:
        """See Family."""
        return all(name in folder.config for name in SETTINGS)

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """See Family."""
        return self.card

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer | None":
        """See Family: it is published apart."""
        return None

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """See Family."""
        from vocalmtp.published.weights import Weights, assign, build_empty

        config = speech_config(folder, tokenizer.spec)
        weights = Weights(folder, half)
        model = build_empty(config, folder.what)
        text = weights.take("model.embed_tokens.weight")
        own = {"model.embed_tokens.weight": text, "lm_head.weight": text}
        assign(model.backbone, own | layers_of(weights, "model."))
        fill_codes(model, weights)
        fill_leading(model.head, folder, weights.take("lm_head.weight"))
        weights.check_empty()
        return model.eval().requires_grad_(False)

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """See Family."""
        marked, config = folder.encode_marked, folder.config
        frames = number(
            config, "frames_per_step" if config.get("model_type") == OWN else "group_size", folder
        )

        def segments(sentence: SentenceRequest) -> list[Segment]:
            written, voice = sentence.sentence.original, sentence.voice
            text = written.capitalize() if written.isupper() or written.islower() else written
            language = sentence.language or ("Chinese" if is_chinese(text) else "English")
            request = f"{REQUESTS[language]}: {text}"
            user = [*marked("<|im_start|>user\n"), *folder.encode(request), *marked("<|im_end|>\n")]
            ids = folder.encode(text)
            start, *rest = [ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK)]
            beginning = [*user, *marked("<|im_start|>assistant\n<|sostm|>"), *start]
            end = folder.id_of(TEXT_END)
            if not rest:
                beginning.append(end)
            speech: list[Segment] = [Text(beginning), Speech(None, along_groups(rest, end))]
            if voice is None or voice.codes is None:
                return speech
            before = [*marked("<|im_start|>system\n"), *marked(VOICE), folder.id_of("<|sosp|>")]
            after = [folder.id_of("<|eosp|>"), *marked("<|im_end|>\n")]
            recording = Speech(whole_groups(voice.codes, frames), supervised=False, reference=True)
            return [Text(before), recording, Text(after), *speech]

        return segments


def is_chinese(text: str) -> bool:
    """Whether a text has Chinese characters."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def along_groups(chunks: list[list[int]], end: int) -> list[int]:
    """Return the text ids of all steps, -1 for groups, after the first chunk of a text.

    Args:
        chunks: the other ones.
        end: the id that ends the text.

    """
    along: list[int] = []
    for chunk in chunks:
        along += [*[-1] * CHUNK, *chunk]
    return [*along, end, -1] if chunks else [-1]


def whole_groups(codes: Any, frames: int) -> "Tensor":
    """Repeat the last frame of codes [Q, T] until they are groups of so many frames."""
    import torch

    found = torch.from_numpy(codes)
    missing = -found.shape[1] % frames
    return torch.cat([found, found[:, -1:].expand(-1, missing)], 1)


def numbers_of(folder: PublishedFolder, name: str, count: int) -> list[int]:
    """Return a setting of so many numbers, such as "0-1-2", or one that all streams have.

    Raises:
        InputError: it is something else.

    """
    value = str(folder.config.get(name))
    parts = value.split("-")
    if len(parts) not in (1, count) or not all(part.isdecimal() for part in parts):
        raise InputError(
            f"{folder.what}: config.json has '{value}' as {name}, not {count} numbers; download it "
            "again",
            code="damaged",
        )
    return [int(part) for part in parts] * (count if len(parts) == 1 else 1)


def qwen2_settings(folder: PublishedFolder, **sizes: int) -> dict[str, Any]:
    """Return the configuration of a Qwen2 with the settings of config.json, and other `sizes`."""
    config = folder.config
    theta = rope_theta(config, folder)
    return {
        "model_type": "qwen2",
        "vocab_size": 1,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        **{name: config[name] for name in QWEN2_SIZES if name in config},
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
        **sizes,
    }


def local_settings(folder: PublishedFolder, width: int, layers: int, hidden: int) -> dict[str, Any]:
    """Return the configuration of one of the transformers inside of groups."""
    heads = number(folder.config, "local_attn_heads", folder, 64)
    if heads < 1 or width % heads:
        raise InputError(
            f"{folder.what}: config.json has {heads} local_attn_heads in a width of {width}; download "
            "it again",
            code="damaged",
        )
    return qwen2_settings(
        folder,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=width // heads,
        intermediate_size=hidden,
    )


def speech_config(folder: PublishedFolder, spec: "TokenizerSpec") -> "SpeechLMConfig":
    """Return the configuration of a published model as a SpeechLM.

    Raises:
        InputError: its config.json is damaged, or has other codes than the tokenizer.

    """
    from vocalmtp.models.config import SpeechLMConfig

    config = folder.config
    streams = number(config, "audio_channels", folder, 8)
    sizes = numbers_of(folder, "speech_zeroemb_idx", streams)
    rows = numbers_of(folder, "speech_vocab_size", streams)
    if sizes != [stream.size for stream in spec.streams] or rows != [size + 1 for size in sizes]:
        raise InputError(
            f"audio_channels '{streams}': the tokenizer '{spec.name}' has {len(spec.streams)} streams "
            f"of {', '.join(str(s.size) for s in spec.streams)} codes, and the model others; give the "
            "one that belongs to the weights",
            code="mismatch",
        )
    width = number(config, "local_dim", folder, 1024)
    read = (
        number(config, "input_local_dim", folder, width) if config.get("input_local_dim") else width
    )
    hidden = number(config, "local_ffn_dim", folder, 4096)
    layers = [number(config, f"{part}local_layers", folder) for part in ("", "input_")]
    head_dim = number(config, "head_dim", folder, 128)
    vocabulary = number(config, "vocab_size", folder)
    return SpeechLMConfig(
        backbone=qwen2_settings(folder, vocab_size=vocabulary, head_dim=head_dim),
        streams=[{"name": stream.name, "size": stream.size} for stream in spec.streams],
        frames_per_step=number(config, "group_size", folder),
        end_slots="text",
        step_encoder={
            "encoder": local_settings(folder, read, layers[1], 4 * read),
            "causal": not config.get("input_full_attention"),
        },
        text="prompt",
        step_text=True,
        prompt_format=KIND,
        head={
            "name": "patch_decoder",
            "decoder": local_settings(folder, width, layers[0], hidden),
            "delays": numbers_of(folder, "delay_pattern", streams),
            "table_width": read,
            "published_ids": True,
        },
        tokenizer=spec.reference(),
        speaker_dropout=0.0,
        step_dropout=0.0,
    )


def fill_codes(model: "SpeechLM", weights: "Weights") -> None:
    """Assign the transformers inside of groups, and the embeddings and output layers of codes."""
    from vocalmtp.published.weights import assign, assign_decoder

    embedding: Any = model.embedding
    head: Any = model.head
    assign_decoder(embedding.encoder, layers_of(weights, "input_local_transformer."))
    assign(embedding.projection, layer_of(weights, "speech_group_downcast"))
    assign_decoder(head.decoder, layers_of(weights, "local_transformer."))
    assign(head.projection, layer_of(weights, "hidden_states_downcast"))
    if head.table_projection.state_dict():
        assign(head.table_projection, layer_of(weights, "speech_embeddings_to_local"))
    for q, output in enumerate(head.outputs):
        table = code_rows(weights.take(f"speech_embeddings.{q}.weight"))
        assign(embedding.tables[q], {"weight": table})
        if str(q) in head.tables:
            assign(head.tables[str(q)], {"weight": table.clone()})
        rows = code_rows(weights.take(f"local_transformer_lm_heads.{q}.weight"))
        assign(output, {"weight": rows})


def layer_of(weights: "Weights", name: str) -> "dict[str, Tensor]":
    """Take a linear layer without a bias. Raises InputError if it is missing."""
    return {"weight": weights.take(f"{name}.weight")}


def code_rows(rows: "Tensor") -> "Tensor":
    """Replace the last row [V, D], that of no code, by zeros for the end and padding."""
    from torch.nn import functional as F

    return F.pad(rows[:-1], (0, 0, 0, 2))


def fill_leading(head: Any, folder: PublishedFolder, text: "Tensor") -> None:
    """Assign the output layer [V, D] of the text tokens of groups and of the end."""
    import torch

    from vocalmtp.published.weights import assign

    ids = [folder.id_of(name) for name in (EMPTY, END)]
    if max(ids) >= len(text):
        raise InputError(
            f"{folder.what}: lm_head.weight has {len(text)} rows, and the text tokenizer more tokens; "
            "download both from one revision",
            code="mismatch",
        )
    group, end = text[ids]
    nothing = torch.zeros_like(group)  # the logit of a step of text, which is never sampled
    rows = torch.stack([group, nothing, end, nothing])
    assign(head.leading[0], {"weight": rows, "bias": rows.new_zeros(len(rows))})


FAMILIES.register(KIND)(MimoAudio())
