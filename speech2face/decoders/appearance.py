"""The appearance model of faces: Cootes, Edwards and Taylor, "Active appearance models", IEEE PAMI 23(6), 2001."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from speech2face.decoders import warp as spline
from speech2face.decoders.appearance_fit import PICTURE, REACH, fit
from speech2face.decoders.base import TrainableDecoder
from speech2face.decoders.landmarks import LANDMARKS
from speech2face.decoders.normalized import WARPED

if TYPE_CHECKING:
    from speech2face.decoders.base import Examples

EDGE = 1.5  # steepness of the outline of the person: the sigmoid's argument per pixel


class AppearanceDecoder(TrainableDecoder):
    """Embedding -> landmarks and texture of a photographic face, each linear in the embedding.

    The texture lies on the mean landmarks and is warped onto the predicted ones. Its fourth channel is the signed
    distance to the outline of the person (Leventon, Grimson and Faugeras, CVPR 2000), which keeps the outline sharp
    where an average of pictures would blur it. Outside is a plain background. `fit` computes all weights in closed
    form.

    components, landmark_components: number of components of texture and landmarks. size: width and height of the
    texture in pixels. embedding: width of the embedding.
    ridge: penalty of the regression from embeddings to components.
    sharpening: share of the detail that an unsharp mask adds, because the mean of the faces that an embedding may
        belong to is smoother than each of them. detail: the same for a face that is one of several samples, and not
        their mean. background: RGB in [0, 1].
    """

    closed_form = True

    def __init__(
        self,
        components: int = 120,
        landmark_components: int = 60,
        size: int = 128,
        embedding: int = 4096,
        ridge: float = 30.0,
        sharpening: float = 1.8,
        detail: float = 2.6,
        background: Sequence[float] = (0.80, 0.82, 0.85),
    ) -> None:
        super().__init__()
        self.size, self.ridge, self.background = size, ridge, tuple(background)
        self.sharpening, self.detail = sharpening, detail
        self.counts = [components, landmark_components]
        self.regression = Exact(embedding, components + landmark_components)
        self.texture = Exact(components, 4 * size * size)
        self.shape = Exact(landmark_components, 2 * LANDMARKS)

    @property
    def first_layer(self) -> nn.Module:
        """The regression from embeddings to components."""
        return self.regression

    @property
    def mean_landmarks(self) -> torch.Tensor:
        """The mean landmarks (72, 2) of the training set, as x, y in pixels."""
        return self.shape.bias.detach().view(LANDMARKS, 2)

    def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, 4096) -> landmarks (batch, 72, 2) as x, y in pixels, images (batch, 3, 224, 224), RGB in [0, 1]."""
        landmarks, texture = self.aligned(embeddings)
        return landmarks, self.onto(landmarks, texture)

    def aligned(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, but the texture (batch, 4, 224, 224) is not yet warped, and still has its fourth channel."""
        texture, shape = self.regression(embeddings).split(self.counts, 1)
        texture = self.texture(texture).unflatten(1, (4, self.size, self.size))
        return self.shape(shape).unflatten(1, (LANDMARKS, 2)), F.interpolate(texture, (PICTURE,) * 2, mode="bicubic")

    def detailed(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, with sharper pictures."""
        landmarks, texture = self.aligned(embeddings)
        return landmarks, self.onto(landmarks, texture, sharpening=self.detail)

    def onto(
        self, landmarks: torch.Tensor, texture: torch.Tensor, back: bool = False, sharpening: float | None = None
    ) -> torch.Tensor:
        """Warp textures from the mean landmarks onto landmarks (batch, 72, 2), or with `back` the other way.

        Textures of four channels are put before the background: the result is (batch, 3, 224, 224) in [0, 1].
        sharpening: None: that of the decoder.
        """
        points = landmarks[:, WARPED].float()
        mean = self.mean_landmarks[WARPED, :].expand_as(points)
        warped = spline.warp(texture.float(), *((points, mean) if back else (mean, points)))
        if texture.shape[1] != 4:
            return warped
        return self.compose(warped, self.sharpening if sharpening is None else sharpening)

    def compose(self, drawn: torch.Tensor, sharpening: float) -> torch.Tensor:
        """Sharpened RGB and outline (batch, 4, 224, 224) -> the person before the background (batch, 3, 224, 224)."""
        colour, distance = drawn[:, :3], (drawn[:, 3:] - 0.5) * 2 * REACH
        if sharpening:
            with torch.autocast(drawn.device.type, enabled=False):
                colour = colour + sharpening * (colour - _blurred(colour))
        person = torch.sigmoid(EDGE * distance)
        background = torch.tensor(self.background, device=drawn.device).view(3, 1, 1)
        return colour.clamp(0, 1) * person + background * (1 - person)

    def fit(self, examples: "Examples") -> None:
        """Compute all weights from the training set, in closed form (speech2face.decoders.appearance_fit)."""
        found = fit(examples, *self.counts, self.size, self.ridge)
        layers = (self.texture, self.shape, self.regression)
        for layer, (weight, bias) in zip(layers, (found.texture, found.shape, found.regression), strict=True):
            layer.weight.data = torch.from_numpy(np.ascontiguousarray(weight, np.float32))
            layer.bias.data = torch.from_numpy(np.ascontiguousarray(bias, np.float32))


class Exact(nn.Module):
    """A linear layer that computes in fp32 also in mixed precision: the sharpening would show what bf16 rounds away.

    (batch, inputs) -> (batch, outputs).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layer = nn.Linear(inputs, outputs)
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight, self.bias)


def _blurred(images: torch.Tensor, sigma: float = 1.5, radius: int = 6) -> torch.Tensor:
    """Images (batch, 3, height, width), blurred by a Gaussian of `sigma` pixels."""
    at = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    rows = F.conv2d(F.pad(images, (radius, radius, 0, 0), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(rows, (0, 0, radius, radius), mode="replicate"), kernel.transpose(2, 3), groups=3)
