"""embeddings.parquet: all embeddings of a run in one table, and the store in which they are until the run ends."""

import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.data.folders import SPELT
from speech2face.data.parquet import write_embeddings
from speech2face.run.results import rows_done

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from speech2face.inference.cache import Cache

EMBEDDINGS = "embeddings.parquet"
STORE = ".embeddings"  # folder of the store
GROUP = 1024  # rows of a row group of the table


def open_store(directory: Path) -> "Cache":
    """The store of a run: embeddings by SHA-256 of the input. What a killed run has added is in it."""
    from speech2face.inference.cache import Cache

    return Cache(directory / STORE, {})


def restored(directory: Path) -> "Cache":
    """The store of a run that is resumed, with the embeddings of its table, if it has ended before."""
    store = open_store(directory)
    for digests, embeddings in read_table(directory) if (directory / EMBEDDINGS).exists() else ():
        new = {digest: row for row, digest in enumerate(digests) if digest not in store.rows}
        if new:
            store.add(list(new), embeddings[list(new.values())])
    return store


def read_table(directory: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """The row groups of a run's table in order: SHA-256 of the inputs (n,), embeddings (n, 4096)."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(directory / EMBEDDINGS) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, ["sha256"])["sha256"].to_pylist(), _embeddings(file, number)


def reader(directory: Path) -> Callable[[str], np.ndarray | None]:
    """A function from the SHA-256 of an input to its embedding (4096,) in a run's table, or to None.

    It is quick if it is asked in the order of the table, because the last row group stays in memory.
    """
    import pyarrow.parquet as pq

    if not (directory / EMBEDDINGS).exists():
        return lambda digest: None
    file = pq.ParquetFile(directory / EMBEDDINGS)
    row_of = {digest: row for row, digest in enumerate(file.read(["sha256"])["sha256"].to_pylist())}
    group = lru_cache(1)(partial(_embeddings, file))

    def find(digest: str) -> np.ndarray | None:
        row = row_of.get(digest)
        return None if row is None else group(row // GROUP)[row % GROUP]

    return find


def _embeddings(file: "pq.ParquetFile", number: int) -> np.ndarray:
    """The embeddings (n, 4096) of a row group."""
    values = file.read_row_group(number, ["embedding"])["embedding"].combine_chunks()
    return values.flatten().to_numpy().reshape(len(values), -1)


def write_table(directory: Path, store: "Cache") -> None:
    """Write the table, with a row for every row of results.csv that is done, and remove the store.

    The columns are input, person (see person_of), sha256 and embedding.
    """
    rows = rows_done(directory)

    def batch(some: list[dict[str, str]]) -> tuple[dict[str, list[str | None]], np.ndarray]:
        inputs = [_readable(row["input"]) for row in some]
        people = [person_of(Path(one)) for one in inputs]
        digests = [row["sha256"] for row in some]
        return {"input": inputs, "person": people, "sha256": digests}, store[digests][:]

    if store.count:
        write_embeddings(directory / EMBEDDINGS, map(batch, iter(lambda: list(islice(rows, GROUP)), [])))
    shutil.rmtree(directory / STORE)


def person_of(file: Path) -> str | None:
    """The person of a file in the layout of a dataset, <person>/audios/** or <person>/images/**; None elsewhere."""
    folders = [folder for folder in file.parents if folder.name.lower() in set.union(*SPELT.values())]
    return folders[0].parent.name or None if folders else None


def _readable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode("utf-8", "replace")
