"""Base classes of decoders: the interface that inference and training use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from speech2face.weights.layout import Layout


class DecoderNetwork(nn.Module):
    """Base class of decoders: embeddings (batch, 4096) -> landmarks, images.

    `forward` returns the most typical face of each embedding: landmarks (batch, 72, 2) as x, y in pixels, or None; and
    images (batch, 3, height, width), RGB in [0, 1], of any size.
    draws_samples: whether the class implements `sample`. layouts: published layouts of its weights.
    """

    draws_samples: ClassVar[bool] = False
    layouts: ClassVar[tuple["Layout", ...]] = ()

    def sample(
        self, embeddings: torch.Tensor, count: int, generators: Sequence[torch.Generator]
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
        """Draw `count` faces that each embedding (batch, 4096) may belong to.

        generators: one per embedding. They are the only source of randomness, so a face depends on no other input.
        Returns landmarks (batch, count, 72, 2) or None, images (batch, count, 3, height, width) in [0, 1], and scores
        (batch, count) or None.
        """
        raise NotImplementedError

    def detailed(self, embeddings: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """As `forward`, for embeddings each of which is of one face, and not the mean of several.

        A decoder may draw more detail here.
        """
        return self(embeddings)


@dataclass
class Examples:
    """Normalized faces and their embeddings, for the start of a training.

    embeddings: (n, 4096), indexed by arrays. which: (n,), the face of each among m faces. pictures: (m, 224, 224, 3)
    uint8. landmarks: (m, 72, 2) float32 as x, y in pixels. masks: (m, 224, 224) uint8: 0 is outside the photo and
    unknown, 1 background, 2 the person. people: (m,) names of the people.
    """

    embeddings: Any
    which: np.ndarray
    pictures: np.ndarray
    landmarks: np.ndarray
    masks: np.ndarray
    people: Sequence[str] = ()


class TrainableDecoder(DecoderNetwork):
    """Base class of decoders that pipeline=train_decoder can train.

    closed_form: whether `fit` computes all weights, so that trainer.max_epochs=0 is enough.

    The loss term `layer` of pipeline=train_voice compares activations of its first layer (Oh et al. 2019, section 3.2).
    """

    closed_form: ClassVar[bool] = False

    @property
    def first_layer(self) -> nn.Module:
        """Embeddings (batch, 4096) -> activations (batch, n) of the first layer."""
        raise NotImplementedError

    def aligned(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, but the texture is not yet warped onto the landmarks."""
        raise NotImplementedError

    def onto(self, landmarks: torch.Tensor, texture: torch.Tensor, back: bool = False) -> torch.Tensor:
        """Warp textures (batch, 3, height, width) onto landmarks (batch, 72, 2), or with `back` the other way."""
        raise NotImplementedError

    def fit(self, examples: Examples) -> None:
        """Initialise from the training set whatever can be computed in closed form, such as the mean landmarks."""
        raise NotImplementedError
