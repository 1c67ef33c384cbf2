"""Base class of encoders: the properties that the front end, training and the reader of weights use."""

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from speech2face.weights.layout import Layout


class EncoderNetwork(nn.Module):
    """Base class of encoders: features (batch, ...) -> embeddings (batch, 4096).

    A subclass has the method `trunk`, and `forward` is then its output through the head and a ReLU. It can have
    `forward` instead.

    head_name: name of the last linear layer or Perceptron, whose output is the embedding, such as "head".
        `encoder.train=head` trains only this layer, and `encoder.init` does not load it.
    relu: whether the embedding is the head's output through a ReLU.
    classifier_name: name of the layer of `classify`, which `encoder.init` does not load either; None: there is none.
    time_axis: the axis of the features that is time, -1 or -2; the other one is frequency. None for waveforms and
        photos, which training does not mask.
    least_frames: least length of the features along the time axis; for a waveform, in samples.
    descriptor_size: width of `descriptor`, or 0 if it has none.
    layouts: published layouts of its weights.
    """

    head_name: ClassVar[str] = "head"
    relu: bool = True
    classifier_name: ClassVar[str | None] = None
    time_axis: ClassVar[int | None] = None
    least_frames: ClassVar[int] = 1
    descriptor_size: ClassVar[int] = 0
    layouts: ClassVar[tuple["Layout", ...]] = ()

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, ...) -> the input of the head (batch, width)."""
        raise NotImplementedError

    def finish(self, trunk: torch.Tensor) -> torch.Tensor:
        """The input of the head (batch, width) -> embeddings (batch, 4096)."""
        x = self.head_layer(trunk)
        return F.relu(x) if self.relu else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, ...) -> embeddings (batch, 4096)."""
        return self.finish(self.trunk(x))

    def stages(self) -> list[nn.Module]:
        """The parts below the head that `encoder.train=last:N` counts, in order from the input; none by default."""
        return []

    def learn(self, what: str) -> None:
        """Let the head learn ("head"), the last N stages, too ("last:N"), or everything ("all"); freeze the rest.

        Frozen parts are in evaluation mode. Raises ValueError if there are fewer stages.
        """
        self.train(what == "all").requires_grad_(what == "all")
        stages = self.stages()
        number = int(what.removeprefix("last:")) if what.startswith("last:") else 0
        if number > len(stages):
            raise ValueError(f"{type(self).__name__} has {len(stages)} stages")
        learning = [*stages[len(stages) - number :], self.get_submodule(self.head_name)]
        if self.classifies:
            learning.append(self.get_submodule(self.classifier_name))
        for module in learning:
            module.train().requires_grad_(True)

    def descriptor(self, x: torch.Tensor) -> torch.Tensor:
        """Features of photos (batch, ...) -> descriptors of identity (batch, descriptor_size)."""
        raise NotImplementedError

    @property
    def head_layer(self) -> "nn.Linear | Perceptron":
        """The layer with the name `head_name`."""
        return self.get_submodule(self.head_name)

    @property
    def classifies(self) -> bool:
        """Whether the network has the classification layer of `classify`."""
        return getattr(self, self.classifier_name or "", None) is not None

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 4096) -> logits (batch, classes)."""
        raise NotImplementedError


class Perceptron(nn.Sequential):
    """A head with one hidden layer: (batch, inputs) -> (batch, outputs).

    A linear head shifts an embedding as far as the evidence grows; the hidden layer lets it settle, so that a clearly
    female voice and a very clearly female voice have the same face.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
        self.in_features = inputs


def scaled_cosines(embedding: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    """Embeddings (batch, 4096) -> logits (batch, classes): scaled cosines (Wang et al., "CosFace", CVPR 2018)."""
    return SCALE * layer(F.normalize(embedding)) / layer.weight.norm(dim=1).clamp(min=1e-9)


SCALE = 32.0
