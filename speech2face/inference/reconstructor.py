"""Encoder and decoder together: a recording or a photo -> its embedding and its faces."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.inference.decoder import Decoder, Faces
from speech2face.inference.encoder import Encoder
from speech2face.preprocessing import Prepared

if TYPE_CHECKING:
    from speech2face.inference.encoder import Source


@dataclass
class Reconstruction:
    """The faces of an input and what they were made from. embedding: (4096,) float32."""

    embedding: np.ndarray
    faces: Faces
    prepared: Prepared

    @property
    def face(self) -> np.ndarray:
        """The most typical face, (height, width, 3) uint8 RGB."""
        return self.faces.image

    @property
    def landmarks(self) -> np.ndarray | None:
        """(72, 2) float32, x and y in pixels of the face, or None for a decoder without landmarks."""
        return self.faces.landmarks


class Reconstructor:
    """Files or arrays -> faces.

    stage: context manager by name ("encode", "decode"), to measure where the time goes.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        stage: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.stage = stage

    def reconstruct(self, prepared: Sequence[Prepared]) -> list[Reconstruction]:
        """Prepared inputs -> their faces. Raises ValueError where the encoder cannot take the features."""
        with self.stage("encode"):
            embeddings = self.encoder.encode([one.features for one in prepared])
        with self.stage("decode"):
            keys = [_key(one) for one in prepared] if self.decoder.samples else None
            faces = self.decoder(embeddings, keys)
            arrays = embeddings.cpu().numpy()
        return [Reconstruction(*one) for one in zip(arrays, faces, prepared, strict=True)]

    def __call__(self, source: "Source", sample_rate: int | None = None) -> Reconstruction:
        """A file, an array, or (speech) samples with their rate in Hz -> its faces. Raises UserError for bad input."""
        return self.reconstruct([self.encoder.prepare(source, sample_rate)])[0]


def _key(prepared: Prepared) -> bytes:
    """What tells an input from others, whatever the batch and the precision: a digest of its features."""
    return hashlib.sha256(prepared.features.contiguous().numpy().tobytes()).digest()
