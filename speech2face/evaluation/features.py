"""Features of many files, encoded once: kept by what is in a file and by what encodes it."""

import fcntl
import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from speech2face import __version__
from speech2face.dataset import Dataset
from speech2face.errors import UserError, reason
from speech2face.files import sha256
from speech2face.pipelines.reconstruct import ahead
from speech2face.reconstructor import Reconstructor

WIDTH, LINE = 4096, 65


class Features:
    """Rows of a memory-mapped array, read when they are indexed: (n, 4096) float32."""

    ndim = 2

    def __init__(self, array: np.ndarray, rows: Sequence[int]) -> None:
        self.array, self.rows = array, np.asarray(rows, np.int64)
        self.shape = (len(self.rows), array.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.array[self.rows[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class Cache:
    """Features on disk: one file of rows, one of their SHA-256, both only ever appended to, by one process at a time.

    directory: of all encoders. what: everything that a feature depends on besides the file: a dictionary of plain data.
    """

    def __init__(self, directory: Path, what: dict[str, Any]) -> None:
        text = json.dumps(what, sort_keys=True, default=str)
        self.folder = directory / hashlib.sha256(text.encode()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "what.json").write_text(text + "\n")
        for name in ("features.f32", "sha256.txt"):
            open(self.folder / name, "a").close()
        self._read()

    def _read(self) -> None:
        """Rows that are there whole: a killed process may have left a part of the last ones."""
        text = (self.folder / "sha256.txt").read_bytes()
        self.size = len(text)
        lines = [text[i : i + LINE] for i in range(0, len(text), LINE)]
        whole = (i for i, line in enumerate(lines) if not re.fullmatch(rb"[0-9a-f]{64}\n", line))
        self.count = min(next(whole, len(lines)), (self.folder / "features.f32").stat().st_size // (4 * WIDTH))
        self.rows = {line[:-1].decode(): row for row, line in enumerate(lines[: self.count])}

    def add(self, digests: Sequence[str], features: np.ndarray) -> None:
        """Keep (n, 4096) float32 features of files by their SHA-256."""
        with open(self.folder / "sha256.txt", "r+") as index, open(self.folder / "features.f32", "r+b") as data:
            fcntl.flock(index, fcntl.LOCK_EX)
            if os.fstat(index.fileno()).st_size != self.size:  # another process has added to it
                self._read()
            index.truncate(LINE * self.count)
            data.truncate(4 * WIDTH * self.count)
            data.seek(0, os.SEEK_END)
            data.write(np.ascontiguousarray(features, np.float32))
            data.flush()
            index.seek(0, os.SEEK_END)
            index.write("".join(f"{digest}\n" for digest in digests))
            self.rows |= {digest: self.count + i for i, digest in enumerate(digests)}
            self.count += len(digests)
            self.size = LINE * self.count

    def __getitem__(self, digests: Sequence[str]) -> Features:
        shape = (self.count, WIDTH)
        array = np.memmap(self.folder / "features.f32", np.float32, "r", shape=shape) if self.count else np.zeros(shape)
        return Features(array, [self.rows[digest] for digest in digests])


@dataclass
class Encoded:
    """Files that have features, by path their SHA-256; and those that could not be read, by path the reason."""

    cache: Cache
    digests: dict[str, str]
    errors: dict[str, str]

    def of(self, paths: Sequence[str]) -> Features:
        return self.cache[[self.digests[path] for path in paths]]


def encode(
    root: Path,
    paths: Sequence[str],
    reconstructor: Reconstructor,
    configured: dict[str, Any],
    directory: Path,
    workers: int,
    name: str,
) -> Encoded:
    """Bring the features of files below `root` into the cache in `directory`: those that are not there yet.

    configured: encoder and front end, by which the cache tells them apart. workers: threads that read files meanwhile.
    """
    what = {
        "version": __version__,
        **encoded_by(reconstructor.encoder, reconstructor.preprocessing, configured),
        "precision": str(reconstructor.dtype),
        "device": reconstructor.device.type,
    }
    cache, errors = Cache(directory, what), {}
    paths = list(dict.fromkeys(paths))

    def digest(path: str) -> str | None:
        try:
            return sha256(root / path)
        except OSError as error:
            errors[path] = reason(error, root / path)
            return None

    def prepare(path: str) -> torch.Tensor | None:
        try:
            return reconstructor.preprocessing(root / path).features
        except UserError as error:
            errors[path] = reason(error, root / path)
        except Exception as error:  # one file must not stop the others, whatever a decoder makes of it
            errors[path] = f"could not be prepared ({type(error).__name__}: {' '.join(str(error).split())})"
        return None

    with ThreadPoolExecutor(workers) as executor:
        found = tqdm(executor.map(digest, paths), f"reading {name}", len(paths), unit="file", delay=2)
        digests = {path: one for path, one in zip(paths, found, strict=True) if one}
        missing = {one: path for path, one in digests.items() if one not in cache.rows}
        prepared = ahead(executor, lambda item: (item[0], prepare(item[1])), missing.items(), 4 * workers)
        good = (
            (one, features)
            for one, features in tqdm(prepared, f"encoding {name}", len(missing), unit="file")
            if features is not None
        )
        for batch in batches(good, max(16, reconstructor.batch_size)):
            found = encode_batch(reconstructor, [features for _, features in batch])
            encoded = {one: embedding for (one, _), embedding in zip(batch, found, strict=True)}
            failed = {one: error for one, error in encoded.items() if isinstance(error, str)}
            errors |= {missing[one]: error for one, error in failed.items()}
            if kept := {one: embedding for one, embedding in encoded.items() if one not in failed}:
                cache.add(list(kept), np.stack(list(kept.values())))
    for path, one in digests.items():
        if one not in cache.rows and path not in errors:  # of two files with the same content, one was tried
            errors[path] = errors[missing[one]]
    return Encoded(cache, {path: one for path, one in digests.items() if one in cache.rows}, errors)


class Mapped:
    """Features (n, 4096) of prepared/faces.parquet, mapped into memory in chunks of one size."""

    def __init__(self, column: Any) -> None:
        values = [chunk.values for chunk in column.chunks]  # with nulls, which to_numpy would copy
        buffers = [np.frombuffer(one.buffers()[1], np.float32, len(one), 4 * one.offset) for one in values]
        self.chunks = [one.reshape(-1, WIDTH) for one in buffers]
        self.shape = (len(column), WIDTH)

    def __getitem__(self, rows: Any) -> np.ndarray:
        size = len(self.chunks[0])
        if np.ndim(rows) == 0:
            return self.chunks[rows // size][rows % size]
        return np.stack([self.chunks[row // size][row % size] for row in rows])


def of_photos(
    dataset: Dataset,
    people: Sequence[str],
    reconstructor: Reconstructor,
    configured: dict[str, Any],
    directory: Path,
    workers: int,
    name: str,
) -> tuple[Features, np.ndarray, list[str], dict[str, str]]:
    """Features of everybody's photos: as pipeline=prepare left them, if by this encoder, or encoded as by `encode`.

    Returns features (n, 4096); starts (len(people) + 1,): person i has the rows from starts[i] to starts[i + 1]; paths
    (n,) of the photos; and by path the reason why one could not be read.
    """
    files = dataset.files["face"]
    rows = [row for person in people for row in files.of(person)]
    paths = [files.path(row) for row in rows]
    counts = [len(files.of(person)) for person in people]
    by = json.dumps(encoded_by(reconstructor.encoder, reconstructor.preprocessing, configured), sort_keys=True)
    if files.table is not None and (files.table.schema.metadata or {}).get(b"encoder") == by.encode():
        return Features(Mapped(files.table["feature"]), files.rows[rows]), np.cumsum([0, *counts]), paths, {}
    found = encode(dataset.root, paths, reconstructor, configured, directory, workers, name)
    good = [path in found.digests for path in paths]
    starts = np.cumsum([0, *good])[np.cumsum([0, *counts])]
    paths = [path for path in paths if path in found.digests]
    return found.of(paths), starts, paths, found.errors


def encode_batch(reconstructor: Reconstructor, features: list[torch.Tensor]) -> list[np.ndarray | str]:
    """The embedding (4096,) of each input, or the line that says why it has none: one by one where need be."""
    try:
        embeddings = reconstructor.encode(features).cpu().numpy()
    except Exception as error:  # what an encoder makes of one input must not stop the others
        if len(features) == 1:
            return [f"could not be encoded ({type(error).__name__}: {' '.join(str(error).split())})"]
        return [found for one in features for found in encode_batch(reconstructor, [one])]
    damaged = "its feature is not finite: damaged weights, or a precision too low for them"
    return [embedding if np.isfinite(embedding).all() else damaged for embedding in embeddings]


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` items, the last of what is left."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def encoded_by(encoder: torch.nn.Module, preprocessing: Any, configured: dict[str, Any]) -> dict[str, Any]:
    """What a feature depends on besides the file, and but for the last digits: plain data."""
    code = code_digest(encoder, preprocessing)
    return {"code": code, "weights": weights_digest(encoder), "configured": configured}


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of a network's tensors, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def code_digest(*objects: Any) -> str:
    """SHA-256 of the modules that define some objects' classes."""
    digest = hashlib.sha256()
    for one in objects:
        digest.update(Path(inspect.getfile(type(one))).read_bytes())
    return digest.hexdigest()
