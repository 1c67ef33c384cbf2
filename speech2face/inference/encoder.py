"""Recordings or photos -> 4096-D embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from speech2face.errors import UserError, defect
from speech2face.inference.device import OnDevice
from speech2face.preprocessing import Prepared

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from speech2face.weights.front_end import FrontEnd

    Source = str | Path | np.ndarray | PillowImage.Image

NOT_FINITE = "not finite: damaged weights, or a precision too low for them"


class Encoder(OnDevice):
    """Front end, network, device and precision -> embeddings.

    network: features (batch, ...) -> (batch, 4096). preprocessing: see speech2face.preprocessing.
    batch_size: windows that go through the network together.
    description: the network's class and arguments and the front end's, by which cached embeddings are told apart.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: "FrontEnd",
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 1,
        description: dict[str, Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        super().__init__(network, device, precision)
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.description = description or {}

    def prepare(self, source: "Source", sample_rate: int | None = None) -> Prepared:
        """A file or an array (samples with their rate in Hz, RGB pixels) -> features. Raises UserError for bad ones."""
        return self.preprocessing(source, sample_rate)

    @torch.inference_mode()
    def encode(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features of some inputs, each (windows, ...) -> (inputs, 4096): the mean over an input's windows."""
        shapes = {tuple(feature.shape[1:]) for feature in features}
        if len(shapes) > 1:  # clips of different length, taken as they are, cannot share a batch
            return torch.cat([self.encode([feature]) for feature in features])
        with self.autocast():
            chunks = torch.cat(list(features)).split(self.batch_size)
            embeddings = torch.cat([self.network(chunk.to(self.device)).float() for chunk in chunks])
        return torch.stack([part.mean(dim=0) for part in embeddings.split([len(feature) for feature in features])])

    def encode_each(self, features: Sequence[torch.Tensor]) -> list[np.ndarray | str]:
        """The embedding (4096,) of each input, or a line that says why there is none: one by one where need be."""
        try:
            embeddings = self.encode(features).cpu().numpy()
        except Exception as error:  # whatever a network raises for one input must not stop the others
            if len(features) == 1:
                return [f"could not be encoded ({defect(error)})"]
            return [found for one in features for found in self.encode_each([one])]
        return [one if np.isfinite(one).all() else f"its embedding is {NOT_FINITE}" for one in embeddings]

    def __call__(self, source: "Source", sample_rate: int | None = None) -> np.ndarray:
        """A file or an array -> its embedding, (4096,) float32. Raises UserError for bad input."""
        return self.encode([self.prepare(source, sample_rate).features])[0].cpu().numpy()
