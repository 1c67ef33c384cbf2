"""The manifest: rows as they are measured, and the tables that training and evaluation read."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speech2face.data.dataset import open_table
from speech2face.files import atomic
from speech2face.preparation.sources import File

ROWS = 4096  # that are written together
ODD_PEOPLE = 5  # fewer do not tell what is odd

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
    """Rows of one process as they are measured: a stream of record batches in one file, only ever appended to."""

    def __init__(self, path: Path, kind: str, note: dict[str, str]) -> None:
        self.path, self.schema = path, pa.schema(MEASURED[kind]).with_metadata(note)
        if path.exists():
            _, whole = read_part(path)
            with open(path, "r+b") as file:  # a killed process may have left a part of the last batch
                file.truncate(whole)

    def append(self, rows: list[dict[str, Any]]) -> None:
        batch = pa.RecordBatch.from_pylist(rows, self.schema)
        with open(self.path, "ab") as file:
            head = b"" if file.tell() else self.schema.serialize().to_pybytes()
            file.write(head + batch.serialize().to_pybytes())


def read_part(path: Path) -> tuple[pa.Table | None, int]:
    """What there is of a part, mapped into memory, and at which byte it ends. None: nothing yet."""
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
    """Tables of rows that were measured under the same `note`: of the last manifest, and of the parts since."""
    tables = [open_table(prepared / f"{kind}.parquet")] if (prepared / f"{kind}.parquet").exists() else []
    tables += [table for path in sorted((prepared / "parts").glob(f"{kind}-*")) if (table := read_part(path)[0])]
    wanted = {key.encode(): value.encode() for key, value in note.items()}
    return [
        table.select(list(MEASURED[kind]))
        for table in tables
        if set(MEASURED[kind]) <= set(table.column_names) and wanted.items() <= (table.schema.metadata or {}).items()
    ]


def done(tables: Sequence[pa.Table]) -> dict[tuple[str, int, int], int]:
    """Row, of all tables together, of each file as it was: by path, size and time of its last change."""
    keys = (
        zip(*(table[column].to_pylist() for column in ("path", "bytes", "mtime_ns")), strict=True) for table in tables
    )
    return {key: row for row, key in enumerate(key for rows in keys for key in rows)}


def key(file: File) -> tuple[str, int, int]:
    return file.path, file.size, file.mtime_ns


def merge(
    prepared: Path,
    kind: str,
    files: Sequence[File],
    splits: dict[str, str],
    traits: dict[str, dict[str, str]],
    note: dict[str, str],
) -> pa.Table:
    """Write <kind>.parquet, and <kind>.arrow to map into memory, of files that are all measured; returns the table.

    Rows are sorted by person and path, so that the same files give the same bytes. Besides what was measured: `split`;
    `status`, one of ok, failed, duplicate; `problem`, in words, where there is one; and the person's traits.
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
    """Photos that are nearer to being somebody else than their own folder's person.

    A photo is compared, by cosine of features, with the mean of the person's other photos; half-way between the median
    of that and the median against the mean of the next person's photos is the bound.
    """
    of = defaultdict(list)
    for i, person in enumerate(people):
        if status[i] == "ok":
            of[person].append(i)
    of = {person: members for person, members in of.items() if len(members) > 1}
    if len(of) < ODD_PEOPLE:
        return
    members, own, others, last = [], [], [], np.zeros((0, 4096), np.float32)
    for mine in of.values():
        features = table["embedding"].take(rows[mine]).combine_chunks().flatten().to_numpy().reshape(len(mine), -1)
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
        total = features.sum(0)
        members += mine
        own += [cosines(one[None], total - one)[0] for one in features]
        others += cosines(last, total)
        last = features
    bound = (np.median(own) + np.median(others)) / 2
    yield from (i for i, cosine in zip(members, own, strict=True) if cosine < bound)


def cosines(features: np.ndarray, to: np.ndarray) -> list[float]:
    return (features @ to / np.maximum(np.linalg.norm(to), 1e-9)).tolist()
