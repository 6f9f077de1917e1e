"""The voice as one vector: projected into the model, and left out now and then in training."""

import torch
from torch import Tensor, nn


class SpeakerProjection(nn.Module):
    """Speaker vectors [B, D_s] to [B, D]; rows without one get a learned "no speaker" vector."""

    def __init__(self, speaker_dim: int, width: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.projection = nn.Sequential(
            nn.Linear(speaker_dim, width), nn.GELU(), nn.Linear(width, width)
        )
        # not zeros: a zero vector at the first position would blow up the gradient of every norm
        self.no_speaker = nn.Parameter(torch.randn(width) * 0.5)
        self.scale = speaker_dim**0.5  # unit-length vectors to unit variance

    def forward(self, speaker: Tensor, has_speaker: Tensor) -> Tensor:
        """`has_speaker` [B] bool; in training some rows that have one lose it (config dropout)."""
        if self.training and self.dropout > 0:
            kept = torch.rand(has_speaker.shape, device=has_speaker.device) >= self.dropout
            has_speaker = has_speaker & kept
        return torch.where(
            has_speaker[:, None], self.projection(speaker * self.scale), self.no_speaker
        )
