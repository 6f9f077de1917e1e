"""Train the speech tokenizer: reconstruction, discriminators, and what each stream must hold."""

import json
import math
import random
import secrets
import time
from dataclasses import dataclass, replace

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.features import FOLD, Features
from vocalmtp.tokenizers.neural import EXCITATION_LEAD, LOOKAHEAD, DecoderState, NeuralTokenizer
from vocalmtp.training.augment import warp_mels
from vocalmtp.training.checkpoints import read_state, write_state
from vocalmtp.training.codec_losses import Discriminators, Probes, SpectralLoss
from vocalmtp.training.codec_recipe import TokenizerRecipe
from vocalmtp.training.denormals import flushed_denormals
from vocalmtp.training.distributed import average_gradients, from_first, join_processes

SKIP = 8  # 10 ms frames at a crop's start that are not judged: the decoder lacks their past
EDGE = 0.15  # of the crops are an utterance's start, and as many are its end: both are always heard


@dataclass
class CropBatch:
    wav: Tensor  # [B, N]
    lengths: Tensor  # [B] samples
    phones: Tensor  # [B, T] int64, -100 = none
    starts: Tensor  # [B] samples of the utterance before the crop


class CropDataset:
    """Random crops of the corpus; reads its files as they come."""

    def __init__(self, rows: list[Utterance], seconds: float, rate: int, hop: int, seed: int):
        self.rows, self.rate, self.hop = rows, rate, hop
        self.samples = round(seconds * rate / hop) * hop
        self.phones = sorted({phone for row in rows for phone, _ in row.phones})
        self.random = random.Random(seed)

    def batch(self, size: int) -> CropBatch:
        picked = [self._crop(row) for row in self.random.choices(self.rows, k=size)]
        wavs = np.stack([np.pad(wav, (0, self.samples - len(wav))) for wav, *_ in picked])
        return CropBatch(
            torch.from_numpy(wavs),
            torch.tensor([len(wav) for wav, *_ in picked]),
            torch.stack([phones for _, phones, _ in picked]),
            torch.tensor([start for *_, start in picked]),
        )

    def _crop(self, row: Utterance) -> tuple[np.ndarray, Tensor, int]:
        wav, _ = soundfile.read(row.audio, dtype="float32")
        last = max(0, len(wav) - self.samples)
        start = -(-draw_edges(self.random, last) // self.hop) * self.hop
        wav = wav[start : start + self.samples]
        ends = np.array([end for _, end in row.phones])
        names = [self.phones.index(phone) for phone, _ in row.phones]
        frames = self.samples // self.hop
        labels = torch.full((frames,), -100)
        middles = (start + (np.arange(len(wav) // self.hop) + 0.5) * self.hop) / self.rate
        if len(ends):
            place = np.searchsorted(ends, middles).clip(max=len(ends) - 1)
            labels[: len(middles)] = torch.tensor([names[i] for i in place], dtype=torch.int64)
        return wav, labels, start


def draw_edges(draws: random.Random, last: int) -> int:
    """A random number up to `last`; both ends come more often than others."""
    kind = draws.random()
    return 0 if kind < EDGE else last if kind < 2 * EDGE else draws.randint(0, last)


class TokenizerTrainer:
    """Owns the run: model, probes, discriminators, optimisers, the averaged copy."""

    def __init__(self, recipe: TokenizerRecipe):
        self.recipe = recipe
        self.rank, _ = join_processes()
        self.voice = recipe.voice_source
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.model = self._model()
        spec = self.model.spec
        rows = read_manifest(recipe.corpus, "train", recipe.voices)
        self.crops = CropDataset(
            rows, recipe.listen_seconds, spec.sample_rate, spec.hop, recipe.seed
        )
        self.probes = Probes(self.model.config, len(self.crops.phones))
        self.discriminators = Discriminators()
        self.spectral = SpectralLoss(spec.sample_rate)
        self.averaged = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average)
        )
        trained = self.model.decoder if recipe.train_only == "decoder" else self.model
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in trained.parameters():
            parameter.requires_grad_(True)
        if self.voice is not None:
            for part in self.model.encoder.voice_parts:
                part.requires_grad_(False)
        own = [parameter for parameter in trained.parameters() if parameter.requires_grad]
        self.makers = [*own, *self.probes.parameters()]
        self.optimizer = torch.optim.AdamW(self.makers, lr=1e-3, betas=(0.8, 0.98))
        self.judge = torch.optim.AdamW(self.discriminators.parameters(), lr=1e-3, betas=(0.8, 0.98))
        self.step, self.seconds = 0, 0.0
        self._seed()

    def _model(self) -> NeuralTokenizer:
        """The model to train; a newly trained encoder gets a new id for its codes."""
        recipe = self.recipe
        if recipe.init is None:
            model = NeuralTokenizer(recipe.config)
        else:
            model = NeuralTokenizer.from_pretrained(recipe.init)
            recipe.check_kind(model.config.kind)
        if self.voice is not None:
            take_voice(model, self.voice)
        codes = model.config.codes
        if (recipe.output / "resume.pt").is_file():
            codes = NeuralTokenizer.from_pretrained(recipe.output).config.codes
        elif recipe.train_only != "decoder":
            codes = secrets.token_hex(4)
        model.config = model.config.model_copy(update={"codes": codes})
        model.spec = model.config.spec()
        return model

    @property
    def progress(self) -> float:
        """Share of the run that is done, by updates or by time, whichever is further."""
        limit = self.recipe.max_minutes
        by_time = self.seconds / 60 / limit if limit else 0.0
        return max(self.step / self.recipe.steps, by_time)

    def _seed(self) -> None:
        """Set the draws from here on, which differ in every process (the weights do not)."""
        own = self.recipe.seed + self.step + 1_000_003 * self.rank
        self.crops.random.seed(own)
        torch.manual_seed(own)

    @flushed_denormals()
    def run(self) -> None:
        """Train to the end; resumes from the output folder if a run was cut off there."""
        self._resume()
        self.recipe.output.mkdir(parents=True, exist_ok=True)
        log = (self.recipe.output / "log.jsonl").open("a")
        saved, sums, started = self.seconds, {}, time.monotonic() - self.seconds
        while self.progress < 1:
            losses = self.update(self.crops.batch(self.recipe.batch_size))
            self.step += 1
            self.seconds = from_first(time.monotonic() - started)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            if self.step % 50 == 0 and self.rank == 0:
                line = {"step": self.step, "seconds": round(self.seconds)}
                line |= {name: round(value / 50, 4) for name, value in sums.items()}
                print(json.dumps(line), file=log, flush=True)
            if self.step % 50 == 0:
                sums = {}
            if self.seconds - saved > 60 * self.recipe.save_minutes:
                self._save()
                saved = self.seconds
        self._save()

    def update(self, batch: CropBatch) -> dict[str, float]:
        """One step of the model and, once they have joined, of the discriminators."""
        recipe, progress = self.recipe, self.progress
        rate = recipe.learning_rate * min(1, (self.step + 1) / recipe.warmup_steps)
        rate *= 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        for optimizer in (self.optimizer, self.judge):
            optimizer.param_groups[0]["lr"] = rate
        made, true, losses = self.losses(batch)
        if progress >= recipe.discriminators_from:
            judged = self.discriminators.judge(made, true)
            _descend(self.judge, judged, list(self.discriminators.parameters()))
            losses["adversarial"], losses["matching"] = self.discriminators.fool(made, true)
        weights = recipe.weights.model_dump()
        total = sum(weights[name] * value for name, value in losses.items())
        _descend(self.optimizer, total, self.makers)
        self.averaged.update_parameters(self.model)
        return {name: value.item() for name, value in losses.items()}

    def losses(self, batch: CropBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Made and true audio [B, n] of the decoded crop, and the losses that need no judge."""
        model, frames = self.model, self.recipe.decode_frames
        features = model.features(batch.wav, batch.lengths)
        with self._autocast():
            coded = model.encoder(self._heard(features))
            speaker = model.encoder.speaker(features)
        start = torch.tensor([self._start(n) for n in batch.lengths.tolist()])  # [B] codec frames
        with self._autocast():
            made, log_f0, aim = self._decode(features, coded.values, speaker, start)
        hop, skip = model.spec.hop, SKIP * model.decoder.vocoder.hop
        begins = (start == 0) & (batch.starts == 0)  # nothing is missing before these
        heard = torch.where(begins, 0, skip)[:, None] + torch.arange(frames * hop - skip)
        made = made.gather(1, heard)
        true = F.pad(batch.wav, (0, frames * hop)).gather(1, start[:, None] * hop + heard)
        voiced = F.pad(features.voiced, (0, frames * FOLD + EXCITATION_LEAD)).gather(
            1, self._lead(start)
        )
        losses = {
            "spectral": self.spectral(made, true),
            "pitch": ((log_f0 - aim).abs() * (0.1 + 0.9 * voiced)).mean(),
        }
        losses |= self.probes.losses(coded, features, speaker, batch.phones)
        return made, true, losses

    def _heard(self, features: Features) -> Features:
        """What the codes are made of: where the vector holds the voice, with spectra stretched."""
        if self.model.config.kind != "decoupled":
            return features
        return replace(features, mel=warp_mels(features.mel, self.recipe.warp))

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.recipe.bf16)

    def _start(self, length: int) -> int:
        """A random first codec frame to decode."""
        last = max(0, -(-length // self.model.spec.hop) - self.recipe.decode_frames)
        return draw_edges(self.crops.random, last)

    def _lead(self, start: Tensor) -> Tensor:
        """Indices [B, F] of the 10 ms frames whose F0 the decoded crop's excitation needs."""
        count = self.recipe.decode_frames * FOLD
        return start[:, None] * FOLD + torch.arange(count) + EXCITATION_LEAD

    def _decode(
        self, features: Features, values: Tensor, speaker: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode `decode_frames` from `start` [B]: audio, predicted and true log F0 [B, F]."""
        frames = self.recipe.decode_frames + LOOKAHEAD
        place = start[:, None] + torch.arange(frames)  # [B, T + 1]
        rows = torch.arange(len(start))[:, None]
        values = F.pad(values, (0, 0, 0, frames))[rows, place]  # [B, T + 1, Q * d]
        edge = F.pad(features.log_f0, (0, frames * FOLD + EXCITATION_LEAD), mode="replicate")
        aim = edge.gather(1, self._lead(start))
        excitation = aim if self.progress < self.recipe.own_pitch_from else None
        decoder = self.model.decoder
        state = DecoderState(trim=decoder.vocoder.delay)
        wav, log_f0, state = decoder(values, speaker, state, excitation)
        tail = state.vocoder.tail[:, : decoder.vocoder.delay]
        return torch.cat([wav, tail], dim=-1), log_f0, aim

    def _save(self) -> None:
        """The averaged model for users, and everything else for resuming."""
        if self.rank:
            return
        self.averaged.module.save_pretrained(self.recipe.output)
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "probes": self.probes.state_dict(),
            "discriminators": self.discriminators.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge": self.judge.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        write_state(self.recipe.output / "resume.pt", state)

    def _resume(self) -> None:
        path = self.recipe.output / "resume.pt"
        if not path.is_file():
            return
        state = read_state(path)
        try:
            for name in ("model", "averaged", "probes", "discriminators", "optimizer", "judge"):
                getattr(self, name).load_state_dict(state[name])
            self.step, self.seconds = state["step"], state["seconds"]
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"output '{self.recipe.output}': holds a run of another recipe; "
                "choose a new folder",
                code="other_run",
            ) from error
        self._seed()


def take_voice(model: NeuralTokenizer, source: str) -> None:
    """Copy what makes the speaker vector from the tokenizer `source`, whose vectors it then has.

    Raises InputError if that is no tokenizer of ours, or of other sizes.
    """
    what, other = f"timbre '{source}'", load_tokenizer(source)
    if not isinstance(other, NeuralTokenizer):
        raise InputError(
            f"{what}: is of another type; give a tokenizer that this recipe trained",
            code="mismatch",
        )
    for name in ("sample_rate", "mels", "speaker_dim"):
        mine, theirs = getattr(model.config, name), getattr(other.config, name)
        if mine != theirs:
            raise InputError(
                f"{what}: its {name} is {theirs}, not {mine}; set model.{name}={theirs}",
                code="invalid_value",
            )
    for mine, theirs in zip(model.encoder.voice_parts, other.encoder.voice_parts, strict=True):
        mine.load_state_dict(theirs.state_dict())


def _descend(
    optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def train_tokenizer(recipe: TokenizerRecipe) -> None:
    """Run `recipe`; the tokenizer is then in `recipe.output`."""
    TokenizerTrainer(recipe).run()
