"""Datasets in the project's one layout: who is in them, and which files each person has."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speech2face.errors import UserError

UNKNOWN = {"", "na", "n/a", "nan", "none", "null", "unknown", "?"}
FOLDERS = {"speech": "audios", "face": "images"}


@dataclass
class Dataset:
    """A directory of people with recordings and photos.

    traits: by person, the columns of people.csv, `split` among them; of those whom it names.
    files: by modality ("speech", "face"), by person, paths below root, sorted.
    normalized: by person, path of a frontal, neutral picture (prepared/normalized.parquet), what decoders are to draw.
    landmarks: by path of a picture, (72, 2) float32 x, y in its pixels; of those that prepared/ has.
    """

    root: Path
    traits: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, dict[str, list[str]]] = field(default_factory=lambda: {name: {} for name in FOLDERS})
    normalized: dict[str, str] = field(default_factory=dict)
    landmarks: dict[str, np.ndarray] = field(default_factory=dict)

    def split(self, name: str) -> list[str]:
        """People of a split who have a photo, sorted; "all", and "test" where no person has a split: everybody."""
        known = any(traits.get("split") for traits in self.traits.values())
        everybody = name == "all" or (name == "test" and not known)
        people = sorted(self.files["face"])
        return [person for person in people if everybody or self.traits.get(person, {}).get("split") == name]

    def columns(self, names: Sequence[str], people: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns of people.csv for some people: numbers, NaN where unknown, or text, "" where unknown.

        A column is of numbers if all its values are, and more than two of them differ. Those of nobody are left out.
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
    """Read the layout below `root`. Raises UserError where there is no such directory or nobody in it."""
    dataset = Dataset(Path(root).expanduser())
    if not dataset.root.is_dir():
        raise UserError(f"data.root={root}: no such directory")
    table = dataset.root / "people.csv"
    if table.exists():
        dataset.traits = read_people(table)
    for entry in sorted(os.scandir(dataset.root), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != "prepared":
            for modality, folder in FOLDERS.items():
                if files := sorted(_files(dataset.root, f"{entry.name}/{folder}")):
                    dataset.files[modality][entry.name] = files
    if not any(dataset.files.values()):
        raise UserError(f"data.root={root}: no <person>/audios or <person>/images with files there")
    for name in ("faces", "normalized"):
        if (file := dataset.root / "prepared" / f"{name}.parquet").exists():
            people, landmarks = _landmarks(file)
            dataset.landmarks |= landmarks
            dataset.normalized |= people if name == "normalized" else {}
    return dataset


def read_people(table: Path) -> dict[str, dict[str, str]]:
    """Rows of a people.csv by person. Raises UserError, with the line, for what is not such a table."""
    people: dict[str, dict[str, str]] = {}
    with open(table, newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        reader = csv.DictReader(stream)
        try:
            if "person" not in (reader.fieldnames or ()):
                raise UserError(f"{table}: needs a column `person`")
            for row in reader:
                where = f"{table}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(f"{where}: not {len(reader.fieldnames)} values, as the first line has names")
                if row["person"] in people:
                    raise UserError(f"{where}: {row['person']} again; a person has one line")
                people[row["person"]] = row | {"split": row.get("split", "").strip().lower()}
        except csv.Error as error:
            raise UserError(f"{table}, line {reader.line_num + 1}: not CSV ({error})") from None
    return people


def _files(root: Path, folder: str) -> Iterator[str]:
    for directory, subfolders, files in os.walk(root / folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(directory, name), root)


def _landmarks(file: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """By person the path of the last picture, and by path the landmarks."""
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
