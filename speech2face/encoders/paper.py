"""The voice encoder of Oh et al., "Speech2Face: Learning the Face Behind a Voice", CVPR 2019 (arXiv 1905.09773)."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.encoders.base import EncoderNetwork
from speech2face.weights.layout import Layout, Tensors

KERNEL = 4
STRIDES = (1, 1, 1, 1, 1, 1, 1, 2, 2)
POOLED = (False, False, True, True, True, True, False, False, False)  # halved along time after this layer


def output_size(size: int, pooled: bool) -> int:
    """Size of the convolutions' output along one axis, for an input of `size`; 0 or less if the input is too small.

    pooled: True for the time axis, which is also halved by pooling; False for frequency.
    """
    for stride, pool in zip(STRIDES, POOLED, strict=True):
        size = (size - KERNEL) // stride + 1
        if pool and pooled:
            size //= 2
    return size


class PaperEncoder(EncoderNetwork):
    """Spectrogram -> embedding: nine 4 x 4 convolutions, mean over time, two linear layers (paper, table 1).

    The mean over time makes the network independent of the clip's length. The number of frequencies is fixed, because
    it determines the input width of the first linear layer.

    channels: of the nine convolutions. hidden: width of the first linear layer. embedding: width of the embedding.
    in_channels, frequencies: channels and rows of the spectrogram.
    relu: end in a ReLU, as the published implementation does; the VGG-Face embedding, its target, also ends in one.
    """

    head_name, time_axis = "output", -1

    def __init__(
        self,
        channels: Sequence[int] = (64, 64, 128, 128, 128, 256, 512, 512, 512),
        hidden: int = 4096,
        embedding: int = 4096,
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
        self.output = nn.Linear(hidden, embedding)
        self.relu = relu

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, 2, frequencies, frames) -> (batch, hidden).

        Raises ValueError for fewer than `least_frames` frames.
        """
        if x.shape[-1] < self.least_frames:
            raise ValueError(f"{x.shape[-1]} frames are too few: the paper's encoder needs {self.least_frames}")
        x = x.contiguous(memory_format=torch.channels_last)
        for convolution, norm, pooled in zip(self.convolutions[:-1], self.norms[:-1], POOLED[:-1], strict=True):
            x = norm(F.relu(convolution(x)))
            if pooled:
                x = F.max_pool2d(x, (1, 2))
        x = self.convolutions[-1](x).mean(dim=-1, keepdim=True)
        x = self.norms[-1](F.relu(x)).flatten(1)
        return F.relu(self.hidden(x))

    def stages(self) -> list[nn.Module]:
        pairs = zip(self.convolutions, self.norms, strict=True)
        return [*(nn.ModuleList(pair) for pair in pairs), self.hidden]


# Published layout: the PyTorch implementation ("ve_conv")

SPECTROGRAM = {
    "_target_": "speech2face.preprocessing.audio.Audio",
    "window_seconds": 6.0,
    "features": {
        "_target_": "speech2face.preprocessing.spectrogram.Spectrogram",
        "representation": "magnitude_phase",
        "centered": True,
    },
}


def _architecture(tensors: Tensors) -> dict[str, int | list[int]]:
    channels = [tensors[f"convolutions.{i}.weight"].shape[0] for i in range(9)]
    return {"channels": channels, "hidden": tensors["hidden.weight"].shape[0]}


PUBLISHED = Layout(
    name="ve_conv",
    renames=(
        (r"layer([1-9])\.0\.(weight|bias)", lambda m: f"convolutions.{int(m[1]) - 1}.{m[2]}"),
        (r"layer(?:([1-8])\.2|(9)\.3)\.(.+)", lambda m: f"norms.{int(m[1] or m[2]) - 1}.{m[3]}"),
        (r"layer10\.1\.(.+)", r"hidden.\1"),
        (r"layer11\.0\.(.+)", r"output.\1"),
    ),
    needs=(*tuple(f"convolutions.{i}.weight" for i in range(9)), "hidden.weight", "output.weight"),
    architecture=_architecture,
    preprocessing=SPECTROGRAM,
)

PaperEncoder.layouts = (PUBLISHED,)
PaperEncoder.least_frames = next(frames for frames in itertools.count(1) if output_size(frames, pooled=True) >= 1)
