"""The files that preparation measures: find recordings and photos, and assign each to a person."""

import csv
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from speech2face.data.dataset import FOLDERS, files_below, folders
from speech2face.errors import UserError

# The names and values of VoxCeleb's own tables -> ours.
COLUMNS = {"gender": "sex", "set": "split"}
VALUES = {"sex": {"m": "male", "f": "female"}, "split": {"dev": ""}}


@dataclass(frozen=True)
class File:
    """A recording or photo.

    path: relative to the dataset's root. size: in bytes. mtime_ns: time of the last change. A file whose size and
    mtime_ns are unchanged is not measured again. A size of -1 marks a name that is not UTF-8, which no table can hold.
    """

    person: str
    path: str
    size: int
    mtime_ns: int

    def row(self, **measured: object) -> dict[str, object]:
        """A row of the manifest: the measurements, and the person, path, size and mtime_ns of the file."""
        return measured | {"person": self.person, "path": self.path, "bytes": self.size, "mtime_ns": self.mtime_ns}


def find(root: Path, modality: str, base: Path | None, people: dict[str, str]) -> list[File]:
    """All recordings ("speech") or photos ("face") of a dataset, sorted by person and path.

    base: a directory that has one folder of this modality per person; None: <root>/<person>/audios or images.
    people: the person by folder name, where the two differ. A name that is not UTF-8 is spelt with backslashes.
    """
    found = []
    for folder in folders(base or root):
        below = folder if base else f"{folder}/{FOLDERS[modality]}"
        for file in files_below(base or root, below):
            path = os.path.relpath(base / file, root) if base else file
            size, mtime_ns = 0, 0
            with suppress(OSError):  # a dangling link: the measurement reports it
                state = os.stat((base or root) / file)
                size, mtime_ns = state.st_size, state.st_mtime_ns
            if _printable(path) != path:
                size = -1
            found.append(File(_printable(people.get(folder, folder)), _printable(path), size, mtime_ns))
    return sorted(found, key=lambda file: (file.person, file.path))


def read_names(table: Path, folders_of: dict[str, list[str]]) -> tuple[dict[str, dict[str, str]], dict[str, dict]]:
    """Read a table that maps folder names to people and describes the people, such as VoxCeleb's vox1_meta.csv.

    table: text separated by commas or tabs, with a line of column names. Gender becomes sex (m, f: male, female) and
    Set becomes split. folders_of: folder names by modality. The column that contains most of a modality's folders is
    taken as its folder names.

    Returns two dictionaries: by modality, the person by folder name; and by person, the other columns. A person is
    named by the folder of the recordings, if there is one. Raises UserError if the file is not such a table.
    """
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"data.names={table}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter) if any(row)]
    if len(rows) < 2 or len(set(map(len, rows))) > 1:
        raise UserError(f"data.names={table}: not a table with a line of column names and as many cells in each line")
    header, *rows = rows
    column = {}
    for modality, names in folders_of.items():
        if not names:
            continue
        matches = [len({row[i] for row in rows} & set(names)) for i in range(len(header))]
        if not max(matches):
            raise UserError(f"data.names={table}: no column of it names the folders, such as {names[0]}")
        column[modality] = matches.index(max(matches))
    joined: dict[str, dict[str, str]] = {modality: {} for modality in FOLDERS}
    traits: dict[str, dict] = {}
    for row in rows:
        person = next((row[i] for i in column.values() if row[i]), "")
        for modality, i in column.items():
            if row[i]:
                joined[modality][row[i]] = person
        values = {_name(header[i]): cell for i, cell in enumerate(row) if i not in column.values()}
        traits[person] = {name: VALUES.get(name, {}).get(cell.lower(), cell) for name, cell in values.items()}
    return joined, traits


def _name(column: str) -> str:
    name = "_".join(column.lower().split())
    return COLUMNS.get(name, name)


def _printable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def shard_of(files: Iterable[File], shard: int, shards: int) -> list[File]:
    """The files of one shard of people. A person's shard depends on the name alone, not on the other people."""
    return [file for file in files if zlib.crc32(file.person.encode()) % shards == shard]
