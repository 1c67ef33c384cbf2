"""The manifest: the part files that preparation writes as it measures, and the tables that it merges them into."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speech2face.data.parquet import open_table
from speech2face.files import atomic
from speech2face.preparation.sources import File

Row = dict[str, Any]  # of the manifest: value by column
ROWS = 4096  # rows per write
ODD_PEOPLE = 5  # with fewer people there is no basis for a bound between persons

_FILE = {"person": pa.string(), "path": pa.string(), "bytes": pa.int64(), "mtime_ns": pa.int64()}
_FILE |= {"sha256": pa.string(), "error": pa.string(), "note": pa.string()}
MEASURED = {
    "clips": _FILE
    | {"seconds": pa.float64(), "level_dbfs": pa.float64(), "speech_share": pa.float64()}
    | {"fbank_values": pa.int64(), "fbank_sum": pa.float64(), "fbank_squares": pa.float64()},
    "faces": _FILE
    | {"width": pa.int32(), "height": pa.int32(), "faces": pa.int32(), "face_score": pa.float64()}
    | {"box": pa.list_(pa.int32(), 4), "crop": pa.string()}
    | {"landmarks": pa.list_(pa.float32(), 144), "embedding": pa.list_(pa.float32(), 4096)},
}


class Part:
    """The rows that one process has measured: a stream of Arrow record batches in an append-only file.

    path: the file; it is created by the first `append`. kind: "clips" or "faces". note: metadata of the file.
    """

    def __init__(self, path: Path, kind: str, note: dict[str, str]) -> None:
        self.path, self.schema = path, pa.schema(MEASURED[kind]).with_metadata(note)
        if path.exists():
            _, whole = read_part(path)
            with open(path, "r+b") as file:  # a killed process may have left an incomplete last batch
                file.truncate(whole)

    def append(self, rows: list[Row]) -> None:
        """Append rows as one record batch, in one write."""
        batch = pa.RecordBatch.from_pylist(rows, self.schema)
        with open(self.path, "ab") as file:
            head = b"" if file.tell() else self.schema.serialize().to_pybytes()
            file.write(head + batch.serialize().to_pybytes())


def read_part(path: Path) -> tuple[pa.Table | None, int]:
    """The complete batches of a part file as a memory-mapped table, and the byte at which they end.

    The table is None if the file does not even hold the schema yet.
    """
    if not path.stat().st_size:
        return None, 0
    batches, whole = [], 0
    with pa.memory_map(str(path)) as file:
        try:
            stream = pa.ipc.open_stream(file)
            schema, whole = stream.schema, file.tell()
            while True:
                batches.append(stream.read_next_batch())
                whole = file.tell()
        except (StopIteration, pa.ArrowException, OSError):
            pass
    return (pa.Table.from_batches(batches, schema) if whole else None), whole


def measured(prepared: Path, kind: str, note: dict[str, str]) -> list[pa.Table]:
    """The tables whose metadata agree with `note`: the last manifest, then the parts written since."""
    tables = [open_table(prepared / f"{kind}.parquet")] if (prepared / f"{kind}.parquet").exists() else []
    tables += [table for path in sorted((prepared / "parts").glob(f"{kind}-*")) if (table := read_part(path)[0])]
    wanted = {key.encode(): value.encode() for key, value in note.items()}
    return [
        table.select(list(MEASURED[kind]))
        for table in tables
        if set(MEASURED[kind]) <= set(table.column_names) and wanted.items() <= (table.schema.metadata or {}).items()
    ]


def done(tables: Sequence[pa.Table]) -> dict[tuple[str, int, int], int]:
    """The row number of each measured file in the concatenation of the tables, by path, size and mtime_ns."""
    keys = (
        zip(*(table[column].to_pylist() for column in ("path", "bytes", "mtime_ns")), strict=True) for table in tables
    )
    return {key: row for row, key in enumerate(key for rows in keys for key in rows)}


def key(file: File) -> tuple[str, int, int]:
    """The key of a file in the result of `done`."""
    return file.path, file.size, file.mtime_ns


def merge(
    prepared: Path,
    kind: str,
    files: Sequence[File],
    splits: dict[str, str],
    traits: dict[str, dict[str, str]],
    note: dict[str, str],
) -> pa.Table:
    """Write <kind>.parquet and its memory-mappable copy <kind>.arrow, and return the table.

    files: sorted by person and path, all measured under `note`. The rows keep their order, so the same files give the
    same bytes. The table has the measured columns and `split`; `status`, one of ok, failed, duplicate; `problem`, a
    text or null; and the person's traits.
    """
    measured_tables = measured(prepared, kind, note)
    row_of = done(measured_tables)
    rows = np.array([row_of[key(file)] for file in files], np.int64)
    table = pa.concat_tables(measured_tables) if measured_tables else pa.schema(MEASURED[kind]).empty_table()
    people = [file.person for file in files]
    errors, notes, digests = (table[name].take(rows).to_pylist() for name in ("error", "note", "sha256"))
    status = ["failed" if error else "ok" for error in errors]
    problems = [error or note for error, note in zip(errors, notes, strict=True)]
    first: dict[str, int] = {}
    for i, digest in enumerate(digests):
        if status[i] == "ok" and first.setdefault(digest, i) != i:
            status[i], problems[i] = "duplicate", f"the same content as {files[first[digest]].path}"
    if kind == "faces":
        for i in odd_ones(table, rows, people, status):
            flag = "does not look like the other photos of this person"
            problems[i] = f"{problems[i]}; {flag}" if problems[i] else flag
    names = sorted({name for one in traits.values() for name in one} - {"person", "split", *MEASURED[kind]})
    columns = {
        "person": people,
        "split": [splits[person] for person in people],
        "status": status,
        "problem": problems,
        **{name: [traits.get(person, {}).get(name) or None for person in people] for name in names},
    }
    added = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    schema = pa.schema([*added.schema, *(field for field in table.schema if field.name != "person")], note)
    target = prepared / f"{kind}.parquet"
    with (
        atomic(target.with_suffix(".arrow")) as mapped,
        atomic(target) as partial,
        pa.ipc.new_file(str(mapped), schema) as arrow,
        pq.ParquetWriter(partial, schema, compression="zstd") as parquet,
    ):
        for start in range(0, len(rows), ROWS):
            chunk = table.take(rows[start : start + ROWS])
            parts = {name: added[name].slice(start, ROWS) for name in added.column_names}
            parts |= {name: chunk[name] for name in chunk.column_names if name != "person"}
            chunk = pa.table(parts, schema)
            arrow.write_table(chunk)
            parquet.write_table(chunk)
    return open_table(target)


def odd_ones(table: pa.Table, rows: np.ndarray, people: Sequence[str], status: Sequence[str]) -> Iterator[int]:
    """Indices of photos that probably show another person than the one whose folder they are in.

    The cosine of each photo's embedding and the mean of the person's other photos is compared with a bound. The bound
    is half-way between two medians: that of these cosines, and that of the cosines with the mean of the next person.
    With fewer than ODD_PEOPLE people who have two photos, no photo is odd.
    """
    photos_of = defaultdict(list)
    for i, person in enumerate(people):
        if status[i] == "ok":
            photos_of[person].append(i)
    photos_of = {person: photos for person, photos in photos_of.items() if len(photos) > 1}
    if len(photos_of) < ODD_PEOPLE:
        return
    members, own, others, last = [], [], [], np.zeros((0, 4096), np.float32)
    for photos in photos_of.values():
        embeddings = table["embedding"].take(rows[photos]).combine_chunks().flatten().to_numpy()
        embeddings = embeddings.reshape(len(photos), -1)
        embeddings = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
        total = embeddings.sum(0)
        members += photos
        own += [cosines(one[None], total - one)[0] for one in embeddings]
        others += cosines(last, total)
        last = embeddings
    bound = (np.median(own) + np.median(others)) / 2
    yield from (i for i, cosine in zip(members, own, strict=True) if cosine < bound)


def cosines(embeddings: np.ndarray, to: np.ndarray) -> list[float]:
    """Cosines of embeddings of unit length (n, 4096) and a vector (4096,)."""
    return (embeddings @ to / np.maximum(np.linalg.norm(to), 1e-9)).tolist()
