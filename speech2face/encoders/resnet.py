"""Residual network, He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: torchvision's, projected."""

import torch
import torch.nn.functional as F
from torch import nn


class ResNet(nn.Module):
    """Photo -> face feature: torchvision's network, its last layer replaced by a projection to 4096 and a ReLU.

    depth: 18, 34, 50, 101 or 152. Tensors are named as torchvision
    names them, so that its checkpoints need no renaming.
    """

    def __init__(self, depth: int = 18, features: int = 4096, relu: bool = True) -> None:
        from torchvision import models

        super().__init__()
        self.network = getattr(models, f"resnet{depth}")(num_classes=features)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width) -> (batch, 4096)."""
        x = self.network(x.contiguous(memory_format=torch.channels_last))
        return F.relu(x) if self.relu else x
