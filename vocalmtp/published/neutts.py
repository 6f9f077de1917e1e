"""NeuTTS Air and Nano (neuphonic): Qwen2 or Llama over the codes of NeuCodec, with phones as text.

A voice is always that of a recording: the model goes on after its codes, and the phones of its
transcript precede those of the text. The published code takes phones from espeak; here they are
those of the lexicon (text/pronunciation.py), in the same alphabet and with stress marks.
"""

from vocalmtp.decoding.synthesis import SentenceRequest
from vocalmtp.errors import InputError
from vocalmtp.published.base import FAMILIES, FamilyCard
from vocalmtp.published.flat import FlatFamily, with_transcript
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.text import normalize
from vocalmtp.text.pronunciation import phonetic

INSTRUCTION = "user: Convert the text to speech:"
BEFORE, AFTER = "<|TEXT_PROMPT_START|>", "<|TEXT_PROMPT_END|>"
START = "<|SPEECH_GENERATION_START|>"


def prompt_ids(folder: PublishedFolder, sentence: SentenceRequest) -> list[int]:
    """Return the text ids before the speech of a sentence."""
    if sentence.voice is None:
        raise InputError(
            "voice: NeuTTS speaks in the voice of a recording alone; give one, such as x.wav with "
            "what is said in it in x.txt beside it",
            code="missing",
        )
    phones = phonetic(sentence.text, sentence.sentence.phones)
    phones = with_transcript(sentence, phones, lambda text: phonetic(normalize(text)))
    before = folder.encode_marked(INSTRUCTION) + [folder.id_of(BEFORE)]
    after = [folder.id_of(AFTER), *folder.encode_marked("\nassistant:"), folder.id_of(START)]
    return before + folder.encode(phones) + after


NEUTTS = FlatFamily(
    name="neutts",
    card=FamilyCard(
        name="NeuTTS",
        tokenizer="neucodec",
        licence="Apache-2.0",
        sampling={"temperature": 1.0, "top_k": 50},
        size={  # of Air
            "model_type": "qwen2",
            "vocab_size": 217_652,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "tie_word_embeddings": True,
        },
    ),
    code="<|speech_{}|>",
    end="<|SPEECH_GENERATION_END|>",
    prompt=prompt_ids,
    clones=True,
)
FAMILIES.register(NEUTTS.name)(NEUTTS)
