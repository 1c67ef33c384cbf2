"""Datasets in the project's layout: the people and the files of each person."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.data.people import read_people
from speech2face.errors import UserError
from speech2face.files import atomic

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = {"", "na", "n/a", "nan", "none", "null", "unknown", "?"}
FOLDERS = {"speech": "audios", "face": "images"}
TABLES = {"speech": "clips", "face": "faces"}


class Files(Mapping[str, list[str]]):
    """The files of one modality by person: paths relative to the dataset's root, sorted.

    people: the people who have files. Person i has rows offsets[i] to offsets[i + 1].
    paths: the path of each row. table, rows: instead of paths, a memory-mapped table; row r is row rows[r] of it.
    """

    def __init__(
        self,
        people: Sequence[str],
        offsets: np.ndarray,
        paths: Sequence[str] = (),
        table: "pa.Table | None" = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.people, self.offsets, self.paths, self.table, self.rows = list(people), offsets, paths, table, rows
        self.number = {person: i for i, person in enumerate(self.people)}

    def path(self, row: int) -> str:
        """The path of a row."""
        return self.paths[row] if self.table is None else self.table["path"][int(self.rows[row])].as_py()

    def measured(self, row: int) -> dict[str, float]:
        """`seconds` and `level_dbfs` of a recording that pipeline=prepare has measured; otherwise empty."""
        if self.table is None:
            return {}
        return {name: self.table[name][int(self.rows[row])].as_py() for name in ("seconds", "level_dbfs")}

    def of(self, person: str) -> range:
        """The rows of a person."""
        i = self.number[person]
        return range(self.offsets[i], self.offsets[i + 1])

    def __getitem__(self, person: str) -> list[str]:
        return [self.path(row) for row in self.of(person)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.people)

    def __len__(self) -> int:
        return len(self.people)


@dataclass
class Dataset:
    """A directory of people with recordings and photos.

    traits: the columns of people.csv, including `split`, by person. People whom the table does not name are left out.
    files: by modality ("speech", "face"), then by person: the good files of the manifest in prepared/, or all files if
    there is no manifest.
    """

    root: Path
    traits: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, Files] = field(default_factory=dict)

    @cached_property
    def _pictures(self) -> dict[str, tuple[dict[str, str], dict[str, np.ndarray]]]:
        tables = {name: self.root / "prepared" / f"{name}.parquet" for name in ("faces", "normalized")}
        return {name: _landmarks(table) for name, table in tables.items() if table.exists()}

    @property
    def normalized(self) -> dict[str, str]:
        """By person, the path of the frontal, neutral picture that decoders learn (prepared/normalized.parquet)."""
        return self._pictures.get("normalized", ({}, {}))[0]

    @cached_property
    def landmarks(self) -> dict[str, np.ndarray]:
        """By path of a picture in the tables of prepared/, its landmarks (72, 2) float32 as x, y in pixels."""
        return {path: points for _, landmarks in self._pictures.values() for path, points in landmarks.items()}

    def split(self, name: str) -> list[str]:
        """The people of a split who have a photo, sorted.

        "all" means all people with a photo, and so does "test" if no person has a split.
        """
        known = any(traits.get("split") for traits in self.traits.values())
        whole = name == "all" or (name == "test" and not known)
        people = sorted(self.files["face"])
        return [person for person in people if whole or self.traits.get(person, {}).get("split") == name]

    def columns(self, names: Sequence[str], people: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns of people.csv as arrays with one value per person of `people`.

        A column is numeric if all its values are numbers and at least three of them differ; an unknown number is NaN.
        Other columns are text; an unknown text is "". A column without a known value is left out.
        """
        found = {}
        for column in names:
            values = {person: _known(row.get(column)) for person, row in self.traits.items()}
            distinct = {value for value in values.values() if value}
            wanted = [values.get(person, "") for person in people]
            if len(distinct) > 2 and all(map(_is_number, distinct)):
                found[column] = np.array([float(value or "nan") for value in wanted])
            elif distinct:
                found[column] = np.array(wanted)
        return found


def read_dataset(root: str | Path) -> Dataset:
    """Read a dataset in the project's layout. Raises UserError if there is no such directory or it has no files."""
    dataset = Dataset(Path(root).expanduser())
    if not dataset.root.is_dir():
        raise UserError(f"data.root={root}: no such directory")
    for table in (dataset.root / "prepared" / "people.csv", dataset.root / "people.csv"):
        if table.exists():
            dataset.traits = read_people(table)
            break
    for modality in FOLDERS:
        manifest = dataset.root / "prepared" / f"{TABLES[modality]}.parquet"
        listed = manifest.exists() and _listed(manifest)
        dataset.files[modality] = listed or _found(dataset.root, modality)
    if not any(dataset.files.values()):
        raise UserError(f"data.root={root}: no <person>/audios or <person>/images with files there")
    return dataset


def is_manifest(table: Path) -> bool:
    """Whether a table has the column `status`, as those of pipeline=prepare do. Raises UserError if not readable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return "status" in pq.read_schema(table).names
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{table}: not a table that can be read ({' '.join(str(error).split())})") from None


def _listed(manifest: Path) -> Files | None:
    """The good files of a manifest; None for a table without the column `status`."""
    import pyarrow.compute as pc

    if not is_manifest(manifest):
        return None
    table = open_table(manifest)
    rows = np.flatnonzero(pc.equal(table["status"], "ok").to_numpy())
    people = table["person"].combine_chunks().dictionary_encode()
    codes = people.indices.to_numpy()[rows]  # ascending, because the column is sorted by person
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    names = people.dictionary.take(codes[starts]).to_pylist()
    return Files(names, np.append(starts, len(rows)), table=table, rows=rows)


def _found(root: Path, modality: str) -> Files:
    people, offsets, paths = [], [0], []
    for person in folders(root):
        files = sorted(files_below(root, f"{person}/{FOLDERS[modality]}"))
        if files:
            people.append(person)
            paths += files
            offsets.append(len(paths))
    return Files(people, np.array(offsets), paths)


def open_table(parquet: Path) -> "pa.Table":
    """Map a Parquet table into memory, by way of the .arrow file beside it.

    The .arrow file is written if it is missing or older. Raises UserError if the table cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    mapped = parquet.with_suffix(".arrow")
    try:
        if not mapped.exists() or mapped.stat().st_mtime_ns < parquet.stat().st_mtime_ns:
            with (
                pq.ParquetFile(parquet) as table,
                atomic(mapped) as partial,
                pa.ipc.new_file(str(partial), table.schema_arrow) as file,
            ):
                for batch in table.iter_batches(4096):
                    file.write_batch(batch)
        return pa.ipc.open_file(pa.memory_map(str(mapped))).read_all()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{parquet}: not a table that can be read ({' '.join(str(error).split())})") from None


def folders(base: Path) -> list[str]:
    """Names of the people's folders, sorted: all folders but hidden ones and prepared/."""
    entries = (entry for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))
    return sorted(entry.name for entry in entries if entry.name != "prepared")


def files_below(base: Path, folder: str) -> Iterator[str]:
    """Paths, relative to `base`, of all files below a folder, without hidden files and folders."""
    for directory, subfolders, files in os.walk(base / folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(directory, name), base)


def _landmarks(file: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The path of the last picture by person, and the landmarks (72, 2) by path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if "landmarks" not in pq.read_schema(file).names:
            return {}, {}
        table = pq.read_table(file, columns=["person", "path", "landmarks"]).drop_null()
        values = table["landmarks"].combine_chunks().flatten().to_numpy().reshape(-1, 72, 2)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(f"{file}: not a table of faces ({' '.join(str(error).split())})") from None
    people, paths = table["person"].to_pylist(), table["path"].to_pylist()
    return dict(zip(people, paths, strict=True)), dict(zip(paths, values, strict=True))


def _known(value: str | None) -> str:
    value = (value or "").strip()
    return "" if value.lower() in UNKNOWN else value


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
