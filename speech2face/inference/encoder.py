"""Recordings or photos -> 4096-D embeddings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from speech2face.errors import UserError, defect
from speech2face.inference.device import OnDevice
from speech2face.inference.estimates import Estimates
from speech2face.preprocessing import Prepared

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from speech2face.weights.front_end import FrontEnd
    from speech2face.weights.part import Description

    Source = str | os.PathLike[str] | np.ndarray | torch.Tensor | PillowImage.Image

NOT_FINITE = "not finite: damaged weights, or a precision too low for them"


class Encoder(OnDevice):
    """Front end, network, device and precision -> embeddings.

    network: features (batch, ...) -> embeddings (batch, 4096). preprocessing: front end (speech2face.preprocessing).
    batch_size: windows per pass through the network.
    description: class and arguments of the network and of the front end, part of the key of cached embeddings.
    estimates: of sex and age, from an embedding; None: there are none.

    Raises UserError for a device, precision or batch size that is not possible.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: "FrontEnd",
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 1,
        description: dict[str, "Description | None"] | None = None,
        estimates: Estimates | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        super().__init__(network, device, precision)
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.description = description or {}
        self.estimates = estimates or Estimates({})

    def prepare(self, source: "Source", sample_rate: int | None = None) -> Prepared:
        """A file, RGB pixels, or samples with their rate in Hz -> features and a report.

        Raises UserError for bad input.
        """
        if isinstance(source, os.PathLike):
            source = Path(os.fsdecode(source))
        return self.preprocessing(source, sample_rate)

    @torch.inference_mode()
    def encode(self, features: Sequence[torch.Tensor], weights: Sequence[list[float]] | None = None) -> torch.Tensor:
        """Features of inputs, each (windows, ...) -> embeddings (inputs, 4096), each the mean over its windows.

        weights: of the windows of each input, as in Prepared; None: equal ones.
        """
        weights = weights or [[]] * len(features)
        shapes = {tuple(one.shape[1:]) for one in features}
        if len(shapes) > 1:  # whole clips of different length cannot share a batch
            return torch.cat([self.encode([one], [own]) for one, own in zip(features, weights, strict=True)])
        with self.autocast():
            chunks = torch.cat(list(features)).split(self.batch_size)
            embeddings = torch.cat([self.network(chunk.to(self.device)).float() for chunk in chunks])
        parts = embeddings.split([len(one) for one in features])
        return torch.stack([mean(*one) for one in zip(parts, weights, strict=True)])

    def encode_each(
        self, features: Sequence[torch.Tensor], weights: Sequence[list[float]] | None = None
    ) -> list[np.ndarray | str]:
        """The embedding (4096,) of each input, or a line of text that says why there is none. weights: see `encode`.

        If the network raises an exception for a batch, the inputs are encoded one by one.
        """
        try:
            embeddings = self.encode(features, weights).cpu().numpy()
        except Exception as error:  # networks raise anything, and one input must not stop the others
            if len(features) == 1:
                return [f"could not be encoded ({defect(error)})"]
            weights = weights or [[]] * len(features)
            pairs = zip(features, weights, strict=True)
            return [found for one, own in pairs for found in self.encode_each([one], [own])]
        return [one if np.isfinite(one).all() else f"its embedding is {NOT_FINITE}" for one in embeddings]

    def __call__(self, source: "Source", sample_rate: int | None = None) -> np.ndarray:
        """A file, RGB pixels, or samples with their rate in Hz -> embedding (4096,) float32.

        Raises UserError for bad input.
        """
        prepared = self.prepare(source, sample_rate)
        return self.encode([prepared.features], [prepared.weights])[0].cpu().numpy()


def mean(embeddings: torch.Tensor, weights: list[float]) -> torch.Tensor:
    """The weighted mean (4096,) of embeddings (windows, 4096); without weights, the plain mean."""
    if not weights:
        return embeddings.mean(dim=0)
    shares = torch.tensor(weights, device=embeddings.device)
    return (embeddings * (shares / shares.sum())[:, None]).sum(dim=0)
