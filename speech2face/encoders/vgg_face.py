"""VGG-Face of Parkhi, Vedaldi and Zisserman, "Deep Face Recognition", BMVC 2015: VGG-16, trained on faces."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.encoders.base import EncoderNetwork
from speech2face.weights.layout import Layout, Tensors


class VGGFace(EncoderNetwork):
    """Photo -> embedding: the second 4096-wide layer (fc7) after its ReLU.

    blocks: (convolutions, channels) of each block of 3 x 3 convolutions; each block ends in a 2 x 2 maximum pool.
    hidden, embedding: width of fc6 and of fc7. size: width and height of the input in pixels.
    classes: number of identities of the classification layer (paper, section 4).
    flatten: order of fc6's inputs: channels_first (channel, row, column, as in PyTorch) or channels_last (row, column,
        channel, as in Keras). Raises ValueError for another.
    """

    head_name, classifier_name = "fc7", "fc8"

    def __init__(
        self,
        blocks: Sequence[Sequence[int]] = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)),
        hidden: int = 4096,
        embedding: int = 4096,
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
        self.fc7 = nn.Linear(hidden, embedding)
        self.fc8 = nn.Linear(embedding, classes)

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, 3, size, size) -> (batch, hidden)."""
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            for convolution in block:
                x = F.relu(convolution(x))
            x = F.max_pool2d(x, 2)
        if self.flatten == "channels_last":
            x = x.permute(0, 2, 3, 1)
        return F.relu(self.fc6(x.flatten(1)))

    def stages(self) -> list[nn.Module]:
        return [*(layer for block in self.blocks for layer in block), self.fc6]

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 4096) -> logits (batch, classes)."""
        return self.fc8(embedding)


# Published layouts: the weights of two authors, as Keras .h5 and converted ("vggface_serengil", "vggface16_rcmalli")

PHOTO = {"_target_": "speech2face.preprocessing.image.Image", "channel_order": "rgb", "scale": 1.0}
WHOLE_PHOTO = {**PHOTO, "crop": "none", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
# As the VGG-Face of Keras was trained. Its training photos were crops of faces, so the crop stays as configured.
BGR_PHOTO = {**PHOTO, "channel_order": "bgr", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}

_LAYERS = [f"blocks.{block}.{i}" for block, convolutions in enumerate((2, 2, 3, 3, 3)) for i in range(convolutions)]
_LAYERS += ["fc6", "fc7", "fc8"]


def _name(match: re.Match[str]) -> str:
    return f"{_LAYERS[int(match[1]) - 1]}.{match[2]}"


def _architecture(tensors: Tensors) -> dict[str, int | list[list[int]]]:
    blocks = [[n, tensors[f"blocks.{block}.0.bias"].shape[0]] for block, n in enumerate((2, 2, 3, 3, 3))]
    return {"blocks": blocks, "hidden": tensors["fc6.bias"].shape[0], "classes": tensors["fc8.bias"].shape[0]}


def _from_keras(tensors: Tensors) -> Tensors:
    """Convert kernels from Keras (rows, columns, inputs, outputs) to PyTorch (outputs, inputs, rows, columns).

    Linear layers become transposed views. fc6 still takes its inputs as row, column, channel (flatten="channels_last").
    """
    converted: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("weight"):
            tensor = tensor.flatten(0, -2).T if name.startswith("fc") else tensor.permute(3, 2, 0, 1).contiguous()
        converted[name] = tensor
    return converted


CONVERTED = Layout(
    name="vggface (serengil or rcmalli, converted)",
    renames=((r"layer([1-9]|1[0-6])\.[01]\.(weight|bias)", _name),),
    needs=tuple(f"{layer}.weight" for layer in _LAYERS),
    architecture=_architecture,
    # One of the two stores fc6 to fc8 as convolutions over the whole of their input, with the same numbers.
    convert=lambda tensors: {n: t.flatten(1) if n.startswith("fc") and t.ndim == 4 else t for n, t in tensors.items()},
    preprocessing=WHOLE_PHOTO,
)
RCMALLI = replace(
    CONVERTED,
    name="vggface (rcmalli, Keras)",
    renames=(
        (r"layer([1-9]|1[0-3])\.convolution\.(weight|bias)", _name),
        (r"layer(1[4-6])\.dense\.(weight|bias)", _name),
    ),
    architecture=lambda tensors: _architecture(tensors) | {"flatten": "channels_last"},
    convert=_from_keras,
    preprocessing=BGR_PHOTO | {"scale": 255.0, "mean": [93.5940, 104.7624, 129.1863]},
)
SERENGIL = replace(
    RCMALLI,
    name="vggface (serengil, Keras)",
    renames=((r"layer([1-9]|1[0-6])\.convolution\.(weight|bias)", _name),),
    preprocessing=BGR_PHOTO,
)

VGGFace.layouts = (CONVERTED, RCMALLI, SERENGIL)
