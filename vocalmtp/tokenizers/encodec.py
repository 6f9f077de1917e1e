"""EnCodec (2210.13438): causal convolutions around an LSTM, and residual quantisation."""

import torch
from torch import Tensor

from vocalmtp.tokenizers.base import CodecStream
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.huggingface import BLOCK, HuggingFaceCodec
from vocalmtp.tokenizers.streaming import (
    CausalStage,
    CausalStream,
    in_blocks,
    seanet_decoder_reach,
    seanet_encoder_reach,
)


class EncodecTokenizer(HuggingFaceCodec):
    """The mono models. That of 24 kHz is causal; that of 32 kHz is not, and works on the whole."""

    model_name, model_type = "EncodecModel", "encodec"

    def __init__(self, model: torch.nn.Module, card: TokenizerCard):
        super().__init__(model, card)
        self.causal = model.config.use_causal_conv

    def facts(self) -> dict[str, int]:
        config = self.model.config
        return {
            "sample_rate": config.sampling_rate,
            "hop": config.hop_length,
            "size": config.codebook_size,
            "streams": config.num_quantizers,
        }

    def codes_of(self, wav: Tensor) -> Tensor:
        return self.quantize(self.model.encoder(wav[:, None]))

    def quantize(self, latents: Tensor) -> Tensor:
        """[B, D, T] -> [B, Q, T]. The first codes do not depend on how many follow."""
        quantizer, residual, codes = self.model.quantizer, latents, []
        for layer in quantizer.layers[: len(self.card.stream_specs())]:
            codes.append(layer.encode(residual))  # [B, T]
            residual = residual - layer.decode(codes[-1])
        return torch.stack(codes, dim=1)

    def long_codes_of(self, wav: Tensor) -> Tensor:
        if not self.causal:
            return self.codes_of(wav)
        layers, config = self.model.encoder.layers, self.model.config
        place = _lstm_place(layers)
        hop, reach = config.hop_length, seanet_encoder_reach(config)
        before = CausalStage(torch.nn.Sequential(*layers[:place]), reach, down=hop)
        memory = Memory(layers[place].lstm)
        after = CausalStage(torch.nn.Sequential(*layers[place + 1 :]), config.last_kernel_size - 1)
        latents = in_blocks(lambda piece: after(memory(before(piece))), wav[:, None], BLOCK * hop)
        return self.quantize(latents)

    def wav_of(self, codes: Tensor) -> Tensor:
        return self.model.decoder(self.values(codes))[:, 0]

    def values(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, T] -> [B, D, T]."""
        return self.model.quantizer.decode(codes.transpose(0, 1))

    def make_stream(self) -> CodecStream:
        layers, config = self.model.decoder.layers, self.model.config
        place, mirrored = _lstm_place(layers), config.kernel_size - 1
        first = CausalStage(torch.nn.Sequential(*layers[:place]), mirrored)
        memory = Memory(layers[place].lstm)
        rest = CausalStage(
            torch.nn.Sequential(*layers[place + 1 :]),
            seanet_decoder_reach(config),
            up=config.hop_length,
        )

        def chain(codes: Tensor) -> Tensor:
            return rest(memory(first(self.values(codes))))[:, 0].float()

        return CausalStream(chain, self.check, least=mirrored + 1)


class Memory:
    """EnCodec's LSTM over [B, C, t] with a residual, going on from call to call."""

    def __init__(self, lstm: torch.nn.LSTM):
        self.lstm, self.state = lstm, None

    def __call__(self, piece: Tensor) -> Tensor:
        x = piece.permute(2, 0, 1)  # [t, B, C]
        y, self.state = self.lstm(x, self.state)
        return (y + x).permute(1, 2, 0)


def _lstm_place(layers: torch.nn.ModuleList) -> int:
    return next(place for place, layer in enumerate(layers) if hasattr(layer, "lstm"))
