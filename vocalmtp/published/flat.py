"""Causal LMs that speak codes as tokens of their text vocabulary, one code a step.

The codes of a speech tokenizer follow each other in the vocabulary, and those of several streams
have ids of their own by the place in the frame. Such a model is a SpeechLM: the rows of the codes in
the embedding and in the output layer become its slot embedding and its head, which then computes no
logits of text. Letters: V ids of the codes, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from vocalmtp.decoding.synthesis import PromptFormat, SentenceRequest
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Segment, Speech, Text
from vocalmtp.published.base import FamilyCard
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.voices import Voice

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

# Text ids before the speech of a sentence, given the folder of the text tokenizer.
PromptIds = Callable[[PublishedFolder, SentenceRequest], list[int]]


@dataclass(frozen=True, kw_only=True)
class FlatFamily:
    """A family whose codes are tokens of the text vocabulary, see Family.

    Attributes:
        name: under which it is registered.
        card: facts of the family.
        code: the token of a code, with {} for its number.
        first: the number of code 0.
        end: the token that ends the speech.
        order: the tokenizer's streams in the order in which a frame has them.
        prompt: makes the text ids of a prompt.
        clones: whether the model goes on after the codes of a voice.

    """

    name: str
    card: FamilyCard
    code: str
    first: int = 0
    end: str
    order: tuple[int, ...] = (0,)
    prompt: PromptIds
    clones: bool = False

    def matches(self, folder: PublishedFolder) -> bool:
        """See Family."""
        return folder.has_token(self.code.format(self.first)) and folder.has_token(self.end)

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """See Family."""
        return self.card

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer | None":
        """See Family: it is published apart."""
        return None

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """See Family."""
        from vocalmtp.published.weights import load_causal_lm

        count = sum(stream.size for stream in tokenizer.spec.streams)
        last = self.code.format(self.first + count - 1)
        codes = folder.check_consecutive(self.code.format(self.first), last, count)
        end = folder.id_of(self.end)
        return self.convert(load_causal_lm(folder, half), tokenizer.spec, [*codes, end])

    def random_model(self, layers: int | None) -> "PreTrainedModel":
        """See TransformersFamily."""
        from transformers import AutoConfig, AutoModelForCausalLM

        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
        depth = {} if layers is None else {"num_hidden_layers": layers}
        settings: Any = self.card.size | special | depth
        config = AutoConfig.for_model(**settings)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        return model

    def convert(
        self, backbone: Any, spec: "TokenizerSpec", ids: "Sequence[int] | None" = None
    ) -> "SpeechLM":
        """See TransformersFamily; `ids` of codes and end, by default the last of the vocabulary."""
        import torch

        from vocalmtp.models.config import SpeechLMConfig
        from vocalmtp.models.speech_lm import SpeechLM, config_of
        from vocalmtp.published.weights import with_padding

        output, table = (
            layer.weight
            for layer in (backbone.get_output_embeddings(), backbone.get_input_embeddings())
        )
        if ids is None:
            count = sum(stream.size for stream in spec.streams)
            ids = [*range(len(table) - count, len(table)), len(table) - count - 1]
        config = SpeechLMConfig(
            backbone=config_of(backbone.config),
            streams=[{"name": stream.name, "size": stream.size} for stream in spec.streams],
            flat=len(self.order) > 1,
            flat_order=self.order if len(self.order) > 1 else (),
            text="prompt",
            prompt_format=self.name,
            head={"name": "parallel", "kind": "linear"},
            tokenizer=spec.reference(),
            speaker_dropout=0.0,
            step_dropout=0.0,
        )
        model = SpeechLM(config, backbone)
        rows, head = torch.tensor(ids), cast(Any, model.head)
        with torch.no_grad():
            model.embedding.table = with_padding(table[rows])  # [V + 2, D]
            linear = head.projection.free["0"]
            linear.weight = with_padding(output[rows])
            linear.bias = with_padding(torch.zeros(len(rows), dtype=output.dtype))
        return model.eval().requires_grad_(False)

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """See TransformersFamily."""

        def segments(sentence: SentenceRequest) -> list[Segment]:
            text = Text(self.prompt(folder, sentence))
            return [text, spoken_before(sentence.voice, self.card, self.clones)]

        return segments


def spoken_before(voice: Voice | None, card: FamilyCard, clones: bool) -> Speech:
    """Return the speech that a model is to go on after: the recording of a voice, if it has one.

    Raises:
        InputError: the voice is a recording, and the family has other voices.

    """
    if voice is None or voice.codes is None:
        return Speech(None)
    if not clones:
        raise InputError(
            f"voice '{voice.name}': is of a recording, and {card.name} knows voices by name alone; "
            f"choose one of: {', '.join(card.voices)}",
            code="unsupported",
        )
    import torch

    return Speech(torch.from_numpy(voice.codes), goes_on=True)


def with_transcript(
    sentence: SentenceRequest, text: str, convert: Callable[[str], str] = str
) -> str:
    """Put the transcript of a voice's recording before a text, if it has one.

    Args:
        sentence: has the voice.
        text: as the model reads it.
        convert: turns the transcript into what the model reads.

    """
    if sentence.voice is None or not sentence.voice.transcript:
        return text
    return f"{convert(sentence.voice.transcript)} {text}"
