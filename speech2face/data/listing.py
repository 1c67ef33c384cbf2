"""The files of one modality by person, listed from a manifest or from the people's folders."""

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.data.folders import Found, files_of, folders
from speech2face.data.media import passed_over
from speech2face.data.parquet import is_manifest, open_table

if TYPE_CHECKING:
    import pyarrow as pa


class Files(Mapping[str, list[str]]):
    """The files of one modality by person: paths relative to the dataset's root, sorted.

    people: the people who have files. Rows offsets[i] to offsets[i + 1] are the files of person i.
    paths: the path of each row. table, rows: a memory-mapped table instead of paths; row r is row rows[r] of the table.
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
        """`seconds` and `level_dbfs` of a recording, as measured by pipeline=prepare; empty without a manifest."""
        if self.table is None:
            return {}
        return {name: self.table[name][int(self.rows[row])].as_py() for name in ("seconds", "level_dbfs")}

    def of(self, person: str) -> range:
        """The rows of a person."""
        i = self.number[person]
        return range(self.offsets[i], self.offsets[i + 1])

    def only(self, people: Set[str]) -> "Files":
        """The files of some of the people."""
        kept = [person for person in self.people if person in people]
        rows = [row for person in kept for row in self.of(person)]
        offsets = np.cumsum([0, *(len(self.of(person)) for person in kept)])
        if self.table is None:
            return Files(kept, offsets, [self.paths[row] for row in rows])
        return Files(kept, offsets, table=self.table, rows=self.rows[np.array(rows, int)])

    def __getitem__(self, person: str) -> list[str]:
        return [self.path(row) for row in self.of(person)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.people)

    def __len__(self) -> int:
        return len(self.people)


def from_manifest(manifest: Path) -> Files | None:
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


def from_folders(root: Path, modality: str, problems: dict[str, Found]) -> Files:
    """The files of a modality in the people's folders, without those whose names show another type of file.

    problems: receives folders and links that cannot be followed, by path.
    """
    people, offsets, paths = [], [0], []
    for person in folders(root):
        ones = list(files_of(root, person, modality))
        problems |= {one.path: one for one in ones if one.problem}
        files = sorted(one.path for one in ones if not one.problem and not passed_over(one.path, modality))
        if files:
            people.append(person)
            paths += files
            offsets.append(len(paths))
    return Files(people, np.array(offsets), paths)
