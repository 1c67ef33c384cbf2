"""VGG-Face: VGG-16 trained on faces, Parkhi, Vedaldi and Zisserman, "Deep Face Recognition", BMVC 2015."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class VGGFace(nn.Module):
    """Photo -> face feature: the second 4096-wide layer (fc7) after its ReLU.

    blocks: (convolutions, channels) of each block of 3 x 3 convolutions, each followed by a 2 x 2 maximum pool.
    hidden, features: width of fc6 and of fc7. size: of the input in pixels. classes: identities of the classification
    layer that `classify` applies (article, section 4). flatten: the order in which fc6 takes its inputs, channels_first
    (channel, row, column: PyTorch's) or channels_last (row, column, channel: Keras's).
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[int]] = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)),
        hidden: int = 4096,
        features: int = 4096,
        size: int = 224,
        classes: int = 2622,
        flatten: str = "channels_first",
    ) -> None:
        super().__init__()
        if flatten not in ("channels_first", "channels_last"):
            raise ValueError(f"flatten={flatten}: must be channels_first or channels_last")
        self.flatten = flatten
        self.blocks = nn.ModuleList()
        previous = 3
        for convolutions, channels in blocks:
            inputs = [previous] + [channels] * (convolutions - 1)
            self.blocks.append(nn.ModuleList(nn.Conv2d(i, channels, 3, padding=1) for i in inputs))
            previous = channels
        self.fc6 = nn.Linear(previous * (size >> len(blocks)) ** 2, hidden)
        self.fc7 = nn.Linear(hidden, features)
        self.fc8 = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3, size, size) -> (batch, 4096), never negative."""
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            for convolution in block:
                x = F.relu(convolution(x))
            x = F.max_pool2d(x, 2)
        if self.flatten == "channels_last":
            x = x.permute(0, 2, 3, 1)
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))

    def classify(self, feature: torch.Tensor) -> torch.Tensor:
        """(batch, 4096) -> logits (batch, classes)."""
        return self.fc8(feature)
