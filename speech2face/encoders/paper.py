"""The voice encoder of Oh et al., "Speech2Face: Learning the Face Behind a Voice", CVPR 2019 (arXiv 1905.09773)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

KERNEL = 4
STRIDES = (1, 1, 1, 1, 1, 1, 1, 2, 2)
POOLED = (False, False, True, True, True, True, False, False, False)  # halved along time after this layer


def output_size(size: int, pooled: bool) -> int:
    """Frequency rows or, pooled, time columns that the convolutions leave of `size` (0 or less: too few)."""
    for stride, pool in zip(STRIDES, POOLED, strict=True):
        size = (size - KERNEL) // stride + 1
        if pool and pooled:
            size //= 2
    return size


class PaperEncoder(nn.Module):
    """Spectrogram -> face feature: nine 4 x 4 convolutions, mean over time, two linear layers (article, table 1).

    The mean over time makes it adaptive to the length of the clip. The number of frequencies is fixed, because what is
    left of them is flattened into the first linear layer.

    channels: of the nine convolutions. hidden: width of the first linear layer. frequencies: rows of the spectrogram.
    relu: end in a ReLU, as the published implementation does; the VGG-Face feature that it learns to predict does too.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 64, 128, 128, 128, 256, 512, 512, 512),
        hidden: int = 4096,
        features: int = 4096,
        in_channels: int = 2,
        frequencies: int = 257,
        relu: bool = True,
    ) -> None:
        super().__init__()
        inputs = (in_channels, *channels[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, KERNEL, stride) for i, o, stride in zip(inputs, channels, STRIDES, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in channels)
        self.hidden = nn.Linear(channels[-1] * output_size(frequencies, pooled=False), hidden)
        self.output = nn.Linear(hidden, features)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 2, frequencies, frames) -> (batch, 4096). Raises ValueError for too few frames."""
        if output_size(x.shape[-1], pooled=True) < 1:
            raise ValueError(f"{x.shape[-1]} frames are too few for the convolutions of the paper's encoder")
        x = x.contiguous(memory_format=torch.channels_last)
        for convolution, norm, pooled in zip(self.convolutions[:-1], self.norms[:-1], POOLED[:-1], strict=True):
            x = norm(F.relu(convolution(x)))
            if pooled:
                x = F.max_pool2d(x, (1, 2))
        x = self.convolutions[-1](x).mean(dim=-1, keepdim=True)
        x = self.norms[-1](F.relu(x)).flatten(1)
        x = self.output(F.relu(self.hidden(x)))
        return F.relu(x) if self.relu else x
