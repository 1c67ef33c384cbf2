"""Embeddings of a dataset's photos: read from prepared/faces.parquet, or computed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.data.dataset import Dataset
from speech2face.inference.cache import WIDTH, Embeddings, embed, identity
from speech2face.inference.encoder import Encoder

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class PhotoEmbeddings:
    """Embeddings of the photos of some people.

    embeddings: (n, 4096). starts: (people + 1,); rows starts[i] to starts[i + 1] are those of person i. paths: the n
    photos. errors: by path, the reason why a photo could not be read.
    """

    embeddings: Embeddings
    starts: np.ndarray
    paths: list[str]
    errors: dict[str, str]


class Mapped:
    """The memory-mapped embeddings (n, 4096) of prepared/faces.parquet. All chunks except the last have one size."""

    def __init__(self, column: "pa.ChunkedArray") -> None:
        values = [chunk.values for chunk in column.chunks]  # to_numpy would copy them, because of nulls
        buffers = [np.frombuffer(one.buffers()[1], np.float32, len(one), 4 * one.offset) for one in values]
        self.chunks = [one.reshape(-1, WIDTH) for one in buffers]
        self.shape = (len(column), WIDTH)

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray:
        size = len(self.chunks[0])
        if np.ndim(rows) == 0:
            return self.chunks[rows // size][rows % size]
        return np.stack([self.chunks[row // size][row % size] for row in rows])


def embed_photos(
    dataset: Dataset, people: Sequence[str], encoder: Encoder, directory: Path, workers: int, name: str
) -> PhotoEmbeddings:
    """Embeddings of all photos of some people, of whom some may have none.

    They are read from prepared/faces.parquet if that table was made with the same encoder. Otherwise `embed` computes
    them, and a photo that cannot be read has an entry in `errors` instead of a row.
    directory: the cache of embeddings. name: the label of the progress bar.
    """
    files = dataset.files["face"]
    owned = [files.of(person) if person in files else () for person in people]
    rows = [row for one in owned for row in one]
    paths = [files.path(row) for row in rows]
    ends = np.cumsum([0, *map(len, owned)])
    by = json.dumps(identity(encoder), sort_keys=True)
    if files.table is not None and (files.table.schema.metadata or {}).get(b"encoder") == by.encode():
        return PhotoEmbeddings(Embeddings(Mapped(files.table["embedding"]), files.rows[rows]), ends, paths, {})
    found = embed(dataset.root, paths, encoder, directory, workers, name)
    good = [path in found.digests for path in paths]
    starts = np.cumsum([0, *good])[ends]
    paths = [path for path in paths if path in found.digests]
    return PhotoEmbeddings(found.of(paths), starts, paths, found.errors)
