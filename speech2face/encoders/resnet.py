"""Residual network, He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: torchvision's, projected."""

import torch
import torch.nn.functional as F
from torch import nn


class ResNet(nn.Module):
    """Photo -> face feature: torchvision's network, its last layer replaced by a projection to 4096 and a ReLU.

    depth: 18, 34, 50, 101 or 152. width: 0.5 makes every stage half as wide (not the stem). Tensors are named as
    torchvision names them, so that its checkpoints need no renaming. classes: identities of the classification layer
    that `classify` applies, 0 for none.
    """

    def __init__(
        self, depth: int = 18, width: float = 1.0, features: int = 4096, relu: bool = True, classes: int = 0
    ) -> None:
        from torchvision import models

        class Network(models.ResNet):
            def _make_layer(self, block: type, planes: int, *args: object, **options: object) -> nn.Sequential:
                return super()._make_layer(block, round(planes * width), *args, **options)

        super().__init__()
        block = models.resnet.BasicBlock if depth < 50 else models.resnet.Bottleneck
        self.network = Network(block, LAYERS[depth])
        self.network.__class__ = models.ResNet  # made differently, it works as any other, and can be pickled
        self.network.fc = nn.Linear(round(512 * width) * block.expansion, features)
        self.classifier = nn.Linear(features, classes, bias=False) if classes else None
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width) -> (batch, 4096)."""
        x = self.network(x.contiguous(memory_format=torch.channels_last))
        return F.relu(x) if self.relu else x

    def classify(self, feature: torch.Tensor) -> torch.Tensor:
        """(batch, 4096) -> logits (batch, classes): cosines, scaled (Wang et al., "CosFace", CVPR 2018)."""
        return SCALE * self.classifier(F.normalize(feature)) / self.classifier.weight.norm(dim=1).clamp(min=1e-9)


LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SCALE = 32.0
