"""Mimi (2410.00037): a causal codec with a transformer on both sides; one semantic codebook."""

from collections.abc import Callable

from torch import Tensor, nn

from vocalmtp.tokenizers.base import CodecStream
from vocalmtp.tokenizers.huggingface import BLOCK, HuggingFaceCodec
from vocalmtp.tokenizers.streaming import (
    CausalStage,
    CausalStream,
    in_blocks,
    seanet_decoder_reach,
    seanet_encoder_reach,
)


class MimiTokenizer(HuggingFaceCodec):
    """Fully causal: a frame is final as soon as its codes are there."""

    model_name, model_type = "MimiModel", "mimi"
    causal = True

    def facts(self) -> dict[str, int]:
        config = self.model.config
        return {
            "sample_rate": config.sampling_rate,
            "hop": round(config.sampling_rate / config.frame_rate),
            "size": config.codebook_size,
            "streams": config.num_quantizers,
        }

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> "MimiTokenizer":
        """Move or convert: the codebooks that Transformers keeps aside are made anew."""
        super()._apply(function, recurse)
        for part in self.model.modules():
            if hasattr(part, "_embed"):
                part._embed = None
        return self

    def codes_of(self, wav: Tensor) -> Tensor:
        streams = len(self.card.stream_specs())
        return self.model.encode(wav[:, None], num_quantizers=streams).audio_codes

    def long_codes_of(self, wav: Tensor) -> Tensor:
        encoder, config = self.model.encoder, self.model.config
        hop, stride = round(config.sampling_rate / config.frame_rate), config.latent_stride
        rate = hop // stride  # samples of a latent frame
        reach = seanet_encoder_reach(config) + (config.last_kernel_size - 1) * rate
        convolutions = CausalStage(encoder.encoder_seanet, reach, down=rate)
        attention = Attention(encoder.encoder_transformer)
        halving = CausalStage(encoder.downsample, 2 * stride - 1, down=stride)
        latents = in_blocks(
            lambda piece: halving(attention(convolutions(piece))), wav[:, None], BLOCK * hop
        )
        streams = len(self.card.stream_specs())
        return self.model.quantizer.encode(latents, streams).transpose(0, 1)

    def wav_of(self, codes: Tensor) -> Tensor:
        return self.model.decode(codes).audio_values[:, 0]

    def make_stream(self) -> CodecStream:
        decoder, config = self.model.decoder, self.model.config
        stride = config.latent_stride
        doubling = CausalStage(decoder.upsample, 1, up=stride)
        attention = Attention(decoder.decoder_transformer)
        reach = config.kernel_size - 1 + seanet_decoder_reach(config)
        convolutions = CausalStage(decoder.decoder_seanet, reach, up=self.spec.hop // stride)

        def chain(codes: Tensor) -> Tensor:
            latents = doubling(self.model.quantizer.decode(codes))
            return convolutions(attention(latents))[:, 0].float()

        return CausalStream(chain, self.check)


class Attention:
    """One of Mimi's transformers over [B, D, t], going on from call to call."""

    def __init__(self, transformer: nn.Module):
        from transformers import DynamicCache

        self.transformer = transformer
        self.cache = DynamicCache(config=transformer.config)

    def __call__(self, piece: Tensor) -> Tensor:
        made = self.transformer(piece.transpose(1, 2), past_key_values=self.cache, use_cache=True)
        return made.last_hidden_state.transpose(1, 2)
