"""Qwen3-TTS (Alibaba): Qwen3 over text and frames of its codec, and a code predictor over 16 codebooks.

The talker's own output layer predicts codebook 0 or the end, the code predictor the other ones. A
frame's embedding is the sum of its codes' and of a text token's: the text that is left, or padding.
A position of the prompt is the sum of a text token and of a control token of the codec's vocabulary.
Published as three kinds of models: with named voices, with voices that are described, and with voices
of recordings, which are a speaker vector and codes to go on from.
Letters: V rows of the codec's vocabulary, D width.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vocalmtp.decoding.synthesis import PromptFormat, SentenceRequest
from vocalmtp.models.prompts import ControlToken, Segment, Speaker, Speech, Text
from vocalmtp.published.base import FAMILIES, FamilyCard
from vocalmtp.published.flat import spoken_before
from vocalmtp.published.folder import PublishedFolder, number
from vocalmtp.published.qwen3 import layers_of, qwen3_settings, section
from vocalmtp.voices import Voice

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.models.config import SpeechLMConfig
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.published.weights import Weights
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

KIND = "qwen3_tts"
BASE, DESIGN = "base", "voice_design"  # kinds of models, beside that with named voices
ROLE, USER = "<|im_start|>assistant\n", ("<|im_start|>user\n", "<|im_end|>\n")
TALKER, PREDICTOR = "talker.model.", "talker.code_predictor."
CONTROL = ("pad", "bos", "think", "nothink", "think_bos", "think_eos")
LANGUAGE, VOICE = "language:", "voice:"
CHINESE = "chinese"  # whose dialects voices may have
SPECIAL = 1024  # last rows of the codec's vocabulary, which are no codes


@dataclass(frozen=True)
class PromptSettings:
    """What a model's prompts depend on, beside its text tokenizer.

    Attributes:
        kind: BASE, DESIGN or that of models with named voices.
        pad: id of the text token of padding.
        bos: id of the text token before the text.
        eos: id of the text token after the text.
        voices: the names of voices.
        dialects: of voices that have one, for text in Chinese or of no given language.
        languages: that can be given.
        instructions: whether the model follows instructions.

    """

    kind: str
    pad: int
    bos: int
    eos: int
    voices: tuple[str, ...] = ()
    dialects: dict[str, str] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    instructions: bool = False

    @classmethod
    def of(cls, folder: PublishedFolder) -> "PromptSettings":
        """Read the settings of a published model, or of one that was saved here."""
        config = folder.config
        if config.get("model_type") != KIND:
            settings = config["prompt_settings"]
            lists = {name: tuple(settings[name]) for name in ("voices", "languages")}
            return cls(**settings | lists)
        talker, kind = section(folder, "talker_config"), config.get("tts_model_type", "")
        named = talker.get("codec_language_id") or {}
        small = config.get("tts_model_size") == "0b6"  # which was not trained on instructions
        dialects = talker.get("spk_is_dialect") or {}
        return cls(
            kind=kind,
            pad=number(config, "tts_pad_token_id", folder),
            bos=number(config, "tts_bos_token_id", folder),
            eos=number(config, "tts_eos_token_id", folder),
            voices=tuple(talker.get("spk_id") or {}),
            dialects={name: dialect for name, dialect in dialects.items() if dialect},
            languages=tuple(name for name in named if "dialect" not in name),
            instructions=kind != BASE and not small,
        )


class Qwen3TTS:
    """The family of Qwen3-TTS, see Family."""

    card = FamilyCard(
        name="Qwen3-TTS",
        tokenizer="qwen3-tts-12hz",
        licence="Apache-2.0",
        sampling={"temperature": 0.9, "top_k": 50, "repetition_penalty": 1.05},
    )

    def matches(self, folder: PublishedFolder) -> bool:
        """See Family."""
        return folder.config.get("model_type") == KIND

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """See Family."""
        settings = PromptSettings.of(folder)
        return replace(
            self.card,
            voices=settings.voices,
            languages=settings.languages,
            instructions=settings.instructions,
        )

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer | None":
        """See Family: that of the folder `speech_tokenizer`, with the model's speaker encoder."""
        path = folder.path / "speech_tokenizer"
        if not path.is_dir():
            return None
        from vocalmtp.published.qwen3_codec import load_codec

        encoder = None
        if PromptSettings.of(folder).kind == BASE:
            encoder = folder.config.get("speaker_encoder_config") or {}
        return load_codec(folder, path, self.card.tokenizer, encoder)

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """See Family."""
        from vocalmtp.published.weights import Weights

        weights = Weights(folder, half)
        weights.take_all("speaker_encoder.")  # of the speech tokenizer
        model = build(folder, weights, tokenizer.spec)
        weights.check_empty()
        return model

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """See Family."""
        settings = PromptSettings.of(folder)
        role, card = folder.encode_marked(ROLE), self.card_of(folder)

        def segments(sentence: SentenceRequest) -> list[Segment]:
            voice = sentence.voice
            text = folder.encode(sentence.sentence.original)
            if voice is not None and voice.codes is not None:
                text = folder.encode(voice.transcript) + text
            speech = spoken_before(voice, card, clones=settings.kind == BASE)
            return [
                Text([*instruction(folder, sentence.instructions), *role]),
                *speaker_turn(voice, sentence.language, settings),
                *text_turn([*text, settings.eos], speech, settings),
            ]

        return segments


def instruction(folder: PublishedFolder, text: str | None) -> list[int]:
    """Return the ids of instructions, the user's turn; none without any."""
    if not text:
        return []
    before, after = (folder.encode_marked(mark) for mark in USER)
    return [*before, *folder.encode(text), *after]


def speaker_turn(
    voice: Voice | None, language: str | None, settings: PromptSettings
) -> list[Segment]:
    """Return the language and the voice of a prompt, up to the mark before its text."""
    pad = settings.pad
    if voice is not None and language in (None, CHINESE):
        language = settings.dialects.get(voice.name, language)
    names = ["nothink", "think_bos", "think_eos"]
    if language is not None:
        names = ["think", "think_bos", f"{LANGUAGE}{language}", "think_eos"]
    turn: list[Segment] = [ControlToken(name, pad) for name in names]
    if voice is not None and voice.name in settings.voices:
        turn.append(ControlToken(f"{VOICE}{voice.name}", pad))
    elif voice is not None:
        turn.append(Speaker(voice.vector, pad))
    return [*turn, ControlToken("pad", settings.bos)]


def text_turn(ids: list[int], speech: Speech, settings: PromptSettings) -> list[Segment]:
    """Return the text of a prompt, before the speech or along it, and the speech to go on from."""
    pad = settings.pad
    if settings.kind != BASE:
        before = [ControlToken("pad", id_) for id_ in ids]
        return [*before, ControlToken("bos", pad), replace(speech, characters=[pad])]
    along = replace(speech, characters=[*ids[1:], pad], penalized=False)
    return [ControlToken("bos", ids[0]), along]


def build(folder: PublishedFolder, weights: "Weights", spec: "TokenizerSpec") -> "SpeechLM":
    """Build the SpeechLM of a published model, whose weights it takes."""
    import torch
    from torch import nn

    from vocalmtp.published.weights import assign, assign_decoder, build_empty

    talker = section(folder, "talker_config")
    predictor = section(folder, "talker_config", "code_predictor_config")
    control = control_rows(folder)
    codes = number(talker, "vocab_size", folder) - SPECIAL
    config = speech_config(folder, talker, predictor, spec, tuple(control))
    model = build_empty(config)
    codecs = weights.take(f"{TALKER}codec_embedding.weight")  # [V, D]
    embed = weights.take_all(f"{PREDICTOR}model.codec_embedding.")
    later = [embed[f"{k}.weight"] for k in range(len(spec.streams) - 1)]
    tables = [with_specials(table[:codes]) for table in (codecs, *later)]
    model.embedding.table = nn.Parameter(torch.cat(tables))
    model.control_tokens.weight = nn.Parameter(codecs[list(control.values())])
    text = {"table.weight": weights.take(f"{TALKER}text_embedding.weight")}
    for place, name in ((0, "linear_fc1"), (2, "linear_fc2")):
        for part, tensor in weights.take_all(f"talker.text_projection.{name}.").items():
            text[f"projection.{place}.{part}"] = tensor
    assert model.text_embedding is not None
    assign(model.text_embedding, text)
    assign_decoder(model.backbone, layers_of(weights, TALKER))
    head: Any = model.head
    end = number(talker, "codec_eos_token_id", folder)
    first = weights.take("talker.codec_head.weight")  # [V, D]
    head.first.weight = nn.Parameter(with_specials(first[:codes], first[end]))
    for table, rows in zip(head.tables, tables, strict=False):
        table.weight = nn.Parameter(rows)
    outputs = weights.take_all(f"{PREDICTOR}lm_head.")
    for k, layer in enumerate(head.outputs):
        layer.weight = nn.Parameter(with_specials(outputs[f"{k}.weight"]))
    assign(head.projection, weights.take_all(f"{PREDICTOR}small_to_mtp_projection."))
    assign_decoder(head.decoder, layers_of(weights, f"{PREDICTOR}model."))
    return model.eval().requires_grad_(False)


def speech_config(
    folder: PublishedFolder,
    talker: dict[str, Any],
    predictor: dict[str, Any],
    spec: "TokenizerSpec",
    control: tuple[str, ...],
) -> "SpeechLMConfig":
    """Return the configuration of a published model as a SpeechLM with the tokens `control`."""
    from vocalmtp.models.config import SpeechLMConfig

    width, inner = (number(part, "hidden_size", folder) for part in (talker, predictor))
    decoder = qwen3_settings(folder, predictor)
    return SpeechLMConfig(
        backbone=qwen3_settings(folder, talker),
        streams=[{"name": stream.name, "size": stream.size} for stream in spec.streams],
        step_embedding="sum",
        text="prompt",
        text_embedding={
            "size": number(talker, "text_vocab_size", folder),
            "width": number(talker, "text_hidden_size", folder),
        },
        step_text=True,
        control_tokens=control,
        prompt_format=KIND,
        prompt_settings=asdict(PromptSettings.of(folder)),
        head={
            "name": "depth_decoder",
            "decoder": decoder | {"max_position_embeddings": len(spec.streams)},
            "projection": "none" if width == inner else "bias",
            "published_ids": True,
        },
        tokenizer=spec.reference(),
        speaker_dim=spec.speaker_dim,
        speaker_embedded=True,
        speaker_dropout=0.0,
        step_dropout=0.0,
    )


def control_rows(folder: PublishedFolder) -> dict[str, int]:
    """Return the rows of the codec's vocabulary that are control tokens, by their names."""
    talker = section(folder, "talker_config")
    rows = {name: number(talker, f"codec_{name}_id", folder) for name in CONTROL}
    for prefix, key in ((LANGUAGE, "codec_language_id"), (VOICE, "spk_id")):
        rows |= {f"{prefix}{name}": row for name, row in (talker.get(key) or {}).items()}
    return rows


def with_specials(rows: "Tensor", end: "Tensor | None" = None) -> "Tensor":
    """Append the rows of `end`, or zeros, and of padding, which no step of these models has."""
    import torch

    none = torch.zeros_like(rows[:1])
    return torch.cat([rows, none if end is None else end[None], none])


FAMILIES.register(KIND)(Qwen3TTS())
