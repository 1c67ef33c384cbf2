"""A teacher: a face encoder whose descriptors of the training photos a student learns to predict."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from speech2face.errors import UserError
from speech2face.inference.cache import embed
from speech2face.inference.encoder import Encoder
from speech2face.preprocessing import Prepared

if TYPE_CHECKING:
    from speech2face.inference.encoder import Source


class Teacher(Encoder):
    """Photos -> descriptors (EncoderNetwork.descriptor). A photo without a face has none."""

    def prepare(self, source: "Source", sample_rate: int | None = None) -> Prepared:
        """As that of `Encoder`. Raises UserError if the front end seeks a face and finds none."""
        prepared = super().prepare(source, sample_rate)
        if prepared.measurements["faces"] == 0:
            raise UserError(f"{source}: no face found")
        return prepared

    @torch.inference_mode()
    def encode(self, features: Sequence[torch.Tensor], weights: Sequence[list[float]] | None = None) -> torch.Tensor:
        """Features of photos, each (1, 3, height, width) -> descriptors (photos, descriptor_size)."""
        with self.autocast():
            chunks = torch.cat(list(features)).split(self.batch_size)
            return torch.cat([self.network.descriptor(chunk.to(self.device)).float() for chunk in chunks])


def descriptors(
    root: Path, paths: Sequence[str], teacher: Teacher, directory: Path, workers: int, name: str
) -> np.ndarray:
    """Descriptors (n, descriptor_size) float32 of photos, from the cache or computed; NaN where there is no face.

    paths: relative to `root`. directory: of the cache of embeddings. name: of the photos, for the progress bar.
    """
    size = teacher.network.descriptor_size
    found = embed(root, paths, teacher, directory, workers, name, size)
    described = np.full((len(paths), size), np.nan, np.float32)
    known = [row for row, path in enumerate(paths) if path in found.digests]
    described[known] = found.of([paths[row] for row in known])[:]
    return described
