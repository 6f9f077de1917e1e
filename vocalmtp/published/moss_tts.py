"""MOSS-TTS (OpenMOSS, delay pattern): Qwen3 over text and 32 streams of its codec, each a step late.

Every position has a text token and a code, or padding, of each stream; its embedding is their sum. In
speech, the text token says whether it goes on, and its end comes with the last frame of the first
stream; stream k follows k steps later. All have output layers of their own. The reference recording
of a voice is in the user's turn, with a text token of its own.
Letters: K streams, V rows of a table, D width.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from vocalmtp.decoding.synthesis import PromptFormat, SentenceRequest
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Segment, Speech, Text
from vocalmtp.published.base import FAMILIES, OWN, FamilyCard
from vocalmtp.published.folder import PublishedFolder, number
from vocalmtp.published.qwen3 import layers_of, qwen3_settings, section

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.models.config import SpeechLMConfig
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.published.weights import Weights
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

KIND = "moss_tts_delay"
EXCLUDED = -1e4  # logit of an id that is never predicted
NOTHING = "None"  # of a field of the user's turn that is not given
FIELDS = ("Reference(s)", "Instruction", "Tokens", "Quality", "Sound Event", "Ambient Sound")
TURN = "".join(f"- {name}:\n{{{name}}}\n" for name in (*FIELDS, "Language", "Text"))
LANGUAGES = tuple(  # of version 1.5
    (
        "English Chinese Arabic Cantonese Czech Danish Dutch Finnish French German Greek "
        "Hebrew Hindi Hungarian Italian Japanese Korean Macedonian Malay Persian Polish "
        "Portuguese Romanian Russian Spanish Swahili Swedish Tagalog Thai Turkish "
        "Vietnamese"
    ).split()
)
REFERENCE = "[S1]:\n"  # before the recording


@dataclass(frozen=True)
class SpeechMarks:
    """Ids of the text tokens before and after speech."""

    start: int
    end: int

    @classmethod
    def of(cls, folder: PublishedFolder) -> "SpeechMarks":
        """Read the ids of a published model, or of one that was saved here."""
        config = folder.config
        if config.get("model_type") == OWN:
            return cls(**config["prompt_settings"])
        names = ("audio_start_token_id", "audio_end_token_id")
        return cls(*(number(config, name, folder) for name in names))


class MossTTS:
    """The family of MOSS-TTS with the delay pattern, see Family."""

    card = FamilyCard(
        name="MOSS-TTS",
        tokenizer="moss-audio-tokenizer",
        licence="Apache-2.0",
        sampling={"temperature": 1.7, "top_p": 0.8, "top_k": 25},
        languages=LANGUAGES,
        instructions=True,
    )

    def matches(self, folder: PublishedFolder) -> bool:
        """See Family."""
        return folder.config.get("model_type") == KIND

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """See Family."""
        return self.card

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer | None":
        """See Family: it is published apart."""
        return None

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """See Family."""
        from vocalmtp.published.weights import Weights, assign, build_empty

        weights, streams = Weights(folder, half), len(tokenizer.spec.streams)
        config = speech_config(folder, tokenizer.spec)
        model = build_empty(config, folder.what)
        text = weights.take("language_model.embed_tokens.weight")
        tables = [weights.take(f"emb_ext.{k}.weight") for k in range(streams)]
        check_tables(folder, text, tables)
        # text is read with the padding of all streams
        padded = text + sum(table[-1] for table in tables)
        own = {"model.embed_tokens.weight": padded, "lm_head.weight": padded}
        assign(model.backbone, own | layers_of(weights, "language_model."))
        fill_embedding(model, folder, text, tables)
        fill_head(model.head, folder, weights)
        weights.check_empty()
        return model.eval().requires_grad_(False)

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """See Family."""
        marks = SpeechMarks.of(folder)

        def segments(sentence: SentenceRequest) -> list[Segment]:
            voice, said = sentence.voice, {"Text": sentence.sentence.original}
            if sentence.language is not None:
                said["Language"] = sentence.language
            if sentence.instructions:
                said["Instruction"] = sentence.instructions
            if voice is None or voice.codes is None:
                turn = [Text([*user_turn(folder, said)[0], marks.start])]
                return [*turn, Speech(None)]
            import torch

            before, after = user_turn(folder, said, recording=True)
            codes = torch.from_numpy(voice.codes)
            return [
                Text([*before, marks.start]),
                Speech(codes, supervised=False, reference=True),
                Text([marks.end, *after, marks.start]),
                Speech(None),
            ]

        return segments


def user_turn(
    folder: PublishedFolder, said: Mapping[str, str], recording: bool = False
) -> list[list[int]]:
    """Write the user's turn and the beginning of the reply.

    Args:
        folder: has the chat template.
        said: what the fields of the turn have, by their names; the other ones have nothing.
        recording: whether a recording is its reference.

    Returns:
        The text ids before and after the recording, or all, without one.

    Raises:
        InputError: the chat template cannot be used.

    """
    message = {"role": "user", "content": f"<user_inst>\n{TURN}</user_inst>"}
    parts: list[list[int]] = [[]]
    # a field and the end of its line are one text, in which names of special tokens are plain
    for piece in re.split(r"(\{[^{}]*\}\n)", folder.render_chat([message], reply=True)):
        name = piece[1:-2]
        if name not in (*FIELDS, "Language", "Text") or not piece.startswith("{"):
            parts[-1] += folder.encode_marked(piece)
        elif name == FIELDS[0] and recording:
            parts[-1] += folder.encode(REFERENCE)
            parts.append(folder.encode("\n"))
        else:
            parts[-1] += folder.encode(f"{said.get(name, NOTHING)}\n")
    if len(parts) != 1 + recording:
        raise InputError(
            f"{folder.what}: its chat template leaves texts out; download it again", code="damaged"
        )
    return parts


def speech_config(folder: PublishedFolder, spec: "TokenizerSpec") -> "SpeechLMConfig":
    """Return the configuration of a published model as a SpeechLM.

    Raises:
        InputError: its config.json is damaged, or has other codes than the tokenizer.

    """
    from vocalmtp.models.config import SpeechLMConfig

    language = section(folder, "language_config")
    codes = [number(folder.config, "audio_vocab_size", folder, 1024)] * number(
        folder.config, "n_vq", folder, 32
    )
    if codes != [stream.size for stream in spec.streams]:
        raise InputError(
            f"n_vq '{len(codes)}': the tokenizer '{spec.name}' has {len(spec.streams)} streams of "
            f"{spec.streams[0].size} codes; give the one that belongs to the weights",
            code="mismatch",
        )
    backbone = qwen3_settings(folder, language)
    return SpeechLMConfig(
        backbone=backbone | {"vocab_size": number(language, "vocab_size", folder)},
        streams=[
            {"name": stream.name, "size": stream.size, "delay": k}
            for k, stream in enumerate(spec.streams)
        ],
        end_slots="own",
        step_embedding="sum",
        text="prompt",
        prompt_format=KIND,
        prompt_settings=asdict(SpeechMarks.of(folder)),
        head={"name": "parallel", "kind": "linear"},
        tokenizer=spec.reference(),
        speaker_dropout=0.0,
        step_dropout=0.0,
    )


def speech_rows(folder: PublishedFolder) -> list[int]:
    """Return the text tokens of steps that go on, of those of a reference, and of the last ones."""
    names = ("assistant_gen_slot", "user_slot", "assistant_delay_slot")
    return [number(folder.config, f"audio_{name}_token_id", folder) for name in names]


def check_tables(folder: PublishedFolder, text: "Tensor", tables: "list[Tensor]") -> None:
    """Raise InputError unless embeddings of text [V, D] and of all streams fit config.json."""
    codes = number(folder.config, "audio_vocab_size", folder, 1024) + 1
    wrong = [f"emb_ext.{k}" for k, x in enumerate(tables) if x.shape != (codes, text.shape[1])]
    wrong += [f"token {row}" for row in speech_rows(folder) if not 0 <= row < len(text)]
    if wrong:
        raise InputError(
            f"{folder.what}: {', '.join(wrong[:3])}: not of the sizes in config.json; download both "
            "from one revision",
            code="mismatch",
        )


def fill_embedding(
    model: "SpeechLM", folder: PublishedFolder, text: "Tensor", tables: "list[Tensor]"
) -> None:
    """Assign the embedding of steps: text tokens, then the codes of each stream; ends have zeros."""
    import torch
    from torch import nn

    goes_on, reference, last = speech_rows(folder)
    rows = [text[[goes_on, reference, last, last]]]
    for table in tables:  # [V, D], of which the last row is padding
        rows += [table[:-1], torch.zeros_like(table[:1]), table[-1:]]
    model.embedding.table = nn.Parameter(torch.cat(rows))


def fill_head(head: Any, folder: PublishedFolder, weights: "Weights") -> None:
    """Assign the output layers: that of two text tokens, and those of the streams' codes."""
    from torch import nn
    from torch.nn import functional as F

    goes_on, _, last = speech_rows(folder)
    text = weights.take("lm_heads.0.weight")
    free = cast(Any, head.projection.free)
    for k, slot in enumerate(head.layout.slots):
        layer = free[str(k)]
        bias = text.new_zeros(slot.vocab_size)
        if k == 0:  # a reference is never predicted
            rows = F.pad(text[[goes_on, goes_on, last]], (0, 0, 0, 1))
            bias[1] = EXCLUDED
        else:
            rows = F.pad(weights.take(f"lm_heads.{k}.weight")[: slot.size], (0, 0, 0, 2))
        if rows.shape != layer.weight.shape:
            raise InputError(
                f"{folder.what}: lm_heads.{k}.weight has other sizes than config.json; download both "
                "from one revision",
                code="mismatch",
            )
        layer.weight, layer.bias = nn.Parameter(rows.contiguous()), nn.Parameter(bias)


FAMILIES.register(KIND)(MossTTS())
