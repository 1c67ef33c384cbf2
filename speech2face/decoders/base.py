"""Base classes of decoders: the interface that inference and training use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

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


class TrainableDecoder(DecoderNetwork):
    """Base class of decoders that pipeline=train_decoder can train.

    The loss term `layer` of pipeline=train_voice compares activations of its first layer (Oh et al. 2019, section 3.2).
    """

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

    def start_from_mean(self, landmarks: torch.Tensor) -> None:
        """Initialise the landmarks with the mean (72, 2) of the training set."""
        raise NotImplementedError
