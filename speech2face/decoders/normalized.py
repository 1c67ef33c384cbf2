"""The face decoder of Cole et al., "Synthesizing Normalized Faces from Facial Identity Features", CVPR 2017.

The paper is arXiv 1701.04851.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.decoders import warp as spline
from speech2face.decoders.base import Examples, TrainableDecoder
from speech2face.decoders.landmarks import LANDMARKS
from speech2face.weights.layout import Layout, Tensors

WARPED = (*range(55), *range(61, 66))  # control points of the warp: all landmarks but the inner lips, which may touch


class NormalizedFaceDecoder(TrainableDecoder):
    """Embedding -> landmarks and texture of a frontal, neutral face, from one shared trunk (paper, section 3).

    width: factor of the width of every hidden layer; 1 is the published size, with 125 million parameters.
    embedding: width of the embedding.
    warp: draw the texture on the mean landmarks of the training set (`mean_landmarks`), and warp it onto the predicted
        landmarks (section 3.2). The published PyTorch implementation does not warp.
    """

    def __init__(self, width: float = 1.0, embedding: int = 4096, warp: bool = False) -> None:
        super().__init__()
        self.warp = warp
        if warp:
            self.register_buffer("mean_landmarks", torch.zeros(LANDMARKS, 2))

        def scale(*channels: int) -> list[int]:
            return [max(1, round(width * one)) for one in channels]

        scaled = scale(3072, 2048)
        self.trunk = _perceptron([embedding, *scaled])
        landmark_sizes = scale(1024, 512, 256)
        self.landmark_layers = _perceptron([scaled[-1], *landmark_sizes])
        self.landmark_output = nn.Linear(landmark_sizes[-1], 2 * LANDMARKS)
        channels = scale(256, 128, 64, 32, 32)
        self.texture_input = nn.Linear(scaled[-1], channels[0] * 14 * 14)
        self.texture_layers = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 5, stride=2, padding=2, output_padding=1) for i, o in itertools.pairwise(channels)
        )
        self.texture_output = nn.Conv2d(channels[-1], 3, 1)

    def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, 4096) -> landmarks (batch, 72, 2) as x, y in pixels, texture (batch, 3, 224, 224) RGB in [0, 1].

        Landmarks are in the order of LANDMARK_PARTS.
        """
        landmarks, texture = self.aligned(embeddings)
        return landmarks, self.onto(landmarks, texture)

    def aligned(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, but the texture is not yet warped."""
        trunk = self.trunk(embeddings)
        landmarks = self.landmark_output(self.landmark_layers(trunk)).unflatten(1, (LANDMARKS, 2))
        texture = F.relu(self.texture_input(trunk)).unflatten(1, (-1, 14, 14))
        for layer in self.texture_layers:
            texture = F.relu(layer(texture))
        return landmarks, self.texture_output(texture).sigmoid()

    @property
    def first_layer(self) -> nn.Module:
        """The first linear layer of the trunk."""
        return self.trunk[0]

    def fit(self, examples: Examples) -> None:
        """Initialise the predicted landmarks, and with `warp` the mean landmarks, with the mean of the examples."""
        landmarks = torch.from_numpy(examples.landmarks.mean(0))
        self.landmark_output.bias.data = landmarks.flatten().clone()
        if self.warp:
            self.mean_landmarks.copy_(landmarks)

    def onto(self, landmarks: torch.Tensor, texture: torch.Tensor, back: bool = False) -> torch.Tensor:
        """Warp textures (batch, 3, 224, 224) from the mean landmarks onto landmarks (batch, 72, 2), or back.

        Without the option `warp` the textures are returned unchanged.
        """
        if not self.warp:
            return texture
        points = landmarks[:, WARPED].float()
        mean = self.mean_landmarks[WARPED, :].expand_as(points)
        return spline.warp(texture.float(), points, mean) if back else spline.warp(texture.float(), mean, points)


def _perceptron(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU()]
    return nn.Sequential(*layers)


def _architecture(tensors: Tensors) -> dict[str, float]:
    return {"width": tensors["trunk.0.weight"].shape[0] / 3072}


PUBLISHED = Layout(
    name="face_decoder",
    renames=(
        (r"pre_layers\.([01])\.([01])\.(.+)", lambda m: f"trunk.{3 * int(m[1]) + int(m[2])}.{m[3]}"),
        (r"landmark_layers\.3\.0\.(.+)", r"landmark_output.\1"),
        (r"landmark_layers\.([0-2])\.([01])\.(.+)", lambda m: f"landmark_layers.{3 * int(m[1]) + int(m[2])}.{m[3]}"),
        (r"texture_layers\.0\.0\.(.+)", r"texture_input.\1"),
        (r"texture_layers\.([1-4])\.[01]\.(.+)", lambda m: f"texture_layers.{int(m[1]) - 1}.{m[2]}"),
        (r"texture_layers\.5\.0\.(.+)", r"texture_output.\1"),
    ),
    needs=("trunk.0.weight", "landmark_output.weight", "texture_input.weight", "texture_output.weight"),
    architecture=_architecture,
)

NormalizedFaceDecoder.layouts = (PUBLISHED,)
