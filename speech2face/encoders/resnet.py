"""Residual network of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, from torchvision."""

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.encoders.base import EncoderNetwork, scaled_cosines
from speech2face.weights.layout import Layout, Tensors, count


class ResNet(EncoderNetwork):
    """Photo -> embedding: torchvision's network, with a projection to 4096 and a ReLU in place of its last layer.

    depth: 18, 34, 50, 101 or 152. width: factor of the width of every stage, but not of the stem. embedding: width of
    the embedding. relu: end in a ReLU. classes: number of identities of the layer of `classify`; 0: no such layer.
    """

    head_name, classifier_name = "network.fc", "classifier"

    def __init__(
        self, depth: int = 18, width: float = 1.0, embedding: int = 4096, relu: bool = True, classes: int = 0
    ) -> None:
        from torchvision import models

        class Network(models.ResNet):
            def _make_layer(self, block: type, planes: int, *args: object, **options: object) -> nn.Sequential:
                layer = super()._make_layer(block, round(planes * width), *args, **options)
                if layer[0].downsample:
                    layer[0].downsample[0].__class__ = Shortcut
                return layer

        super().__init__()
        block = models.resnet.BasicBlock if depth < 50 else models.resnet.Bottleneck
        self.network = Network(block, LAYERS[depth])
        self.network.__class__ = models.ResNet  # the local class differs only in construction and cannot be pickled
        self.network.fc = nn.Linear(round(512 * width) * block.expansion, embedding)
        self.classifier = nn.Linear(embedding, classes, bias=False) if classes else None
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, 3, height, width) -> embeddings (batch, 4096)."""
        x = self.network(x.contiguous(memory_format=torch.channels_last))
        return F.relu(x) if self.relu else x

    def stages(self) -> list[nn.Module]:
        net = self.network
        return [nn.ModuleList([net.conv1, net.bn1]), *net.layer1, *net.layer2, *net.layer3, *net.layer4]

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 4096) -> logits (batch, classes)."""
        return scaled_cosines(embedding, self.classifier)


class Shortcut(nn.Conv2d):
    """A 1 x 1 convolution with a stride, computed as one without a stride on every stride-th pixel.

    The values are the same. On CPUs, oneDNN's gradient of a 1 x 1 convolution with a stride corrupts the memory of the
    process if it has fewer than 16 input channels (issue 6035 of oneDNN).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) -> (batch, channels, height / stride, width / stride), rounded up."""
        vertical, horizontal = self.stride
        return F.conv2d(x[..., ::vertical, ::horizontal], self.weight)


LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


# Published layout: torchvision's, if the last layer is 4096 wide

IMAGENET = {
    "_target_": "speech2face.preprocessing.image.Image",
    "channel_order": "rgb",
    "scale": 1.0,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def _architecture(tensors: Tensors) -> dict[str, int]:
    blocks = count(tensors, r"network\.layer3\.(\d+)\.")
    bottleneck = "network.layer1.0.conv3.weight" in tensors
    return {
        "depth": {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}[blocks, bottleneck]
    }


TORCHVISION = Layout(
    name="resnet (torchvision)",
    renames=((r"((?:conv1|bn1|fc|layer[1-4]\.\d+\.(?:conv\d|bn\d|downsample\.[01]))\..+)", r"network.\1"),),
    needs=(
        "network.conv1.weight",
        "network.layer1.0.conv1.weight",
        "network.layer4.1.conv1.weight",
        "network.fc.weight",
    ),
    architecture=_architecture,
    preprocessing=IMAGENET,
)

ResNet.layouts = (TORCHVISION,)
