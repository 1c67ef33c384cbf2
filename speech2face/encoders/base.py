"""What an encoder's class states about itself, for the front end, for training and for reading weights."""

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

if TYPE_CHECKING:
    from speech2face.weights.layout import Layout


class EncoderNetwork(nn.Module):
    """Base class of encoders: features (batch, ...) -> embeddings (batch, 4096).

    head_name: of the last linear layer, whose output is the embedding, such as "head" or "network.fc".
        `training.head_epochs` trains it alone, and `encoder.init` leaves it out.
    classifier_name: of the layer of `classify`, which `encoder.init` leaves out, too; None where there is none.
    time_axis: axis of an item's features that is time, and the other one of the last two is frequency; None where the
        features are a waveform or a photo, and are not masked in training.
    least_frames: least length along the time axis (samples, for a waveform).
    layouts: published layouts of its weights.
    """

    head_name: ClassVar[str] = "head"
    classifier_name: ClassVar[str | None] = None
    time_axis: ClassVar[int | None] = None
    least_frames: ClassVar[int] = 1
    layouts: ClassVar[tuple["Layout", ...]] = ()

    @property
    def head_layer(self) -> nn.Linear:
        """The layer that `head_name` names."""
        return self.get_submodule(self.head_name)

    @property
    def classifies(self) -> bool:
        """Whether there is a classification layer for `classify`."""
        return getattr(self, self.classifier_name or "", None) is not None

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """(batch, 4096) -> logits (batch, classes)."""
        raise NotImplementedError
