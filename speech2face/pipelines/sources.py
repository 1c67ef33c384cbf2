"""What pipeline=prepare reads: the directories, the tables of people and the lists of splits that the options name."""

from pathlib import Path

from speech2face.config.data import Data
from speech2face.data.folders import FOLDERS, directory, folders
from speech2face.data.people import find_people, read_people
from speech2face.preparation.sources import read_names
from speech2face.preparation.splits import read_splits


def sources(data: Data) -> tuple[Path, dict[str, Path | None], dict[str, dict[str, str]], dict[str, dict]]:
    """The places that the options name: root, bases, joined and traits. Raises UserError for missing directories.

    bases: by modality, a directory outside the root, or None. joined: by modality, the person by folder name.
    traits: the columns of people.csv, data.names and data.splits by person.
    """
    root = Path(str(data.root)).expanduser().absolute()
    bases = {"speech": data.audios, "face": data.images}
    bases = {modality: base and Path(str(base)).expanduser().absolute() for modality, base in bases.items()}
    for modality, path in bases.items():
        if path:
            directory(path, f"data.{FOLDERS[modality]}")
    directory(root, "data.root", make=any(bases.values()))
    joined: dict[str, dict[str, str]] = {modality: {} for modality in FOLDERS}
    folders_of = {modality: folders(base or root) for modality, base in bases.items()}
    named: dict[str, dict[str, str]] = {}
    if data.names:
        joined, named = read_names(Path(str(data.names)).expanduser(), folders_of)
    people = {joined[modality].get(name, name) for modality, names in folders_of.items() for name in names}
    # A folder of photos or recordings that is a dataset of its own has the table of its people.
    tables = (table for place in (root, *filter(None, bases.values())) if (table := find_people(place)))
    table = next(tables, None)
    traits = read_people(table, people, every=True) if table else {}
    traits = {
        person: named.get(person, {}) | {name: value for name, value in traits.get(person, {}).items() if value}
        for person in {**named, **traits}
    }
    if data.splits:
        for person, split in read_splits(Path(str(data.splits)).expanduser(), joined, people).items():
            traits[person] = {"person": person, **traits.get(person, {}), "split": split}
    return root, bases, joined, traits
