"""Inception-ResNet-v1 (Szegedy et al., AAAI 2017) as FaceNet, with the names of tensors of facenet-pytorch."""

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.weights.layout import Layout

EPS = 0.001  # of TensorFlow's batch normalisation


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)))


def chain(*layers: nn.Module) -> nn.Module:
    """Layers one after the other; a single one is not wrapped, because of its name."""
    return nn.Sequential(*layers) if len(layers) > 1 else layers[0]


class Branches(nn.Module):
    """Branches side by side, named branch0, branch1 and so on, whose channels are joined."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.count = len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.get_submodule(f"branch{number}")(x) for number in range(self.count)], 1)


class Residual(Branches):
    """Adds to its input what the branches say, through a 1 x 1 convolution and times `scale`."""

    def __init__(self, joined: int, channels: int, scale: float, *branches: nn.Module, relu: bool = True) -> None:
        super().__init__(*branches)
        self.conv2d = nn.Conv2d(joined, channels, 1)
        self.scale, self.relu = scale, relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.scale * self.conv2d(super().forward(x))
        return F.relu(x) if self.relu else x


def block35() -> Residual:
    """Inception-ResNet-A, at 256 channels."""
    narrow = [Convolution(256, 32, 1) for _ in range(3)]
    wide = [Convolution(32, 32, 3, padding=1) for _ in range(3)]
    return Residual(96, 256, 0.17, narrow[0], chain(narrow[1], wide[0]), chain(narrow[2], wide[1], wide[2]))


def cross(channels: int, width: int, length: int, scale: float, relu: bool = True) -> Residual:
    """Inception-ResNet-B and C: a column and a row of `length` instead of a square."""
    long = Convolution(width, width, (1, length), padding=(0, length // 2))
    high = Convolution(width, width, (length, 1), padding=(length // 2, 0))
    branches = Convolution(channels, width, 1), chain(Convolution(channels, width, 1), long, high)
    return Residual(2 * width, channels, scale, *branches, relu=relu)


class InceptionResnet(nn.Module):
    """Photos (batch, 3, 160, 160), RGB in -1..1 -> embeddings (batch, 512) of length one, logits (batch, classes).

    classes: 0: no classification layer; the logits are None.
    """

    layouts = (
        Layout(
            name="facenet-pytorch",
            renames=((r"((?:conv2d_\w+|repeat_[1-3]|mixed_\w+|block8|last_linear|last_bn|logits)\..*)", r"\1"),),
            needs=("conv2d_1a.conv.weight", "last_linear.weight"),
            architecture=lambda tensors: {"classes": len(tensors.get("logits.weight", ()))},
        ),
    )

    def __init__(self, classes: int = 8631) -> None:
        super().__init__()
        self.conv2d_1a = Convolution(3, 32, 3, 2)
        self.conv2d_2a = Convolution(32, 32, 3)
        self.conv2d_2b = Convolution(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = Convolution(64, 80, 1)
        self.conv2d_4a = Convolution(80, 192, 3)
        self.conv2d_4b = Convolution(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(block35() for _ in range(5)))
        self.mixed_6a = Branches(
            Convolution(256, 384, 3, 2),
            chain(Convolution(256, 192, 1), Convolution(192, 192, 3, padding=1), Convolution(192, 256, 3, 2)),
            nn.MaxPool2d(3, 2),
        )
        self.repeat_2 = nn.Sequential(*(cross(896, 128, 7, 0.1) for _ in range(10)))
        self.mixed_7a = Branches(
            chain(Convolution(896, 256, 1), Convolution(256, 384, 3, 2)),
            chain(Convolution(896, 256, 1), Convolution(256, 256, 3, 2)),
            chain(Convolution(896, 256, 1), Convolution(256, 256, 3, padding=1), Convolution(256, 256, 3, 2)),
            nn.MaxPool2d(3, 2),
        )
        self.repeat_3 = nn.Sequential(*(cross(1792, 192, 3, 0.2) for _ in range(5)))
        self.block8 = cross(1792, 192, 3, 1.0, relu=False)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, EPS)
        self.logits = nn.Linear(512, classes) if classes else None

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        for name, layer in self.named_children():
            if name == "last_linear":
                break
            x = layer(x)
        x = self.last_bn(self.last_linear(x.mean((2, 3))))
        return F.normalize(x), None if self.logits is None else self.logits(x)
