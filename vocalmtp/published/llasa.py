"""Llasa (HKUST): Llama over the codes of X-Codec 2, one stream, with the prompts of its chat template.

A voice is cloned by going on after the codes of a recording, whose transcript precedes the text.
"""

from vocalmtp.decoding.synthesis import SentenceRequest
from vocalmtp.published.base import FAMILIES, FamilyCard
from vocalmtp.published.flat import FlatFamily, with_transcript
from vocalmtp.published.folder import PublishedFolder

TEXT = "{text}"  # stands for the text in the rendered template
CHAT = [
    {
        "role": "user",
        "content": "Convert the text to speech:"
        f"<|TEXT_UNDERSTANDING_START|>{TEXT}<|TEXT_UNDERSTANDING_END|>",
    },
    {"role": "assistant", "content": "<|SPEECH_GENERATION_START|>"},
]


def prompt_ids(folder: PublishedFolder, sentence: SentenceRequest) -> list[int]:
    """Return the text ids before the speech of a sentence."""
    before, _, after = folder.render_chat(CHAT).partition(TEXT)
    text = with_transcript(sentence, sentence.sentence.original)
    return folder.encode_marked(before) + folder.encode(text) + folder.encode_marked(after)


LLASA = FlatFamily(
    name="llasa",
    card=FamilyCard(
        name="Llasa",
        tokenizer="xcodec2",
        licence="CC-BY-NC-4.0",
        sampling={"temperature": 0.8},
        size={
            "model_type": "llama",
            "vocab_size": 193_800,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131_072,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
            "tie_word_embeddings": True,
        },
        notes="not for commercial use",
    ),
    code="<|s_{}|>",
    end="<|SPEECH_GENERATION_END|>",
    prompt=prompt_ids,
    clones=True,
)
FAMILIES.register(LLASA.name)(LLASA)
