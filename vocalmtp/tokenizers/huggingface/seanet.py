"""EnCodec and Mimi: codecs of causal SEANet convolutions, with an LSTM or transformers."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from vocalmtp.tokenizers.base import TOKENIZERS, CodecStream
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.huggingface.base import HuggingFaceCodec, ModelFacts, usual_defaults
from vocalmtp.tokenizers.streaming import (
    CausalStage,
    CausalStream,
    Function,
    in_blocks,
    seanet_decoder_reach,
    seanet_encoder_reach,
)


@TOKENIZERS.register("encodec")
class EncodecTokenizer(HuggingFaceCodec):
    """EnCodec (2210.13438), mono: convolutions around an LSTM, and residual quantisation.

    The model of 24 kHz is causal; that of 32 kHz is not, and works on whole utterances.
    """

    model_name = "EncodecModel"

    def __init__(self, model: nn.Module, card: TokenizerCard):
        super().__init__(model, card)
        self.causal = self.model.config.use_causal_conv

    def facts(self) -> ModelFacts:
        """See `HuggingFaceCodec.facts`."""
        config = self.model.config
        return ModelFacts(
            config.sampling_rate, config.hop_length, config.codebook_size, config.num_quantizers
        )

    def encode_frames(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_frames`."""
        return self._quantise(self.model.encoder(wav[:, None]))

    def encode_long(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_long`."""
        if not self.causal:
            return self.encode_frames(wav)
        layers, config = self.model.encoder.layers, self.model.config
        lstm, hop = _lstm_index(layers), config.hop_length
        before = CausalStage(nn.Sequential(*layers[:lstm]), seanet_encoder_reach(config), down=hop)
        recurrent = RecurrentStage(layers[lstm].lstm)
        after = CausalStage(nn.Sequential(*layers[lstm + 1 :]), config.last_kernel_size - 1)
        latents = in_blocks(
            lambda piece: after(recurrent(before(piece))), wav[:, None], self.block * hop
        )
        return self._quantise(latents)

    def _quantise(self, latents: Tensor) -> Tensor:
        """Quantise [B, D, T] to [B, Q, T]; the first codes do not depend on how many follow."""
        residual, codes = latents, []
        for layer in self.model.quantizer.layers[: len(self.spec.streams)]:
            codes.append(layer.encode(residual))  # [B, T]
            residual = residual - layer.decode(codes[-1])
        return torch.stack(codes, dim=1)

    def decode_frames(self, codes: Tensor) -> Tensor:
        """See `HuggingFaceCodec.decode_frames`."""
        return self.model.decoder(self._latents(codes))[:, 0]

    def _latents(self, codes: Tensor) -> Tensor:
        """Look up `codes` [B, Q, T]: [B, D, T]."""
        return self.model.quantizer.decode(codes.transpose(0, 1))

    def make_stream(self) -> CodecStream:
        """See `HuggingFaceCodec.make_stream`.

        The first convolution pads its start by reflection, for which it needs that many frames.
        """
        layers, config = self.model.decoder.layers, self.model.config
        lstm, reflected = _lstm_index(layers), config.kernel_size - 1
        before = CausalStage(nn.Sequential(*layers[:lstm]), reflected)
        recurrent = RecurrentStage(layers[lstm].lstm)
        after = CausalStage(
            nn.Sequential(*layers[lstm + 1 :]), seanet_decoder_reach(config), up=config.hop_length
        )

        def chain(codes: Tensor) -> Tensor:
            latents = self._latents(codes.to(self.device))
            return after(recurrent(before(latents)))[:, 0].float()

        return CausalStream(chain, self.check, least=reflected + 1)


class RecurrentStage:
    """EnCodec's residual LSTM over [B, C, t], whose state continues from call to call."""

    def __init__(self, lstm: nn.LSTM):
        self.lstm = lstm
        self.state: tuple[Tensor, Tensor] | None = None

    def __call__(self, piece: Tensor) -> Tensor:
        """Return the outputs of `piece`."""
        x = piece.permute(2, 0, 1)  # [t, B, C]
        y, self.state = self.lstm(x, self.state)
        return (y + x).permute(1, 2, 0)


def _lstm_index(layers: nn.ModuleList) -> int:
    return next(index for index, layer in enumerate(layers) if hasattr(layer, "lstm"))


@TOKENIZERS.register("mimi")
class MimiTokenizer(HuggingFaceCodec):
    """Mimi (2410.00037): fully causal, with a transformer on both sides; one semantic codebook."""

    model_name = "MimiModel"
    causal = True

    def facts(self) -> ModelFacts:
        """See `HuggingFaceCodec.facts`."""
        config = self.model.config
        hop = round(config.sampling_rate / config.frame_rate)
        return ModelFacts(config.sampling_rate, hop, config.codebook_size, config.num_quantizers)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert, and drop the codebooks that Transformers caches outside of buffers."""
        super()._apply(fn, recurse)
        drop_cached_codebooks(self.model)
        return self

    def encode_frames(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_frames`."""
        streams = len(self.spec.streams)
        return self.model.encode(wav[:, None], num_quantizers=streams).audio_codes

    def encode_long(self, wav: Tensor) -> Tensor:
        """See `HuggingFaceCodec.encode_long`."""
        encoder = self.model.encoder
        parts = (encoder.encoder_seanet, encoder.encoder_transformer, encoder.downsample)
        encode = mimi_encoder(*parts, self.model.config)
        latents = in_blocks(encode, wav[:, None], self.block * self.spec.hop)
        return self.model.quantizer.encode(latents, len(self.spec.streams)).transpose(0, 1)

    def decode_frames(self, codes: Tensor) -> Tensor:
        """See `HuggingFaceCodec.decode_frames`."""
        return self.model.decode(codes).audio_values[:, 0]

    def make_stream(self) -> CodecStream:
        """See `HuggingFaceCodec.make_stream`."""
        decoder, config = self.model.decoder, self.model.config
        stride = config.latent_stride
        upsample = CausalStage(decoder.upsample, 1, up=stride)
        attention = AttentionStage(decoder.decoder_transformer)
        reach = config.kernel_size - 1 + seanet_decoder_reach(config)
        convolutions = CausalStage(decoder.decoder_seanet, reach, up=self.spec.hop // stride)

        def chain(codes: Tensor) -> Tensor:
            latents = upsample(self.model.quantizer.decode(codes.to(self.device)))
            return convolutions(attention(latents))[:, 0].float()

        return CausalStream(chain, self.check)


def mimi_encoder(
    seanet: nn.Module, transformer: Any, downsample: nn.Module, config: Any
) -> Function:
    """Return a function of samples [B, 1, N], whose calls continue each other, to [B, D, T].

    Args:
        seanet: Mimi's convolutions.
        transformer: what follows them.
        downsample: the last convolution.
        config: Mimi's configuration.

    """
    stride = config.latent_stride  # the convolutions' frames per codec frame
    rate = math.prod(config.upsampling_ratios)  # samples per frame of the convolutions
    reach = seanet_encoder_reach(config) + (config.last_kernel_size - 1) * rate
    convolutions = CausalStage(seanet, reach, down=rate)
    attention = AttentionStage(transformer)
    last = CausalStage(downsample, 2 * stride - 1, down=stride)
    return lambda piece: last(attention(convolutions(piece)))


def drop_cached_codebooks(model: nn.Module) -> None:
    """Drop the codebooks that Transformers' Mimi caches outside of buffers."""
    part: Any
    for part in model.modules():
        if hasattr(part, "_embed"):
            part._embed = None


class AttentionStage:
    """One of Mimi's transformers over [B, D, t], whose cache continues from call to call."""

    def __init__(self, transformer: Any):
        from transformers import DynamicCache

        self.transformer = transformer
        parameters = inspect.signature(transformer.forward).parameters
        argument = "cache" if "cache" in parameters else "past_key_values"  # before 5.20
        with usual_defaults():
            self.arguments = {argument: DynamicCache(config=transformer.config), "use_cache": True}

    def __call__(self, piece: Tensor) -> Tensor:
        """Return the outputs of `piece`."""
        with usual_defaults():
            output = self.transformer(piece.transpose(1, 2), **self.arguments)
        return output.last_hidden_state.transpose(1, 2)
