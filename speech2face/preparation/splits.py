"""Lists that assign people to splits: those of Speech Fusion to Face and of "Learnable PINs"."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from speech2face.data.people import SPLITS, fit, split_name
from speech2face.errors import UserError

NUMBERS = {"1": "train", "2": "val", "3": "train", "4": "test"}  # 3: seen and heard in training


def read_splits(file: Path, joined: Mapping[str, Mapping[str, str]], people: Collection[str]) -> dict[str, str]:
    """The split (train, val or test) by person, of the people whom a list names.

    file: JSON with lists of names by split, at any depth, as Speech Fusion to Face's split.json; or lines `NAME SPLIT`,
    as identity_splits.txt of Nagrani et al. (ECCV 2018), where 1 is train, 2 val, 3 other clips of people in train, and
    4 test. joined: by modality, the person by folder name. people: all people. A name is a person's or a folder's.
    Raises UserError if it is no such list, names somebody in two splits, or fits nobody.
    """
    label = f"data.splits={file}"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{label}: {getattr(error, 'strerror', None) or 'not a text of UTF-8'}") from None
    named: dict[str, str] = {}
    for name, split in _from_json(text, label) if text.lstrip().startswith("{") else _from_lines(text, label):
        if named.setdefault(name, split) != split:
            raise UserError(f"{label}: {name} is in split {named[name]} and in split {split}")
    folders = {folder: person for one in joined.values() for folder, person in one.items()}
    fitting = fit(named, {*people, *folders})
    splits: dict[str, str] = {}
    for name, found in fitting.items():
        person = folders.get(found, found)
        if person in people and splits.setdefault(person, named[name]) != named[name]:
            raise UserError(f"{label}: {person} is in split {splits[person]} and in split {named[name]}")
    if not splits:
        raise UserError(f"{label}: no name in it fits a folder, such as {next(iter(named), 'none')}")
    return splits


def _from_json(text: str, label: str) -> Iterator[tuple[str, str]]:
    """Names and splits: the lists under the keys train, val and test, at any depth."""
    try:
        yield from _lists(json.loads(text), label)
    except ValueError as error:
        raise UserError(f"{label}: not JSON ({error})") from None


def _lists(node: Any, label: str) -> Iterator[tuple[str, str]]:
    if not isinstance(node, dict):
        raise UserError(f"{label}: needs lists of names under train, val and test")
    for key, value in node.items():
        split = split_name(key)
        if isinstance(value, list) and split in SPLITS:
            yield from ((str(name).strip(), split) for name in value)
        else:
            yield from _lists(value, label)


def _from_lines(text: str, label: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        *name, split = line.rsplit(None, 1)
        split = NUMBERS.get(split, split_name(split))
        if not name or split not in SPLITS:
            raise UserError(f"{label}, line {number}: not NAME SPLIT, with 1 to 4, train, val or test")
        yield name[0].strip(), split
