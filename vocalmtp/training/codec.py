"""Train the speech tokenizer: reconstruction, discriminators, and what each stream must hold."""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.data.manifest import read_manifest
from vocalmtp.errors import InputError
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.neural import EXCITATION_LEAD, LOOKAHEAD, DecoderState, NeuralTokenizer
from vocalmtp.tokenizers.neural.features import FOLD, Features
from vocalmtp.training.augment import warp_mels
from vocalmtp.training.codec_crops import CropBatch, CropDataset, draw_start
from vocalmtp.training.codec_losses import Discriminators, Probes, SpectralLoss
from vocalmtp.training.loop import TrainingLoop
from vocalmtp.training.recipe import TokenizerRecipe

SKIPPED_FRAMES = 8  # 10 ms frames at the start of a decoded part, whose past the decoder lacks


class TokenizerTrainer(TrainingLoop):
    """Training run of the tokenizer: generator and probes against spectral discriminators.

    The exponential moving average of the generator's weights is what is saved for users.
    """

    def __init__(self, recipe: TokenizerRecipe):
        super().__init__(recipe)
        self.recipe = recipe
        self.model = self._build_model()
        spec = self.model.spec
        rows = read_manifest(recipe.corpus, "train", recipe.voices)
        self.crops = CropDataset(rows, recipe, spec.sample_rate, spec.hop, self.draws)
        self.probes = Probes(self.model.config, len(self.crops.phones))
        self.discriminators = Discriminators(spec.sample_rate)
        self.spectral = SpectralLoss(spec.sample_rate).to(self.device)
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema_decay)
        self.averaged = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=average)
        self.prepare(self.model, self.averaged, self.probes, self.discriminators)
        generator = [*self._trainable_parameters(), *self.probes.parameters()]
        self.gen_optimizer = self._make_optimizer(generator)
        self.disc_optimizer = self._make_optimizer([*self.discriminators.parameters()])
        self.seed_process()

    def _make_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.8, 0.98), fused=True)
        return self.accelerator.prepare_optimizer(optimizer)

    def _trainable_parameters(self) -> list[nn.Parameter]:
        """Parameters of the model that this run trains; gradients of the others are off."""
        trained = self.model.decoder if self.recipe.train_only == "decoder" else self.model
        self.model.requires_grad_(False)
        trained.requires_grad_(True)
        if self.recipe.speaker_encoder_source is not None:
            for part in self.model.encoder.speaker_layers:
                part.requires_grad_(False)
        return [parameter for parameter in trained.parameters() if parameter.requires_grad]

    def _build_model(self) -> NeuralTokenizer:
        recipe = self.recipe
        if recipe.init is None:
            model = NeuralTokenizer(recipe.model)
        else:
            model = NeuralTokenizer.from_pretrained(recipe.init)
            recipe.check_kind(model.config.kind)
        if recipe.speaker_encoder_source is not None:
            copy_speaker_encoder(model, recipe.speaker_encoder_source)
        if recipe.train_only != "decoder":  # a newly trained encoder makes other codes
            set_codes_id(model, secrets.token_hex(4))
        return model

    def state(self) -> dict[str, Any]:
        """Add the id of the codes to the state of the loop."""
        return super().state() | {"codes": self.model.config.codes}

    def restore(self, state: dict[str, Any]) -> None:
        """Set what `state` returned."""
        super().restore(state)
        for model in (self.model, self.averaged_model):
            set_codes_id(model, state["codes"])

    @property
    def averaged_model(self) -> NeuralTokenizer:
        """The model with averaged weights, in which it is saved."""
        return cast(NeuralTokenizer, self.averaged.module)

    def save_model(self, folder: Path) -> None:
        """Write the model with averaged weights to `folder`."""
        self.averaged_model.save_pretrained(folder)

    def update(self) -> dict[str, Tensor]:
        """One step of the generator and, once they have joined, of the discriminators."""
        rate = self.learning_rate(floor=0.05)
        for optimizer in (self.gen_optimizer, self.disc_optimizer):
            optimizer.param_groups[0]["lr"] = rate
        batch = self.crops.batch().to(self.device)
        generated, target, losses = self.reconstruction_losses(batch)
        if self.progress >= self.recipe.discriminator_start:
            loss = self.discriminators.discriminator_loss(generated, target)
            self.descend(self.disc_optimizer, loss)
            adversarial, matching = self.discriminators.generator_loss(generated, target)
            losses |= {"adversarial": adversarial, "feature_matching": matching}
        weights = self.recipe.loss_weights.model_dump()
        total = sum(weights[name] * value for name, value in losses.items())
        self.descend(self.gen_optimizer, total)
        self.averaged.update_parameters(self.model)
        return {name: value.detach() for name, value in losses.items()}

    def reconstruction_losses(self, batch: CropBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Decode a random part of every crop, and compute the losses without discriminators.

        Returns:
            Generated and target audio [B, n], and losses by name.
        """
        model, frames = self.model, self.recipe.decode_frames
        features = model.features(batch.wav, batch.lengths)
        noisy = self._noisy_features(features, batch)
        with self.accelerator.autocast():
            coded = model.encoder(self._encoder_features(noisy))
            speaker = model.encoder.speaker(noisy)
        starts = [self._first_frame(n) for n in batch.lengths.tolist()]
        start = torch.tensor(starts, device=self.device)  # [B] codec frames
        with self.accelerator.autocast():
            generated, log_f0, true_f0 = self._decode(features, coded.values, speaker, start)
        hop, skip = model.spec.hop, SKIPPED_FRAMES * model.decoder.vocoder.hop
        is_beginning = (start == 0) & (batch.starts == 0)  # the decoder lacks no past
        samples = torch.where(is_beginning, 0, skip)[:, None]
        samples = samples + torch.arange(frames * hop - skip, device=self.device)  # [B, n]
        generated = generated.gather(1, samples)
        target = F.pad(batch.wav, (0, frames * hop)).gather(1, start[:, None] * hop + samples)
        voiced = F.pad(features.voiced, (0, frames * FOLD + EXCITATION_LEAD))
        voiced = voiced.gather(1, self._pitch_frames(start))
        losses = {
            "spectral": self.spectral(generated, target),
            "pitch": ((log_f0 - true_f0).abs() * (0.1 + 0.9 * voiced)).mean(),
        }
        losses |= self.probes.losses(coded, features, speaker, batch.phones)
        return generated, target, losses

    def _noisy_features(self, clean: Features, batch: CropBatch) -> Features:
        """Features of the encoder's input: `clean`, but for rows that differ from the target."""
        if batch.noisy is None:
            return clean
        rows = (batch.noisy != batch.wav).any(1)  # [B]
        spoiled = self.model.features(batch.noisy[rows], batch.lengths[rows])
        merged = {name: value.clone() for name, value in vars(clean).items()}
        for name, value in merged.items():
            value[rows] = getattr(spoiled, name)
        return Features(**merged)

    def _encoder_features(self, features: Features) -> Features:
        """Input of the encoder; its spectra are warped if the speaker vector holds the timbre."""
        if self.model.config.kind != "decoupled":
            return features
        return replace(features, mel=warp_mels(features.mel, self.recipe.warp))

    def _first_frame(self, length: int) -> int:
        """A random first codec frame to decode, of a crop of `length` samples."""
        last = max(0, -(-length // self.model.spec.hop) - self.recipe.decode_frames)
        return draw_start(self.draws, last)

    def _pitch_frames(self, start: Tensor) -> Tensor:
        """Indices [B, F] of the 10 ms frames whose F0 excites the decoded part."""
        frames = torch.arange(self.recipe.decode_frames * FOLD, device=start.device)
        return start[:, None] * FOLD + frames + EXCITATION_LEAD

    def _decode(
        self, features: Features, values: Tensor, speaker: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode `decode_frames` codec frames from `start` [B].

        Returns:
            Audio [B, n], and predicted and true log F0 [B, F].

        """
        frames = self.recipe.decode_frames + LOOKAHEAD
        place = start[:, None] + torch.arange(frames, device=start.device)  # [B, T + 1]
        rows = torch.arange(len(start), device=start.device)[:, None]
        values = F.pad(values, (0, 0, 0, frames))[rows, place]  # [B, T + 1, Q * d]
        edge = F.pad(features.log_f0, (0, frames * FOLD + EXCITATION_LEAD), mode="replicate")
        true_f0 = edge.gather(1, self._pitch_frames(start))
        excitation = true_f0 if self.progress < self.recipe.predicted_pitch_start else None
        decoder = self.model.decoder
        state = DecoderState(trim=decoder.vocoder.delay)
        wav, log_f0, state = decoder(values, speaker, state, excitation)
        tail = state.vocoder.tail[:, : decoder.vocoder.delay]
        return torch.cat([wav, tail], dim=-1), log_f0, true_f0


def set_codes_id(model: NeuralTokenizer, codes: str) -> None:
    """Set the id of the codes that `model` makes, see `TokenizerSpec.codes`."""
    model.config = model.config.model_copy(update={"codes": codes})
    model.spec = model.config.spec()


def copy_speaker_encoder(model: NeuralTokenizer, source: str) -> None:
    """Copy the speaker encoder of the tokenizer `source`, a name or folder, to `model`.

    Raises:
        InputError: `source` is not a `NeuralTokenizer`, or its speaker encoder has other sizes.

    """
    what, other = f"speaker_encoder '{source}'", load_tokenizer(source)
    if not isinstance(other, NeuralTokenizer):
        raise InputError(
            f"{what}: is of another type; give a tokenizer that `recipe: tokenizer` trained",
            code="mismatch",
        )
    for name in ("sample_rate", "mels", "speaker_dim"):
        size, wanted = getattr(other.config, name), getattr(model.config, name)
        if size != wanted:
            raise InputError(
                f"{what}: its {name} is {size}, not {wanted}; set model.{name}={size}",
                code="invalid_value",
            )
    for part, known in zip(model.encoder.speaker_layers, other.encoder.speaker_layers, strict=True):
        part.load_state_dict(known.state_dict())


def train_tokenizer(recipe: TokenizerRecipe) -> None:
    """Run `recipe`; the tokenizer is then in `recipe.output`.

    Raises:
        InputError: `output` holds another run, or `init` or `speaker_encoder` does not fit the recipe.

    """
    TokenizerTrainer(recipe).run()
