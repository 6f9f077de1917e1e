"""A text LM of a few thousand weights that has learned two sentences."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from vocalmtp.config import parse
from vocalmtp.training.recipe import TextLMRecipe
from vocalmtp.training.text_lm import train_text_lm

SENTENCES = ("the cat sat on the mat", "a dog sat on a cat", "the dog ran off with a mat")


def save_tokenizer(folder: Path, texts: tuple[str, ...] = SENTENCES) -> Path:
    """A BPE tokenizer over bytes, with an end."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>").save_pretrained(folder)
    return folder


def recipe(folder: Path, output: str, **changes: object) -> TextLMRecipe:
    """A run of seconds on the sentences; `changes` are those of whole keys."""
    settings = {
        "data": {"texts": [str(folder / "texts.txt")], "length": 24},
        "backbone": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 256,
        },
        "tokenizer": str(folder / "tokenizer"),
        "optim": {"max_steps": 2, "batch_frames": 200, "learning_rate": 1e-2, "warmup_steps": 2},
        "output": str(folder / output),
    }
    return parse(TextLMRecipe, {k: v for k, v in (settings | changes).items() if v is not None})


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts and a tokenizer."""
    folder = tmp_path_factory.mktemp("text")
    lines = [*SENTENCES] * 20
    (folder / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    save_tokenizer(folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def trained(texts: Path) -> Iterator[Path]:
    """A model's folder with a draft head, which has half learned the sentences."""
    draft = {"name": "recursive", "steps": 3, "heads": 2}
    optim = {"max_steps": 25, "batch_frames": 200, "learning_rate": 1e-2, "warmup_steps": 2}
    yield train_text_lm(recipe(texts, "trained", draft=draft, optim=optim))


@pytest.fixture
def text_recipe(texts: Path) -> Callable[..., TextLMRecipe]:
    """Makes the recipe of a run of seconds, into a folder of the texts'."""
    return partial(recipe, texts)
