"""ResNet-50 of VGGFace2 (Cao et al., FG 2018), as converted from Caffe with torchvision's names of tensors."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from speech2face.weights.layout import Layout


class VGGFace2ResNet(ResNet):
    """Photos (batch, 3, 224, 224), BGR in 0..255 minus the mean -> embeddings (batch, 2048), logits (batch, classes).

    It differs from torchvision's ResNet-50 as Caffe's does: a stage halves the size in its first 1 x 1 convolution, and
    the maximum pool has no padding and rounds up. The embeddings have length one. classes: 0: no classification layer;
    the logits are None.
    """

    layouts = (
        Layout(
            name="ResNet-50 of VGGFace2",
            renames=((r"((?:conv1|bn1|layer[1-4]|fc)\..*)", r"\1"),),
            needs=("conv1.weight", "layer4.2.conv3.weight"),
            architecture=lambda tensors: {"classes": len(tensors.get("fc.weight", ()))},
        ),
    )

    def __init__(self, classes: int = 8631) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        self.fc = nn.Linear(2048, classes) if classes else None
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for stage in (self.layer2, self.layer3, self.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        pooled = x.mean((2, 3))
        return F.normalize(pooled), None if self.fc is None else self.fc(pooled)
