"""Cache of embeddings, keyed by the content of the file and by the encoder."""

import fcntl
import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from speech2face.errors import UserError, defect, reason
from speech2face.files import sha256
from speech2face.inference.encoder import Encoder
from speech2face.inference.threads import ahead, map_batches, reading_threads

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Item = TypeVar("Item")
WIDTH, LINE = 4096, 65  # numbers of an embedding; bytes of a SHA-256 and its line end


class Array(Protocol):
    """An array (n, 4096) that is read when it is indexed by one row or several."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray: ...


class Embeddings:
    """Rows of a memory-mapped array as (n, 4096) float32. They are read when they are indexed."""

    ndim = 2

    def __init__(self, array: np.ndarray | Array, rows: Sequence[int] | np.ndarray) -> None:
        self.array, self.rows = array, np.asarray(rows, np.int64)
        self.shape = (len(self.rows), array.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | np.ndarray | Sequence[int]) -> np.ndarray:
        return self.array[self.rows[index]]

    def __array__(self, dtype: "DTypeLike | None" = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class Cache:
    """Embeddings on disk: a file of rows and a file of their SHA-256. One process at a time appends to both.

    directory: of the caches of all encoders. what: everything, besides the file, that an embedding depends on, as plain
    data (see identity). width: numbers of an embedding.
    """

    def __init__(self, directory: Path, what: dict[str, Any], width: int = WIDTH) -> None:
        self.width = width
        text = json.dumps(what, sort_keys=True, default=str)
        self.folder = directory / hashlib.sha256(text.encode()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "what.json").write_text(text + "\n")
        for name in ("embeddings.f32", "sha256.txt"):
            open(self.folder / name, "a").close()
        self.count, self.rows = 0, {}
        self._read()

    def _read(self) -> None:
        """Read the SHA-256 of further complete rows. A killed process may have left incomplete ones at the end."""
        with open(self.folder / "sha256.txt", "rb") as index:
            index.seek(LINE * self.count)
            text = index.read()
        self.size = LINE * self.count + len(text)
        lines = [text[i : i + LINE] for i in range(0, len(text), LINE)]
        whole = next((i for i, line in enumerate(lines) if not re.fullmatch(rb"[0-9a-f]{64}\n", line)), len(lines))
        stored = (self.folder / "embeddings.f32").stat().st_size // (4 * self.width)
        more = lines[: max(min(whole, stored - self.count), 0)]
        self.rows |= {line[:-1].decode(): self.count + row for row, line in enumerate(more)}
        self.count += len(more)

    def add(self, digests: Sequence[str], embeddings: np.ndarray) -> None:
        """Append embeddings (n, width) float32 of files, given by their SHA-256."""
        with open(self.folder / "sha256.txt", "r+") as index, open(self.folder / "embeddings.f32", "r+b") as data:
            fcntl.flock(index, fcntl.LOCK_EX)
            if os.fstat(index.fileno()).st_size != self.size:  # another process has appended
                self._read()
            index.truncate(LINE * self.count)
            data.truncate(4 * self.width * self.count)
            data.seek(0, os.SEEK_END)
            data.write(np.ascontiguousarray(embeddings, np.float32))
            data.flush()
            index.seek(0, os.SEEK_END)
            index.write("".join(f"{digest}\n" for digest in digests))
            self.rows |= {digest: self.count + i for i, digest in enumerate(digests)}
            self.count += len(digests)
            self.size = LINE * self.count

    def __getitem__(self, digests: Sequence[str]) -> Embeddings:
        shape = (self.count, self.width)
        array = (
            np.memmap(self.folder / "embeddings.f32", np.float32, "r", shape=shape) if self.count else np.zeros(shape)
        )
        return Embeddings(array, [self.rows[digest] for digest in digests])


@dataclass
class Embedded:
    """The result of `embed`.

    cache: with the embeddings. digests: SHA-256 by path, of files that have an embedding. errors: the reason by path,
    of files that have none.
    """

    cache: Cache
    digests: dict[str, str]
    errors: dict[str, str]

    def of(self, paths: Sequence[str]) -> Embeddings:
        """The embeddings (n, 4096) of some of the files."""
        return self.cache[[self.digests[path] for path in paths]]


def embed(
    root: Path, paths: Sequence[str], encoder: Encoder, directory: Path, workers: int, name: str, width: int = WIDTH
) -> Embedded:
    """Embeddings of files, from the cache; embeddings that it lacks are computed and added.

    paths: relative to `root`. directory: of the cache. workers: threads that read files while the network runs.
    name: of the files, for the progress bar. width: numbers of an embedding.
    """
    cache = Cache(directory, identity(encoder), width)
    errors: dict[str, str] = {}
    paths = list(dict.fromkeys(paths))

    def digest(path: str) -> str | None:
        try:
            return sha256(root / path)
        except OSError as error:
            errors[path] = reason(error, root / path)
            return None

    def prepare(path: str) -> tuple[torch.Tensor, list[float]] | None:
        try:
            prepared = encoder.prepare(root / path)
            return prepared.features, prepared.weights
        except UserError as error:
            errors[path] = reason(error, root / path)
        except Exception as error:  # codecs raise anything, and one file must not stop the others
            errors[path] = f"could not be prepared ({defect(error)})"
        return None

    def encode(batch: list[tuple[str, tuple[torch.Tensor, list[float]]]]) -> dict[str, np.ndarray | str]:
        names, inputs = zip(*batch, strict=True)
        return dict(zip(names, encoder.encode_each(*map(list, zip(*inputs, strict=True))), strict=True))

    with reading_threads(workers) as executor, map_batches(encoder) as each:
        found = tqdm(executor.map(digest, paths), f"reading {name}", len(paths), unit="file", delay=2)
        digests = {path: one for path, one in zip(paths, found, strict=True) if one}
        missing = {one: path for path, one in digests.items() if one not in cache.rows}
        prepared = ahead(executor, lambda item: (item[0], prepare(item[1])), missing.items(), 4 * workers)
        good = (
            (one, found)
            for one, found in tqdm(prepared, f"encoding {name}", len(missing), unit="file")
            if found is not None
        )
        for encoded in each(encode, batches(good, max(16, encoder.batch_size))):
            failed = {one: error for one, error in encoded.items() if isinstance(error, str)}
            errors |= {missing[one]: error for one, error in failed.items()}
            if kept := {one: embedding for one, embedding in encoded.items() if one not in failed}:
                cache.add(list(kept), np.stack(list(kept.values())))
    for path, one in digests.items():
        if one not in cache.rows and path not in errors:  # a file with the same content was tried instead
            errors[path] = errors[missing[one]]
    return Embedded(cache, {path: one for path, one in digests.items() if one in cache.rows}, errors)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items. The last one may be shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def identity(encoder: Encoder) -> dict[str, Any]:
    """Everything, besides the file, that an embedding depends on, as plain data.

    This is the description and versions of the front end; the description, code and weights of the network; and
    precision and kind of device.
    """
    return {
        "encoder": encoder.description,
        "front_end": encoder.preprocessing.versions,
        "code": hashlib.sha256(Path(inspect.getfile(type(encoder.network))).read_bytes()).hexdigest(),
        "weights": weights_digest(encoder.network),
        "precision": encoder.precision,
        "device": encoder.device.type,
    }


def weights_digest(network: torch.nn.Module) -> str:
    """SHA-256 of the names and contents of a network's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
