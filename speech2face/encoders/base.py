"""Base class of encoders: the properties that the front end, training and the reader of weights use."""

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from speech2face.weights.layout import Layout


class EncoderNetwork(nn.Module):
    """Base class of encoders: features (batch, ...) -> embeddings (batch, 4096).

    head_name: name of the last linear layer, whose output is the embedding, such as "head" or "network.fc".
        `training.head_epochs` trains only this layer, and `encoder.init` does not load it.
    classifier_name: name of the layer of `classify`, which `encoder.init` does not load either; None: there is none.
    time_axis: the axis of the features that is time, -1 or -2; the other one is frequency. None for waveforms and
        photos, which training does not mask.
    least_frames: least length of the features along the time axis; for a waveform, in samples.
    layouts: published layouts of its weights.
    """

    head_name: ClassVar[str] = "head"
    classifier_name: ClassVar[str | None] = None
    time_axis: ClassVar[int | None] = None
    least_frames: ClassVar[int] = 1
    layouts: ClassVar[tuple["Layout", ...]] = ()

    @property
    def head_layer(self) -> nn.Linear:
        """The layer with the name `head_name`."""
        return self.get_submodule(self.head_name)

    @property
    def classifies(self) -> bool:
        """Whether the network has the classification layer of `classify`."""
        return getattr(self, self.classifier_name or "", None) is not None

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 4096) -> logits (batch, classes)."""
        raise NotImplementedError


def scaled_cosines(embedding: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    """Embeddings (batch, 4096) -> logits (batch, classes): scaled cosines (Wang et al., "CosFace", CVPR 2018)."""
    return SCALE * layer(F.normalize(embedding)) / layer.weight.norm(dim=1).clamp(min=1e-9)


SCALE = 32.0
