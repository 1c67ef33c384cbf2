"""Which recordings and photos there are, and whose they are."""

import csv
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech2face.data.dataset import FOLDERS, files_below, folders
from speech2face.errors import UserError

# What the lists that come with VoxCeleb call it.
COLUMNS = {"gender": "sex", "set": "split"}
VALUES = {"sex": {"m": "male", "f": "female"}, "split": {"dev": ""}}


@dataclass(frozen=True)
class File:
    """A recording or photo.

    path: from the dataset's root. size in bytes and mtime_ns tell whether it has changed; a size of -1, that its name
    is not UTF-8, which no table can hold.
    """

    person: str
    path: str
    size: int
    mtime_ns: int

    def row(self, **measured: Any) -> dict[str, Any]:
        """A row of the manifest: what was measured, and what tells which file it was."""
        return measured | {"person": self.person, "path": self.path, "bytes": self.size, "mtime_ns": self.mtime_ns}


def find(root: Path, modality: str, base: Path | None, people: dict[str, str]) -> list[File]:
    """Everybody's recordings ("speech") or photos ("face"), by person and path.

    base: where each person has a folder of nothing else; None: <root>/<person>/audios or images. people: by a folder's
    name whose it is, where that is not its own name. A name that is not UTF-8 is spelt with backslashes.
    """
    found = []
    for folder in folders(base or root):
        below = folder if base else f"{folder}/{FOLDERS[modality]}"
        for file in files_below(base or root, below):
            path = os.path.relpath(base / file, root) if base else file
            size, mtime_ns = 0, 0
            with suppress(OSError):  # a link to nowhere: what reads it will say so
                state = os.stat((base or root) / file)
                size, mtime_ns = state.st_size, state.st_mtime_ns
            if _printable(path) != path:
                size = -1
            found.append(File(_printable(people.get(folder, folder)), _printable(path), size, mtime_ns))
    return sorted(found, key=lambda file: (file.person, file.path))


def read_names(table: Path, folders_of: dict[str, list[str]]) -> tuple[dict[str, dict[str, str]], dict[str, dict]]:
    """A table that joins names of folders and tells about people, such as VoxCeleb's vox1_meta.csv as it is.

    folders_of: by modality the names of folders. Separated by commas or tabs, with a line of column names; whichever
    column has most of a modality's folders in it names them. Gender becomes sex (m, f: male, female) and Set split.
    Returns by modality the person that a folder belongs to: its name among the recordings where there is one; and by
    person the other columns. Raises UserError for what is not such a table.
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
    """Those of every `shards`-th person, whoever else there is."""
    return [file for file in files if zlib.crc32(file.person.encode()) % shards == shard]
