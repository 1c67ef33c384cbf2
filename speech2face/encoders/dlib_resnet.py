"""The face descriptor of dlib (King, "Dlib-ml", JMLR 2009): a residual network of 29 convolutions, trained on people.

The network is `anet_type` in dlib's example dnn_face_recognition_ex.cpp: after He et al., CVPR 2016, with fewer layers
and half the filters, trained by metric learning on about 3 million photos of 7,485 people.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.encoders.base import EncoderNetwork, scaled_cosines
from speech2face.weights.layout import Layout, Tensors

CHIP = 150  # width and height of dlib's face chip in pixels
MEANS = (122.782, 117.001, 104.298)  # of red, green and blue, as in dlib's input_rgb_image_sized
STAGES = ((3, 32), (4, 64), (3, 128), (3, 256), (1, 256))  # blocks, channels; all stages but the first halve the size
CROP = 224  # width and height of the aligned crop (preprocessing.crop=aligned) in pixels
# Width and centre of the chip in the aligned crop, in pixels. They are those of the similarity with the least squared
# error that brings the mean shape in dlib's get_face_chip_details (150 pixels, padding 0.25; without brows and lower
# lip) to the mean landmarks of 200 portraits in the aligned crop. The remaining rotation is 0.06 degrees.
CHIP_WIDTH, CHIP_CENTRE = 132.8, (112.7, 132.7)
GRID, THUMBNAIL = 4, 14  # rows and columns of the early activations and of the thumbnail
# Means, and deviations between people, of the descriptor, the pooled activations, the early ones, and the thumbnail,
# measured on the same portraits.
MEANS_SEEN = (0.0, 1.16, 1.27, 0.41)
DEVIATIONS = (0.05, 0.18, 0.29, 0.18)
# Factors of the four in an embedding without a linear layer. With them a ridge regression from embeddings to photos had
# the smallest error on people held out for validation.
SHARES = (1.0, 0.17, 0.08, 0.1)


class DlibResNet(EncoderNetwork):
    """Aligned photo -> embedding: what dlib's descriptor network sees, or a linear layer over it.

    The embedding holds, or the linear layer ("head") sees, the 128-D descriptor, the 256 activations before it, the
    activations of the first stage averaged to 4 x 4 (32 channels), and the photo averaged to 14 x 14 (3 channels), each
    minus its mean and divided by its deviation. The first two tell identity, the others the colours of skin, hair and
    background, which the descriptor ignores.

    embedding: width of the embedding. linear: end in a linear layer, which must be trained. Without it, what is seen
    is multiplied by SHARES, and the embedding ends in zeros. relu: end in a ReLU. classes: number of identities of the
    layer of `classify`; 0: no such layer.
    """

    classifier_name, descriptor_size = "classifier", 128

    def __init__(self, embedding: int = 4096, linear: bool = False, relu: bool = False, classes: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.blocks = nn.ModuleList()
        previous = 32
        for stage, (blocks, channels) in enumerate(STAGES):
            for block in range(blocks):
                self.blocks.append(Block(previous, channels, halve=stage > 0 and block == 0))
                previous = channels
        self.to_descriptor = nn.Linear(previous, 128, bias=False)
        sizes = 128, previous, 32 * GRID**2, 3 * THUMBNAIL**2
        self.head = nn.Linear(sum(sizes), embedding) if linear else Widen(sizes, embedding)
        self.classifier = nn.Linear(embedding, classes, bias=False) if classes else None
        self.relu = relu

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Aligned photos (batch, 3, 224, 224), RGB in [0, 1] -> the input of the head (batch, 1484)."""
        early, pooled = self.activations(sample_chip(x))
        early, thumbnail = F.adaptive_avg_pool2d(early, GRID), F.adaptive_avg_pool2d(x, THUMBNAIL)
        seen = zip((self.to_descriptor(pooled), pooled, early, thumbnail), MEANS_SEEN, DEVIATIONS, strict=True)
        return torch.cat([(one.flatten(1) - mean) / deviation for one, mean, deviation in seen], 1)

    def stages(self) -> list[nn.Module]:
        return [self.stem, *self.blocks]

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 4096) -> logits (batch, classes)."""
        return scaled_cosines(embedding, self.classifier)

    def descriptor(self, photos: torch.Tensor) -> torch.Tensor:
        """Aligned photos (batch, 3, 224, 224), RGB in [0, 1] -> dlib's descriptors (batch, 128).

        Descriptors nearer than 0.6 are of the same person, says dlib (99.38 % right on Labeled Faces in the Wild).
        """
        return self.describe_chips(sample_chip(photos))

    def describe_chips(self, chips: torch.Tensor) -> torch.Tensor:
        """Face chips of dlib (batch, 3, 150, 150), RGB in [0, 1] -> descriptors (batch, 128)."""
        return self.to_descriptor(self.activations(chips)[1])

    def activations(self, chips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Face chips -> activations of the first stage (batch, 32, 35, 35), averaged ones of the last (batch, 256)."""
        means = torch.tensor(MEANS, device=chips.device, dtype=chips.dtype).view(3, 1, 1)
        x = ((chips * 255 - means) / 256).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        first = STAGES[0][0]
        for block in self.blocks[:first]:
            x = block(x)
        early = x
        for block in self.blocks[first:]:
            x = block(x)
        return early, x.mean((2, 3))


class Widen(nn.Module):
    """Parts (batch, n) of the given sizes, times SHARES, then zeros: (batch, embedding)."""

    def __init__(self, sizes: Sequence[int], embedding: int) -> None:
        super().__init__()
        self.sizes, self.embedding = sizes, embedding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, sum of sizes) -> (batch, embedding)."""
        parts = [one * share for one, share in zip(x.split(self.sizes, 1), SHARES, strict=True)]
        return F.pad(torch.cat(parts, 1), (0, self.embedding - x.shape[1]))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. dlib's halving convolutions have no padding.

    A halving block averages its shortcut over 2 x 2; what then has fewer channels, rows or columns than the other is
    extended by zeros (dlib's add_prev).
    """

    def __init__(self, inputs: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, *((2, 0) if halve else (1, 1)))
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.halve = halve

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, height, width) -> (batch, channels, height, width) or half of the height and width."""
        y = self.second(F.relu(self.first(x)))
        if self.halve:
            x = F.avg_pool2d(x, 2)
            size = [max(sizes) for sizes in zip(x.shape, y.shape, strict=True)]
            x, y = _extend(x, size), _extend(y, size)
        return F.relu(x + y)


def _extend(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    return F.pad(x, (0, size[3] - x.shape[3], 0, size[2] - x.shape[2], 0, size[1] - x.shape[1]))


def sample_chip(photos: torch.Tensor) -> torch.Tensor:
    """Aligned photos (batch, 3, height, width) -> dlib's face chips (batch, 3, 150, 150), by bilinear interpolation."""
    (x, y), scale = [(2 * one + 1) / CROP - 1 for one in CHIP_CENTRE], CHIP_WIDTH / CROP
    place = torch.tensor([[scale, 0, x], [0, scale, y]], device=photos.device, dtype=photos.dtype)
    grid = F.affine_grid(place.expand(photos.shape[0], 2, 3), [photos.shape[0], 3, CHIP, CHIP], align_corners=False)
    return F.grid_sample(photos, grid, align_corners=False)


# Published layout: dlib_face_recognition_resnet_model_v1.dat (CC0), without a head

_LAYERS = ["stem", *(f"blocks.{i}.{which}" for i in range(sum(n for n, _ in STAGES)) for which in ("first", "second"))]


def _fold(tensors: Tensors) -> Tensors:
    """Fold the affine layer after each convolution into it, and transpose the linear layer."""
    converted = {"to_descriptor.weight": tensors[f"layer{2 * len(_LAYERS) + 1}.dense.weight"].T.contiguous()}
    for i, name in enumerate(_LAYERS):
        convolution, affine = f"layer{2 * i + 1}.convolution", f"layer{2 * i + 2}.affine"
        factor, offset = tensors[f"{affine}.weight"], tensors[f"{affine}.bias"]
        converted[f"{name}.weight"] = tensors[f"{convolution}.weight"] * factor.view(-1, 1, 1, 1)
        converted[f"{name}.bias"] = tensors[f"{convolution}.bias"] * factor + offset
    return converted


DLIB = Layout(
    name="face descriptor of dlib",
    renames=((r"(layer\d+\.(?:convolution|affine|dense)\.(?:weight|bias))", r"\1"),),
    needs=(
        f"layer{2 * len(_LAYERS) + 1}.dense.weight",
        *(f"layer{2 * i + 2}.affine.bias" for i in range(len(_LAYERS))),
    ),
    architecture=lambda tensors: {},
    convert=_fold,
    preprocessing={
        "_target_": "speech2face.preprocessing.image.Image",
        "crop": "aligned",
        "size": CROP,
        "channel_order": "rgb",
        "scale": 1.0,
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
    },
    has_head=False,
)

DlibResNet.layouts = (DLIB,)
