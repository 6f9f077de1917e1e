"""CAM++ (2303.00332): the speaker vector of an utterance, by a densely connected TDNN with masks.

Keys and shapes are those of the published campplus_cn_common.bin, which CosyVoice uses as ONNX.
Shapes: B batch, C channels, F mel bands, T frames.
"""

from collections import OrderedDict
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.tokenizers.spectra import KaldiLogMel

SAMPLE_RATE, MELS = 16_000, 80
SHORTEST = 720  # samples: four frames, of which two remain to take a deviation of
SEGMENT = 100  # frames of a local mean
DILATIONS = (1, 2, 2)  # of the three dense blocks

Width = Annotated[int, Field(ge=1, le=4096)]


class CAMPPlusConfig(StrictModel):
    """Sizes of CAM++; the defaults are those of the published weights."""

    planes: Width = 32  # channels of the two-dimensional convolutions
    width: Annotated[int, Field(ge=2, le=4096, multiple_of=2)] = 128
    growth: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 32  # channels a layer adds
    layers: tuple[Width, Width, Width] = (12, 24, 16)
    dim: Width = 192  # of the vector


def normed(channels: int) -> nn.Module:
    """Return a batch norm and a ReLU under their published names."""
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))


class ResidualBlock(nn.Module):
    """Two convolutions over bands and frames, added to their input; `stride` is over bands."""

    def __init__(self, planes: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 3, stride=(stride, 1), padding=1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(planes), nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.Conv2d(planes, planes, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, F, T] to [B, C, F / stride, T]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Head(nn.Module):
    """Convolutions over bands and frames: [B, 80, T] to [B, 10 C, T]."""

    def __init__(self, planes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, planes, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=(2, 1), padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(planes), nn.BatchNorm2d(planes)
        self.layer1, self.layer2 = (
            nn.Sequential(ResidualBlock(planes, 2), ResidualBlock(planes, 1)) for _ in range(2)
        )

    def forward(self, mels: Tensor) -> Tensor:
        """Map [B, 80, T] to [B, 10 C, T]."""
        x = F.relu(self.bn1(self.conv1(mels[:, None])))
        x = F.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class MaskedConv(nn.Module):
    """A convolution over time, with a gain from the means of the utterance and of the segment."""

    def __init__(self, inputs: int, outputs: int, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(
            inputs, outputs, 3, dilation=dilation, padding=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(inputs, inputs // 2, 1)
        self.linear2 = nn.Conv1d(inputs // 2, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C', T]."""
        means = F.avg_pool1d(x, SEGMENT, SEGMENT, ceil_mode=True)
        means = means.repeat_interleave(SEGMENT, dim=-1)[..., : x.shape[-1]]
        context = F.relu(self.linear1(x.mean(-1, keepdim=True) + means))
        return self.linear_local(x) * self.linear2(context).sigmoid()


class DenseLayer(nn.Module):
    """A layer that adds `growth` channels to its input: [B, C, T] to [B, C + growth, T]."""

    def __init__(self, inputs: int, growth: int, dilation: int):
        super().__init__()
        inner = 4 * growth
        self.nonlinear1, self.nonlinear2 = normed(inputs), normed(inner)
        self.linear1 = nn.Conv1d(inputs, inner, 1, bias=False)
        self.cam_layer = MaskedConv(inner, growth, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C + growth, T]."""
        y = self.nonlinear2(self.linear1(self.nonlinear1(x)))
        return torch.cat([x, self.cam_layer(y)], dim=1)


class CAMPPlus(nn.Module):
    """Waveform to speaker vector."""

    def __init__(self, config: CAMPPlusConfig):
        super().__init__()
        self.log_mel = KaldiLogMel(SAMPLE_RATE, MELS)
        self.head = Head(config.planes)
        width = config.width
        first = nn.Conv1d(config.planes * MELS // 8, width, 5, stride=2, padding=2, bias=False)
        parts: dict[str, nn.Module] = {
            "tdnn": nn.Sequential(OrderedDict(linear=first, nonlinear=normed(width)))
        }
        for i, (count, dilation) in enumerate(zip(config.layers, DILATIONS, strict=True), start=1):
            dense: dict[str, nn.Module] = {}
            for number in range(1, count + 1):
                dense[f"tdnnd{number}"] = DenseLayer(width, config.growth, dilation)
                width += config.growth
            half = nn.Conv1d(width, width // 2, 1, bias=False)
            parts[f"block{i}"] = nn.Sequential(OrderedDict(dense))
            parts[f"transit{i}"] = nn.Sequential(OrderedDict(nonlinear=normed(width), linear=half))
            width //= 2
        parts["out_nonlinear"] = normed(width)
        last = nn.Conv1d(2 * width, config.dim, 1, bias=False)
        norm = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(config.dim, affine=False)))
        parts["dense"] = nn.Sequential(OrderedDict(linear=last, nonlinear=norm))
        self.xvector = nn.ModuleDict(parts)

    def forward(self, wav: Tensor) -> Tensor:
        """Map `wav` [B, N] at 16 kHz to vectors [B, D_s]; short audio is padded with zeros."""
        mels = self.log_mel(F.pad(wav, (0, max(0, SHORTEST - wav.shape[-1]))))  # [B, T, 80]
        mels = (mels - mels.mean(1, keepdim=True)).to(wav.dtype)
        x = self.head(mels.transpose(1, 2))
        for name, part in self.xvector.items():
            if name == "dense":
                x = torch.cat([x.mean(-1), x.std(-1)], dim=-1)[..., None]
            x = part(x)
        return x[..., 0]
