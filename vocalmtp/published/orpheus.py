"""Orpheus (canopyai): Llama 3.2 3B over the seven codes of a SNAC frame, with named voices.

A frame is written in the order of time: coarse, first middle, two fine, second middle, two fine.
The prompt is "name: text" between the marks of a turn.
"""

from vocalmtp.decoding.synthesis import SentenceRequest
from vocalmtp.published.base import FAMILIES, FamilyCard
from vocalmtp.published.flat import FlatFamily
from vocalmtp.published.folder import PublishedFolder

BEFORE = ("<custom_token_3>", "<|begin_of_text|>")  # start of the human's turn
AFTER = ("<|eot_id|>", "<custom_token_4>", "<custom_token_5>", "<custom_token_1>")


def prompt_ids(folder: PublishedFolder, sentence: SentenceRequest) -> list[int]:
    """Return the text ids before the speech of a sentence."""
    text = sentence.sentence.original
    if sentence.voice is not None:
        text = f"{sentence.voice.name}: {text}"
    before, after = ([folder.id_of(token) for token in tokens] for tokens in (BEFORE, AFTER))
    return before + folder.encode(text) + after


ORPHEUS = FlatFamily(
    name="orpheus",
    card=FamilyCard(
        name="Orpheus",
        tokenizer="snac-24khz",
        licence="Apache-2.0 (code), Llama 3.2 Community License (weights)",
        sampling={"temperature": 0.6, "top_p": 0.8, "repetition_penalty": 1.3},
        size={
            "model_type": "llama",
            "vocab_size": 156_940,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 28,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 131_072,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
            "tie_word_embeddings": True,
        },
        voices=("tara", "leah", "jess", "leo", "dan", "mia", "zac", "zoe"),
    ),
    code="<custom_token_{}>",
    first=10,
    end="<custom_token_2>",
    order=(0, 1, 3, 4, 2, 5, 6),
    prompt=prompt_ids,
)
FAMILIES.register(ORPHEUS.name)(ORPHEUS)
