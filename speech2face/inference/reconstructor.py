"""Encoder and decoder together: a recording or a photo -> embedding and faces."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from speech2face.inference.decoder import Decoder, Faces
from speech2face.inference.encoder import NOT_FINITE, Encoder
from speech2face.inference.estimates import NOTHING, Estimate
from speech2face.inference.threads import after_the_networks, ahead
from speech2face.preprocessing import Prepared

if TYPE_CHECKING:
    from speech2face.inference.encoder import Source


@dataclass
class Reconstruction:
    """The result of one input.

    embedding: (4096,) float32. faces: decoded from it; None without a decoder. prepared: the encoder's input. estimate:
    sex and age that the embedding tells.
    """

    embedding: np.ndarray
    faces: Faces | None
    prepared: Prepared
    estimate: Estimate = NOTHING

    @property
    def face(self) -> np.ndarray:
        """The most typical face, (height, width, 3) uint8 RGB."""
        return self.faces.image

    @property
    def landmarks(self) -> np.ndarray | None:
        """Landmarks of that face, (72, 2) float32 as x, y in pixels, or None for a decoder without landmarks."""
        return self.faces.landmarks


class Reconstructor:
    """Files or arrays -> embeddings and faces. It can be pickled, and called from several threads.

    decoder: None: only embeddings are computed.
    stage: returns a context manager for a stage ("encode", "decode"), which can measure its time.
    workers: threads that read the files of a list while the networks run.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder | None,
        stage: Callable[[str], AbstractContextManager[None]] = nullcontext,
        workers: int = 2,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.stage = stage
        self.workers = workers

    def reconstruct(self, prepared: Sequence[Prepared]) -> list[Reconstruction]:
        """Prepared inputs -> reconstructions.

        Raises ValueError if the encoder cannot take the features, or if an embedding or a face is not finite.
        """
        with self.stage("encode"):
            embeddings = self.encoder.encode([one.features for one in prepared], [one.weights for one in prepared])
        faces: Sequence[Faces | None] = [None] * len(prepared)
        if self.decoder:
            with self.stage("decode"):
                keys = [_key(one) for one in prepared] if self.decoder.samples else None
                faces = self.decoder(embeddings, keys)
        elif not bool(embeddings.isfinite().all()):
            raise ValueError(NOT_FINITE)
        arrays = embeddings.cpu().numpy()
        estimates = map(self.encoder.estimates, arrays)
        return [Reconstruction(*one) for one in zip(arrays, faces, prepared, estimates, strict=True)]

    @overload
    def __call__(self, source: "Source", sample_rate: int | None = None) -> Reconstruction: ...

    @overload
    def __call__(self, source: "list[str | Path] | tuple[str | Path, ...]") -> list[Reconstruction]: ...

    def __call__(
        self, source: "Source | list[str | Path] | tuple[str | Path, ...]", sample_rate: int | None = None
    ) -> Reconstruction | list[Reconstruction]:
        """A file, RGB pixels, or samples with their rate in Hz -> reconstruction.

        A list of files gives a list of reconstructions in the same order. They are computed in batches, while other
        threads read the next files. Raises UserError for bad input, and for the first file of a list that is bad.
        """
        if isinstance(source, list | tuple) and sample_rate is None and all(map(_is_path, source)):
            return self._reconstruct_files(source)
        return self.reconstruct([self.encoder.prepare(source, sample_rate)])[0]

    def _reconstruct_files(self, paths: "Sequence[str | Path]") -> list[Reconstruction]:
        results: list[Reconstruction] = []
        batch: list[Prepared] = []
        with ThreadPoolExecutor(self.workers, "prepare", after_the_networks) as executor:
            try:
                for prepared in ahead(executor, self.encoder.prepare, paths, self.workers + 1):
                    batch.append(prepared)
                    if sum(len(one.features) for one in batch) >= self.encoder.batch_size:
                        results += self.reconstruct(batch)
                        batch = []
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise
        return results + (self.reconstruct(batch) if batch else [])


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _key(prepared: Prepared) -> bytes:
    """A digest of an input's features. Unlike its embedding, it does not depend on batch and precision."""
    return hashlib.sha256(prepared.features.contiguous().numpy().tobytes()).digest()
