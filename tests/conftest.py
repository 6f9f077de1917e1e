"""Tiny random models over three backbone families, toy codes, and fixed seeds."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from vocalmtp.decoding.generate import Generated, Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.models.batch import Batch, Collator
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.prompts import Segment, tts_prompt
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_track import frame_advances

ALPHABET = " abcdefgh."
BACKBONES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2, "intermediate_size": 64},
    "qwen2": {"num_key_value_heads": 1, "intermediate_size": 64, "tie_word_embeddings": True},
    "qwen3": {"num_key_value_heads": 1, "intermediate_size": 64, "head_dim": 8},
    "gpt2": {"n_positions": 256},
}
STREAMS = [
    {"name": "content", "size": 8, "levels": (2, 4)},
    {"name": "prosody", "size": 5},
]


# The models are tiny: a second thread only waits, in this process and in those that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models that were fetched on this machine have no effect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOCALMTP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_model() -> Callable[..., SpeechLM]:
    """Builds a two-layer random model in eval mode; keywords go to SpeechLMConfig."""

    def make(backbone: str = "llama", num_hidden_layers: int = 2, **settings: Any) -> SpeechLM:
        size = {
            "vocab_size": 16,
            "hidden_size": 32,
            "num_hidden_layers": num_hidden_layers,
            "num_attention_heads": 2,
        }
        ids = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
        settings = {
            "streams": STREAMS,
            "frames_per_step": 2,
            "track": {"width": 16, "layers": 1, "kernel": 3},
            "speaker_dim": 4,
            "speaker_dropout": 0.0,
            "step_dropout": 0.0,
        } | settings
        if settings.get("flat"):
            settings["frames_per_step"] = 1
        config = SpeechLMConfig(
            backbone={"model_type": backbone} | size | BACKBONES[backbone] | ids,
            alphabet=ALPHABET,
            tokenizer={"name": "toy", "hash": "0", "frame_rate": 10.0},
            **settings,
        )
        return SpeechLM(config).eval()

    return make


@pytest.fixture
def make_rows() -> Callable[..., list[list[Segment]]]:
    """Builds prompts for a model, a row per number of frames; `spoken=False` omits the codes."""

    def make(
        model: SpeechLM, frames: tuple[int, ...] = (7, 4), spoken: bool = True, seed: int = 0
    ) -> list[list[Segment]]:
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for count in frames:
            letters = count // 2 + 1
            characters = torch.randint(0, len(ALPHABET), (letters,), generator=generator).tolist()
            ends = torch.linspace(0.1, count / 10, letters)
            codes = torch.stack(
                [
                    torch.randint(0, stream["size"], (count,), generator=generator)
                    for stream in model.config.streams
                ]
            )
            rows.append(
                tts_prompt(
                    model.config.text,
                    text_ids=characters,
                    characters=characters,
                    speaker=torch.randn(model.config.speaker_dim, generator=generator),
                    codes=codes if spoken else None,
                    advances=frame_advances(ends, count, 10.0),
                )
            )
        return rows

    return make


@pytest.fixture
def collate() -> Callable[..., Batch]:
    """Collates prompts for a model."""

    def run(model: SpeechLM, rows: list[list[Segment]], left: bool = False) -> Batch:
        return Collator(model.layout, model.config.speaker_dim)(rows, left=left)

    return run


@pytest.fixture
def speak() -> Callable[..., list[Generated]]:
    """Decodes prompts (rows of segments) with a seed each; what was said, in their order."""

    def run(
        model: SpeechLM,
        rows: list[list[Segment]],
        sampler: Sampler,
        seeds: list[int],
        batch_size: int = 8,
        max_steps: int | None = None,
    ) -> list[Generated]:
        prompts = [
            Prompt(row, sampler, seed, max_steps) for row, seed in zip(rows, seeds, strict=True)
        ]
        events = generate(model, prompts, batch_size)
        return [
            made for _, made in sorted(collect_utterances(events, model.layout), key=lambda p: p[0])
        ]

    return run
