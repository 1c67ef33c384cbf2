"""Encoder and decoder together: a recording or a photo -> embedding and faces."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from speech2face.inference.decoder import Decoder, Faces
from speech2face.inference.encoder import Encoder
from speech2face.preprocessing import Prepared

if TYPE_CHECKING:
    from speech2face.inference.encoder import Source


@dataclass
class Reconstruction:
    """The result of one input. embedding: (4096,) float32. faces: decoded from it. prepared: the encoder's input."""

    embedding: np.ndarray
    faces: Faces
    prepared: Prepared

    @property
    def face(self) -> np.ndarray:
        """The most typical face, (height, width, 3) uint8 RGB."""
        return self.faces.image

    @property
    def landmarks(self) -> np.ndarray | None:
        """Landmarks of that face, (72, 2) float32 as x, y in pixels, or None for a decoder without landmarks."""
        return self.faces.landmarks


class Reconstructor:
    """Files or arrays -> embeddings and faces.

    stage: returns a context manager for a stage ("encode", "decode"), which can measure its time.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        stage: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.stage = stage

    def reconstruct(self, prepared: Sequence[Prepared]) -> list[Reconstruction]:
        """Prepared inputs -> reconstructions.

        Raises ValueError if the encoder cannot take the features, or if an embedding or a face is not finite.
        """
        with self.stage("encode"):
            embeddings = self.encoder.encode([one.features for one in prepared])
        with self.stage("decode"):
            keys = [_key(one) for one in prepared] if self.decoder.samples else None
            faces = self.decoder(embeddings, keys)
            arrays = embeddings.cpu().numpy()
        return [Reconstruction(*one) for one in zip(arrays, faces, prepared, strict=True)]

    def __call__(self, source: "Source", sample_rate: int | None = None) -> Reconstruction:
        """A file, RGB pixels, or samples with their rate in Hz -> reconstruction. Raises UserError for bad input."""
        return self.reconstruct([self.encoder.prepare(source, sample_rate)])[0]


def _key(prepared: Prepared) -> bytes:
    """A digest of an input's features. Unlike its embedding, it does not depend on batch and precision."""
    return hashlib.sha256(prepared.features.contiguous().numpy().tobytes()).digest()
