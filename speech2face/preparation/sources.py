"""The files that preparation measures: find recordings and photos, and assign each to a person."""

import logging
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from speech2face.data.folders import FOLDERS, files_of, folders, unlike_a_person
from speech2face.data.media import is_beside
from speech2face.data.people import Traits, fit, report_lost, traits, unique
from speech2face.data.tables import read_table
from speech2face.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """A recording or photo.

    path: relative to the dataset's root. size: in bytes. mtime_ns: time of the last change. A file whose size and
    mtime_ns are unchanged is not measured again. A size of -1 marks a name that is not UTF-8, which no table can hold.
    problem: of a folder or link that cannot be followed: why. It is in the report, and is not measured.
    """

    person: str
    path: str
    size: int
    mtime_ns: int
    problem: str | None = None

    def row(self, **measured: object) -> dict[str, object]:
        """A row of the manifest: the measurements, and the person, path, size and mtime_ns of the file."""
        return measured | {"person": self.person, "path": self.path, "bytes": self.size, "mtime_ns": self.mtime_ns}


def find(root: Path, modality: str, base: Path | None, people: dict[str, str]) -> list[File]:
    """All recordings ("speech") or photos ("face") of a dataset, sorted by person and path.

    base: a directory that has one folder of this modality per person; None: <root>/<person>/audios or images.
    people: the person by folder name, where the two differ. A name that is not UTF-8 is spelt with backslashes. Files
    that are neither recordings nor photos by their names are left out. What cannot be searched has a `problem`.
    """
    found, beside = [], []
    for folder in folders(base or root):
        person = _printable(people.get(folder, folder))
        if not base and (why := unlike_a_person(root, folder)):
            found.append(File(person, _printable(folder), 0, 0, why))
            continue
        for one in files_of(base or root, folder, None if base else modality):
            path = os.path.relpath(base / one.path, root) if base else one.path
            size, mtime_ns = 0, 0
            if is_beside(path):
                beside.append(path)
                continue
            with suppress(OSError):  # the measurement reports it
                state = os.stat((base or root) / one.path)
                size, mtime_ns = (0, 0) if one.problem else (state.st_size, state.st_mtime_ns)
            if _printable(path) != path:
                size = -1
            found.append(File(person, _printable(path), size, mtime_ns, one.problem))
    if beside:
        what = f"{len(beside)} files in the {FOLDERS[modality]}"
        log.info("passed over %s that are neither recordings nor photos by their names, such as %s", what, beside[0])
    return sorted(found, key=lambda file: (file.person, file.path))


def read_names(table: Path, folders_of: dict[str, list[str]]) -> tuple[dict[str, dict[str, str]], dict[str, Traits]]:
    """Read a table that maps folder names to people and describes the people, such as VoxCeleb's vox1_meta.csv.

    table: see read_table; its columns become traits (m, f: male, female; Set: split). folders_of: folder names by
    modality. The column that contains most of a modality's folders is taken as its folder names.

    Returns two dictionaries: by modality, the person by folder name; and by person, the other columns. A person is
    named by the folder of the recordings, if there is one. Raises UserError if the file is not such a table, or names
    a person or a folder twice.
    """
    read = read_table(table, f"data.names={table}")
    column: dict[str, int] = {}
    fitting: dict[str, dict[str, str]] = {}
    for modality, names in folders_of.items():
        if not names:
            continue
        matches = [len(fit({row[i] for row in read.rows}, names)) for i in range(len(read.columns))]
        if not max(matches):
            first = f"; line {read.lines[0]} has {', '.join(read.rows[0][:3])}" if read.rows else ""
            raise UserError(f"data.names={table}: no column of it names the folders, such as {names[0]}{first}")
        column[modality] = i = matches.index(max(matches))
        fitting[modality] = fit({row[i] for row in read.rows}, names)
    if lost := sorted({name for one in fitting for name in set(folders_of[one]) - set(fitting[one].values())}):
        log.warning("data.names=%s: %d folders are not in it, such as %s", table, len(lost), lost[0])
    cells_of = {
        modality: [fitting[modality].get(row[i], row[i]) for row in read.rows] for modality, i in column.items()
    }
    persons = [next(filter(None, cells), "") for cells in zip(*cells_of.values(), strict=True)]
    unique(read, persons)
    columns = traits(read, set(column.values()))
    joined: dict[str, dict[str, str]] = {modality: {} for modality in FOLDERS}
    for modality, cells in cells_of.items():
        for row, (cell, person) in enumerate(zip(cells, persons, strict=True)):
            if cell and joined[modality].setdefault(cell, person) != person:
                first = read.lines[persons.index(joined[modality][cell])]
                raise UserError(f"{read.at(row)}: folder {cell} again, after line {first}; it is of one person")
        names = {cell: row for row, cell in enumerate(cells) if cell}
        report_lost(
            read, names, {one: one for one in names if one in folders_of[modality]}, folders_of[modality], columns
        )
    return joined, dict(zip(persons, columns, strict=True))


def _printable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def shard_of(files: Iterable[File], shard: int, shards: int) -> list[File]:
    """The files of one shard of people. A person's shard depends on the name alone, not on the other people."""
    return [file for file in files if is_in_shard(file.person, shard, shards)]


def is_in_shard(person: str, shard: int, shards: int) -> bool:
    """Whether a person belongs to a shard."""
    return zlib.crc32(person.encode(errors="surrogateescape")) % shards == shard
