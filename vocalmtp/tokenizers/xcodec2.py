"""X-Codec 2 (2502.04128): semantic and acoustic features in one stream of FSQ codes."""

import torch
from torch import Tensor

from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.huggingface import HuggingFaceCodec


class Xcodec2Tokenizer(HuggingFaceCodec):
    """W2v-BERT and a transformer hear the whole utterance: neither streaming nor chunks.

    The published preparation appends one sample first, so that audio of just T frames gets one
    frame more; here it has T.
    """

    model_name, model_type = "Xcodec2Model", "xcodec2"

    def __init__(self, model: torch.nn.Module, card: TokenizerCard):
        from transformers import SeamlessM4TFeatureExtractor

        super().__init__(model, card)
        width = model.config.semantic_model_config.feature_projection_input_dim
        # Kaldi's filter banks, two 10 ms frames in one, each band normalised over the utterance.
        self.features = SeamlessM4TFeatureExtractor(
            feature_size=width // 2, num_mel_bins=width // 2
        )

    def facts(self) -> dict[str, int]:
        config, size = self.model.config, 1
        for levels in config.quantization_levels:
            size *= levels
        return {
            "sample_rate": config.sampling_rate,
            "hop": config.hop_length,
            "size": size,
            "streams": 1,
        }

    def codes_of(self, wav: Tensor) -> Tensor:
        hop = self.model.config.hop_length
        sides = torch.nn.functional.pad(wav, (hop // 2, hop // 2)).float().cpu().numpy()
        made = self.features(list(sides), sampling_rate=self.card.sample_rate, return_tensors="pt")
        features = made["input_features"].to(wav.device, wav.dtype)
        return self.model.encode(wav[:, None], input_features=features).audio_codes.long()

    def wav_of(self, codes: Tensor) -> Tensor:
        frames = codes.shape[-1]
        if frames == 1:  # its normalisation over time needs two
            codes = codes.repeat(1, 1, 2)
        wav = self.model.decode(audio_codes=codes).audio_values[:, 0]
        return wav[:, : frames * self.model.config.hop_length]
