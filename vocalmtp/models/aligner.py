"""Forced alignment: when each character of a known text is spoken.

An acoustic model predicts a probability for each character of ALPHABET in every 10 ms frame, where
the space stands for a pause. A Viterbi search finds the most likely monotonic path through the
text; a letter may have no frames, as in "night", and a pause belongs to the first mark or space
before it.
Letters: B rows, N samples, F frames, M mel bands, A characters of ALPHABET, S states, U characters
of a text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from vocalmtp.audio.mel import LogMel
from vocalmtp.config import StrictModel, parse
from vocalmtp.errors import InputError
from vocalmtp.hub import PRETRAINED
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.read import FORMAT, check_format, fill, read_object
from vocalmtp.text import ALPHABET, char_ids, shorten, word_spans
from vocalmtp.tokenizers.neural.layers import ConvNeXtStack

PAUSE = ALPHABET.index(" ")
LONGEST_SKIP = 6  # silent characters in a row: "though the" has four and the space


class AlignerConfig(StrictModel):
    """Sizes of the acoustic model."""

    sample_rate: int = 16_000
    window: int = 400  # samples
    hop: int = 160  # samples
    mels: int = Field(default=80, ge=1)
    dim: int = Field(default=160, ge=1)
    layers: int = Field(default=6, ge=1)
    kernel: int = Field(default=9, ge=1)
    expand: int = Field(default=2, ge=1)


@dataclass(frozen=True)
class Alignment:
    """Character times of one text in its audio."""

    ends: np.ndarray  # [U] seconds, the end of every character; never decreasing
    nll: float  # mean over frames of -log p(aligned character); 0 is best
    coverage: float  # share of the letters that have a frame


class AcousticModel(nn.Module):
    """A convolutional encoder of log-mels."""

    def __init__(self, config: AlignerConfig):
        super().__init__()
        self.config = config
        self.input = nn.Linear(config.mels, config.dim)
        self.stack = ConvNeXtStack(
            config.dim, config.layers, config.kernel, config.expand, causal=False
        )

    def hidden(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Encode log-mels [B, F, M] as [B, F, dim]; `mask` [B, F, 1] is 0 beyond a row's end."""
        hidden: Tensor = self.stack(self.input(mel), mask=mask)[0]
        return hidden


class Aligner(AcousticModel):
    """The acoustic model with an output layer over characters, and their statistics."""

    share: Tensor
    silent: Tensor

    def __init__(self, config: AlignerConfig | None = None):
        super().__init__(config or AlignerConfig())
        config = self.config
        self.output = nn.Linear(config.dim, len(ALPHABET))
        self.register_buffer("share", torch.full((len(ALPHABET),), 1 / len(ALPHABET)))  # of frames
        self.register_buffer("silent", torch.full((len(ALPHABET),), 0.1))  # P(no frame)
        self.mels = LogMel(config.sample_rate, config.window, config.hop, config.mels)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Compute logits over ALPHABET [B, F, A] of log-mels [B, F, M]."""
        logits: Tensor = self.output(self.hidden(mel, mask))
        return logits

    @torch.inference_mode()
    def align(self, samples: np.ndarray, text: str) -> Alignment:
        """Align a text with its audio; the last character ends with the audio.

        Args:
            samples: [N] at the config's `sample_rate`.
            text: normalized.

        Raises:
            InputError: the text is not normalized or has no letters, or the audio is too short.

        """
        device = self.share.device
        wav = torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None].to(device)
        mel, mask = self.mels(wav, torch.tensor([len(samples)], device=device))
        log_probs = self(mel, mask)[0].log_softmax(-1).cpu()  # [F, A]
        columns, owners = states(text)
        scores = (log_probs - self.share.cpu().log())[:, columns].double().numpy()  # [F, S]
        silent = self.silent.cpu()[char_ids(text)][owners].double().clamp(1e-4, 1 - 1e-4).numpy()
        silent[0] = 0.5  # audio may begin with or without silence
        if len(scores) * LONGEST_SKIP < len(columns):
            raise InputError(
                f"text '{shorten(text)}': is too long for {len(scores) / 100:.1f} s",
                code="wrong_length",
            )
        path = viterbi(scores, np.log(silent), np.log1p(-silent))  # [F]
        frames = np.bincount(path, minlength=len(columns)).cumsum()  # [S] frames up to each state
        ends = np.zeros(len(text))
        ends[owners] = frames * (self.config.hop / self.config.sample_rate)  # the first state of
        # two that share a character is the silence before it: the later one is written last
        ends = np.maximum.accumulate(ends)
        ends[-1] = len(samples) / self.config.sample_rate
        aligned = log_probs.gather(1, torch.tensor(columns)[torch.from_numpy(path)][:, None])[:, 0]
        letters = np.array(columns) != PAUSE
        coverage = np.isin(np.flatnonzero(letters), path).mean()
        return Alignment(np.minimum(ends, ends[-1]), -aligned.mean().item(), float(coverage))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write `aligner.json` and `model.safetensors` (float16) to `folder`."""
        config = {"format": FORMAT} | self.config.model_dump()
        tensors = {name: t.to(torch.float16).contiguous() for name, t in self.state_dict().items()}
        with atomic_folder(folder) as partial:
            save_file(tensors, partial / "model.safetensors")
            (partial / "aligner.json").write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "Aligner":
        """Read what `save_pretrained` wrote. Raises InputError if it is missing or damaged."""
        folder = Path(folder)
        what = f"aligner '{folder}'"
        config = check_format(read_object(folder / "aligner.json", what), what)
        model = cls(parse(AlignerConfig, config, what))
        fill(model, folder / "model.safetensors", what)
        return model.eval()


@cache
def load_aligner() -> Aligner:
    """Load the bundled aligner."""
    return Aligner.from_pretrained(PRETRAINED / "aligner")


def states(text: str) -> tuple[list[int], list[int]]:
    """List the states of a text.

    The first is a pause. Then every letter is a state, and of successive marks and spaces the first
    is one, a pause; apostrophes take no time.

    Returns:
        For every state, its column [S] in ALPHABET and its position [S] in the text.

    Raises:
        InputError: the text is not normalized or has no letters.

    """
    columns, owners = [PAUSE], [0]
    for place, (character, column) in enumerate(zip(text, char_ids(text), strict=True)):
        if character.isalpha():
            columns.append(column)
            owners.append(place)
        elif is_mark(character) and columns[-1] != PAUSE:
            columns.append(PAUSE)
            owners.append(place)
    if len(columns) == 1:
        raise InputError(f"text '{shorten(text)}': has no letters to align", code="empty")
    return columns, owners


def is_mark(character: str) -> bool:
    """Whether there may be a pause at a character: at spaces and marks, but not apostrophes."""
    return not character.isalpha() and character != "'"


def viterbi(scores: np.ndarray, silent: np.ndarray, sounding: np.ndarray) -> np.ndarray:
    """Find the most likely state of every frame, [F] int64, never decreasing.

    Args:
        scores: [F, S] log-likelihood of every frame in every state.
        silent: [S] log-probability that a state has no frame.
        sounding: [S] log-probability that it has one or more.

    """
    frames, count = scores.shape
    before = np.concatenate([[0.0], silent.cumsum()])  # [S + 1] cost of passing over the first s
    steps = min(LONGEST_SKIP, count)
    cost = np.full((steps + 1, count), -np.inf)  # of coming to a state from k states before it
    cost[0] = 0.0
    for k in range(1, steps + 1):
        cost[k, k:] = before[k:count] - before[1 : count - k + 1] + sounding[k:]
    score = before[:count] + sounding + scores[0]
    score[steps + 1 :] = -np.inf
    came = np.zeros((frames, count), np.int64)  # how many states the best way here has moved
    shifted = np.full((steps + 1, count), -np.inf)
    for frame in range(1, frames):
        shifted[0] = score
        for k in range(1, steps + 1):
            shifted[k, k:] = score[:-k]
        total = shifted + cost  # [K + 1, S]
        came[frame] = total.argmax(0)
        score = total.max(0) + scores[frame]
    tail = before[count] - before[1:]  # passing over all that are left
    tail[: max(0, count - 1 - steps)] = -np.inf
    path = np.empty(frames, np.int64)
    path[-1] = (score + tail).argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = path[frame] - came[frame, path[frame]]
    return path


def word_ends(text: str, ends: Sequence[float]) -> list[tuple[str, float, float]]:
    """List (word, start, end) in seconds of every word, from the ends [U] of the characters."""
    return [
        (text[a:b], float(ends[a - 1]) if a else 0.0, float(ends[b - 1]))
        for a, b in word_spans(text)
    ]
