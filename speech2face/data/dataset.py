"""Datasets in the project's layout: the people, and the files of each person."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from speech2face.data.folders import FOLDERS, Found, directory, folders, log_problems, unlike_a_person
from speech2face.data.listing import Files, from_folders, from_manifest
from speech2face.data.parquet import read_landmarks
from speech2face.data.people import Traits, find_people, known, read_people
from speech2face.data.tables import column_name
from speech2face.errors import UserError

log = logging.getLogger(__name__)
TABLES = {"speech": "clips", "face": "faces"}


@dataclass
class Dataset:
    """A directory of people with recordings and photos.

    traits: the columns of people.csv, including `split`, by person. People who are not in the table are left out.
    files: by modality ("speech", "face"), then by person: the files that the manifest in prepared/ calls good, or all
    files if there is no manifest.
    """

    root: Path
    traits: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, Files] = field(default_factory=dict)

    @cached_property
    def _pictures(self) -> dict[str, tuple[dict[str, str], dict[str, np.ndarray], dict[str, str]]]:
        tables = {name: self.root / "prepared" / f"{name}.parquet" for name in ("faces", "normalized")}
        return {name: read_landmarks(table) for name, table in tables.items() if table.exists()}

    @property
    def normalized(self) -> dict[str, str]:
        """By person, the path of the frontal, neutral picture that decoders learn (prepared/normalized.parquet)."""
        return self._pictures.get("normalized", ({}, {}, {}))[0]

    @cached_property
    def landmarks(self) -> dict[str, np.ndarray]:
        """By path of a picture in the tables of prepared/, its landmarks (72, 2) float32 as x, y in pixels."""
        return {path: points for _, landmarks, _ in self._pictures.values() for path, points in landmarks.items()}

    @property
    def masks(self) -> dict[str, str]:
        """By path of a normalized face, the path of its mask: 0 unknown, 1 background, 2 person. Empty for talkers."""
        return self._pictures.get("normalized", ({}, {}, {}))[2]

    @property
    def marked(self) -> bool:
        """Whether people.csv gives a split to anybody."""
        return any(traits.get("split") for traits in self.traits.values())

    def split(self, name: str, modality: str = "face") -> list[str]:
        """The people of a split who have a photo, or with modality="speech" a recording, sorted.

        "all" means all people who have one, and so does "test" if no person has a split. "train" means
        `training_people`. Raises UserError for "train" if there are splits and they leave nobody to train on.
        """
        if name == "all" or (name == "test" and not self.marked):
            return sorted(self.files[modality])
        if name != "train":
            return self._of(name, modality)
        people = self.training_people(modality)
        if self.marked and not people:
            marked = f"people.csv marks everybody with a {'photo' if modality == 'face' else 'recording'} val or test"
            raise UserError(f"data.root={self.root}: nobody to train on: {marked}")
        return people

    def training_people(self, modality: str = "face") -> list[str]:
        """The people of split train who have a photo, or with modality="speech" a recording.

        There are none if no person has a split. If there are splits but nobody is in train, these are the people
        without a split. Otherwise people without a split are not used for training.
        """
        train, others = self._of("train", modality), self._of("", modality) if self.marked else []
        if train and others:
            log.warning("%d people have no split in people.csv and are left out, such as %s", len(others), others[0])
        elif others:
            log.warning("people.csv marks nobody train: the %d people without a split are taken", len(others))
        return train or others

    def _of(self, split: str, modality: str) -> list[str]:
        return [one for one in sorted(self.files[modality]) if self.traits.get(one, {}).get("split", "") == split]

    def columns(self, names: Sequence[str], people: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns of people.csv as arrays: one value for each of `people`.

        A column is numeric if all its known values are numbers and at least three of them differ. An unknown number is
        NaN. Other columns are text, and an unknown text is "". A column without any known value is left out.
        """
        found = {}
        for column in names:
            values = {person: known(row.get(column_name(column))) for person, row in self.traits.items()}
            distinct = {value for value in values.values() if value}
            wanted = [values.get(person, "") for person in people]
            if len(distinct) > 2 and all(map(is_number, distinct)):
                found[column] = np.array([float(value or "nan") for value in wanted])
            elif distinct:
                found[column] = np.array(wanted)
        return found


def read_dataset(
    root: str | Path, where: Mapping[str, str | float] | None = None, option: str = "data.root"
) -> Dataset:
    """Read a dataset in the project's layout.

    where: columns of people.csv and values; the photos of other people are left out. option: that names the directory,
    for messages. Raises UserError if there is no such directory, if it has no files, or if nobody with a photo has
    these values.
    """
    dataset = Dataset(directory(Path(root).expanduser(), option))
    problems: dict[str, Found] = {}
    for modality in FOLDERS:
        manifest = dataset.root / "prepared" / f"{TABLES[modality]}.parquet"
        listed = manifest.exists() and from_manifest(manifest)
        dataset.files[modality] = listed or from_folders(dataset.root, modality, problems)
    log_problems(dataset.root, list(problems.values()))
    if not any(dataset.files.values()):
        hints = (f"; {name}: {why}" for name in folders(dataset.root) if (why := unlike_a_person(dataset.root, name)))
        raise UserError(f"{option}={root}: no <person>/audios or <person>/images with files there{next(hints, '')}")
    dataset.traits = _traits(dataset)
    if where:
        wanted = {column_name(column): str(value) for column, value in where.items()}
        fitting = (
            one for one, row in dataset.traits.items() if {name: known(row.get(name)) for name in wanted} == wanted
        )
        dataset.files["face"] = dataset.files["face"].only(set(fitting))
        if not dataset.files["face"]:
            raise UserError(f"data.root={root}: nobody with a photo has data.where={where} in people.csv")
    return dataset


def _traits(dataset: Dataset) -> dict[str, Traits]:
    """The rows of prepared/people.csv by person, updated from people.csv."""
    names = {person for files in dataset.files.values() for person in files} | set(folders(dataset.root))
    prepared, own = dataset.root / "prepared" / "people.csv", find_people(dataset.root)
    traits = read_people(prepared, names) if prepared.exists() else {}
    changed = []
    for person, row in (read_people(own, names, every=True) if own else {}).items():
        before = traits.get(person, {})
        traits[person] = before | {name: value for name, value in row.items() if value or name not in before}
        if before.get("split") and before["split"] != traits[person]["split"]:
            changed.append(person)
    if changed:
        log.warning(
            "%s gives %d people another split than pipeline=prepare did, such as %s, and wins; prepare again",
            own,
            len(changed),
            changed[0],
        )
    return traits


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
