"""Chunk-aware flow matching of CosyVoice 2 (2412.10117, section 2.3): codes to mel spectrograms.

An encoder of conformer blocks doubles the rate of the codes; then an ordinary differential
equation, whose derivative a causal network estimates, turns noise into the spectrogram. Keys and
shapes are those of the published flow.pt. Shapes: B batch, T codes, M = 2 T mel frames, D width.
"""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel

MELS, RATIO = 80, 2  # bands; mel frames per code
AHEAD = 3  # codes after a chunk that the encoder sees
STEPS, GUIDANCE = 10, 0.7  # of Euler's method; of classifier-free guidance (2207.12598)
NOISE_FRAMES = 15_000  # of the published noise, which repeats after 300 s

Width = Annotated[int, Field(ge=1, le=8192)]
Even = Annotated[int, Field(ge=2, le=8192, multiple_of=2)]
Count = Annotated[int, Field(ge=1, le=64)]


class FlowConfig(StrictModel):
    """Sizes of the flow; the defaults are those of the published weights."""

    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 6561
    width: Even = 512  # of the encoder
    heads: Count = 8
    hidden: Width = 2048
    layers: Count = 6  # at the rate of the codes
    up_layers: Count = 4  # at that of the mel frames
    channels: Width = 256  # of the estimator
    channel_heads: Count = 8
    head_dim: Width = 64
    blocks: Count = 12  # between the first and the last
    block_layers: Count = 4


def chunk_mask(size: int, chunk: int, device: torch.device) -> Tensor | None:
    """Return which positions see which: up to the end of their chunk. None: all, without chunks."""
    if not chunk:
        return None
    place = torch.arange(size, device=device)
    return place < ((place // chunk + 1) * chunk)[:, None]  # [size, size]


class RelativeAttention(nn.Module):
    """Attention with biases for relative positions (1901.02860, section 3.3)."""

    def __init__(self, config: FlowConfig):
        super().__init__()
        width, self.heads = config.width, config.heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u, self.pos_bias_v = (
            nn.Parameter(torch.zeros(config.heads, width // config.heads)) for _ in range(2)
        )

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Map [B, T, D] and `positions` [2T - 1, D] to [B, T, D]."""
        size = x.shape[1]
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
            for part in (self.linear_q, self.linear_k, self.linear_v)
        )
        p = self.linear_pos(positions).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        by_distance = (q + self.pos_bias_v[:, None]) @ p.transpose(-2, -1)  # [B, H, T, 2T - 1]
        place = torch.arange(size, device=x.device)
        distance = (place - place[:, None] + size - 1).expand_as(by_distance[..., :size])
        bias = by_distance.gather(-1, distance) / math.sqrt(q.shape[-1])  # [B, H, T, T]
        if mask is not None:
            bias = bias.masked_fill(~mask, -math.inf)
        x = F.scaled_dot_product_attention(q + self.pos_bias_u[:, None], k, v, bias)
        return self.linear_out(x.transpose(1, 2).flatten(2))


class ConformerBlock(nn.Module):
    """Attention and a feed-forward network, each of its normalised input."""

    def __init__(self, config: FlowConfig):
        super().__init__()
        self.self_attn = RelativeAttention(config)
        self.norm_mha, self.norm_ff = (nn.LayerNorm(config.width, eps=1e-12) for _ in range(2))
        sizes = (config.width, config.hidden)
        self.feed_forward = nn.ModuleDict(
            {"w_1": nn.Linear(*sizes), "w_2": nn.Linear(*sizes[::-1])}
        )

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        x = x + self.self_attn(self.norm_mha(x), positions, mask)
        hidden = F.silu(self.feed_forward["w_1"](self.norm_ff(x)))
        return x + self.feed_forward["w_2"](hidden)


class Embedding(nn.Module):
    """A normalised linear map, scaled as positional encodings expect."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self.out(x) * math.sqrt(x.shape[-1])


def relative_positions(size: int, like: Tensor) -> Tensor:
    """Return sines and cosines of the distances size - 1 to 1 - size: [2 size - 1, D]."""
    width = like.shape[-1]
    distance = torch.arange(size - 1, -size, -1, dtype=torch.float32, device=like.device)
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device=like.device) / width
    angles = distance[:, None] * torch.exp(-math.log(10_000) * exponents)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(like.dtype)


class Encoder(nn.Module):
    """Embedded codes [B, T, D] to [B, 2T, D]."""

    def __init__(self, config: FlowConfig):
        super().__init__()
        width = config.width
        self.embed, self.up_embed = Embedding(width), Embedding(width)
        convs = {"conv1": nn.Conv1d(width, width, AHEAD + 1), "conv2": nn.Conv1d(width, width, 3)}
        self.pre_lookahead_layer = nn.ModuleDict(convs)
        self.encoders = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))
        self.up_layer = nn.ModuleDict({"conv": nn.Conv1d(width, width, 2 * RATIO + 1)})
        self.up_encoders = nn.ModuleList(ConformerBlock(config) for _ in range(config.up_layers))
        self.after_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, chunk: int, ahead: int) -> Tensor:
        """Map [B, T + ahead, D] to [B, 2T, D]; the last positions are only looked at."""
        x = self.embed(x).transpose(1, 2)  # [B, D, T + ahead]
        y = F.leaky_relu(self.pre_lookahead_layer["conv1"](F.pad(x, (0, AHEAD - ahead))))
        y = self.pre_lookahead_layer["conv2"](F.pad(y, (2, 0)))
        x = (x[..., : y.shape[-1]] + y).transpose(1, 2)  # [B, T, D]
        x = self._blocks(self.encoders, x, chunk)
        x = F.pad(x.transpose(1, 2).repeat_interleave(RATIO, dim=-1), (2 * RATIO, 0))
        x = self.up_embed(self.up_layer["conv"](x).transpose(1, 2))  # [B, 2T, D]
        return self.after_norm(self._blocks(self.up_encoders, x, chunk * RATIO))

    @staticmethod
    def _blocks(blocks: nn.ModuleList, x: Tensor, chunk: int) -> Tensor:
        """Apply conformer blocks to [B, T, D]."""
        positions = relative_positions(x.shape[1], x)
        mask = chunk_mask(x.shape[1], chunk, x.device)
        for block in blocks:
            x = block(x, positions, mask)
        return x


class CausalConv(nn.Conv1d):
    """Convolution of kernel 3 that sees the past: [B, C, M] to [B, C', M]."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, M] to [B, C', M]."""
        return super().forward(F.pad(x, (2, 0)))


class Transposed(nn.LayerNorm):
    """Layer norm over the channels of [B, C, M]."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, M] to [B, C, M]."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def causal_block(inputs: int, outputs: int) -> nn.Module:
    """Return a convolution, a norm and an activation under their published names."""
    norm, gap = Transposed(outputs), nn.Identity()
    layers = nn.Sequential(CausalConv(inputs, outputs), gap, norm, gap, nn.Mish())
    return nn.ModuleDict({"block": layers})


class ResidualBlock(nn.Module):
    """Two causal blocks with the time of the equation between them, added to a pointwise map."""

    def __init__(self, inputs: int, outputs: int, time: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time, outputs))
        self.block1: Any = causal_block(inputs, outputs)
        self.block2: Any = causal_block(outputs, outputs)
        self.res_conv = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map [B, C, M] and `time` [B, C''] to [B, C', M]."""
        y = self.block1["block"](x) + self.mlp(time)[..., None]
        return self.block2["block"](y) + self.res_conv(x)


class TransformerBlock(nn.Module):
    """Attention and a feed-forward network, each of its normalised input."""

    def __init__(self, config: FlowConfig):
        super().__init__()
        width, self.heads = config.channels, config.channel_heads
        inner = self.heads * config.head_dim
        self.norm1, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)
        parts = {f"to_{part}": nn.Linear(width, inner, bias=False) for part in "qkv"}
        out = nn.ModuleList([nn.Linear(inner, width)])
        self.attn1: Any = nn.ModuleDict({**parts, "to_out": out})
        wide = nn.ModuleDict({"proj": nn.Linear(width, 4 * width)})
        net = nn.ModuleList([wide, nn.Identity(), nn.Linear(4 * width, width)])
        self.ff: Any = nn.ModuleDict({"net": net})

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map [B, M, C] to [B, M, C]."""
        y = self.norm1(x)
        q, k, v = (
            self.attn1[f"to_{part}"](y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in "qkv"
        )
        y = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        x = x + self.attn1["to_out"][0](y)
        wide, _, narrow = self.ff["net"]
        return x + narrow(F.gelu(wide["proj"](self.norm3(x))))


class Estimator(nn.Module):
    """The derivative of the spectrogram, from a noisy one, conditions and the time."""

    def __init__(self, config: FlowConfig):
        super().__init__()
        channels, self.inputs = config.channels, 4 * MELS
        time = 4 * channels
        linears = {"linear_1": nn.Linear(self.inputs, time), "linear_2": nn.Linear(time, time)}
        self.time_mlp = nn.ModuleDict(linears)

        def stage(inputs: int, *last: nn.Module) -> nn.ModuleList:
            layers = nn.ModuleList(TransformerBlock(config) for _ in range(config.block_layers))
            return nn.ModuleList([ResidualBlock(inputs, channels, time), layers, *last])

        down, up = (CausalConv(channels, channels) for _ in range(2))
        self.down_blocks: Any = nn.ModuleList([stage(self.inputs, down)])
        self.mid_blocks = nn.ModuleList(stage(channels) for _ in range(config.blocks))
        self.up_blocks: Any = nn.ModuleList([stage(2 * channels, up)])
        self.final_block: Any = causal_block(channels, channels)
        self.final_proj = nn.Conv1d(channels, MELS, 1)

    def forward(self, x: Tensor, time: float, chunk: int) -> Tensor:
        """Map [B, 320, M] (spectrogram, encoder, voice, prompt) at `time` to [B, 80, M]."""
        half = self.inputs // 2
        rates = torch.arange(half, dtype=torch.float32, device=x.device) / (half - 1)
        angles = 1000 * time * torch.exp(-math.log(10_000) * rates)
        hidden = torch.cat([angles.sin(), angles.cos()])[None].to(x.dtype)  # [1, 320]
        hidden = self.time_mlp["linear_2"](F.silu(self.time_mlp["linear_1"](hidden)))
        mask = chunk_mask(x.shape[-1], chunk, x.device)
        skip = _stage(self.down_blocks[0], x, hidden, mask)
        x = self.down_blocks[0][2](skip)
        for stage in self.mid_blocks:
            x = _stage(stage, x, hidden, mask)
        x = _stage(self.up_blocks[0], torch.cat([x, skip], dim=1), hidden, mask)
        return self.final_proj(self.final_block["block"](self.up_blocks[0][2](x)))


def _stage(stage: Any, x: Tensor, time: Tensor, mask: Tensor | None) -> Tensor:
    """Apply the residual block and the transformer of a stage: [B, C, M] to [B, C', M]."""
    x = stage[0](x, time).transpose(1, 2)
    for layer in stage[1]:
        x = layer(x, mask)
    return x.transpose(1, 2)


class FlowMatching(nn.Module):
    """Codes and a speaker vector to mel spectrograms.

    Args:
        config: sizes.
        speaker_dim: size of the speaker vector.

    """

    def __init__(self, config: FlowConfig, speaker_dim: int):
        super().__init__()
        self.input_embedding = nn.Embedding(config.codebook_size, config.width)
        self.spk_embed_affine_layer = nn.Linear(speaker_dim, MELS)
        self.encoder = Encoder(config)
        self.encoder_proj = nn.Linear(config.width, MELS)
        self.decoder = nn.ModuleDict({"estimator": Estimator(config)})

    def forward(self, codes: Tensor, speaker: Tensor, chunk: int = 0, ahead: int = 0) -> Tensor:
        """Decode codes.

        Args:
            codes: [B, T + ahead] integers.
            speaker: [B, D_s].
            chunk: codes per chunk, beyond which nothing is seen but `AHEAD` codes; 0: one chunk.
            ahead: how many of the last codes are only looked at: `AHEAD`, or 0 at the end.

        Returns:
            mel: [B, 80, 2T].

        """
        x = self.input_embedding(codes)
        voice = self.spk_embed_affine_layer(F.normalize(speaker, dim=1))  # [B, 80]
        mu = self.encoder_proj(self.encoder(x, chunk, ahead)).transpose(1, 2)  # [B, 80, M]
        conditions = torch.cat([mu, voice[..., None].expand_as(mu), torch.zeros_like(mu)], dim=1)
        conditions = torch.cat([conditions, torch.zeros_like(conditions)])  # guided, unguided
        mel = published_noise(mu.shape[-1]).to(mu).expand(len(mu), -1, -1)
        times = [1 - math.cos(math.pi / 2 * step / STEPS) for step in range(STEPS + 1)]
        for time, following in zip(times, times[1:], strict=False):
            inputs = torch.cat([mel.repeat(2, 1, 1), conditions], dim=1)  # [2B, 320, M]
            guided, unguided = self.decoder["estimator"](inputs, time, chunk * RATIO).chunk(2)
            slope = (1 + GUIDANCE) * guided - GUIDANCE * unguided
            mel = mel + (following - time) * slope
        return mel


def published_noise(frames: int) -> Tensor:
    """Return the noise from which every spectrogram starts, as the published code draws it.

    Returns:
        noise: [1, 80, frames]; the same for all utterances, and for a longer one at its beginning.

    """
    generator = torch.Generator().manual_seed(0)
    shape = (1, MELS, NOISE_FRAMES)
    noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    return noise.repeat(1, 1, -(-frames // NOISE_FRAMES))[..., :frames]
