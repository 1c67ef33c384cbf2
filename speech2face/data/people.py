"""people.csv: the people of a dataset, their splits and traits."""

import logging
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from speech2face.data.tables import Table, read_table
from speech2face.errors import UserError

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
UNKNOWN = {"", "-", "na", "n/a", "nan", "none", "null", "unknown", "?"}
ALIASES = {"gender": "sex", "set": "split"}  # names of VoxCeleb's tables -> ours
WORDS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validate", "validation"},
    "test": {"test", "testing", "tst"},
    "dev": {"dev", "devel", "development"},
    "eval": {"eval", "evaluation"},
}
SEXES = {
    "male": {"m", "male", "man", "boy", "masculine", "männlich", "mann", "homme"},
    "female": {"f", "female", "fem", "w", "woman", "girl", "feminine", "weiblich", "frau", "femme"},
}
Traits = dict[str, str]  # of a person: value by column


def known(value: str | None) -> str:
    """A value of a table; "" for one that means that the value is unknown, such as n/a."""
    value = (value or "").strip()
    return "" if value.lower() in UNKNOWN else value


def find_people(root: Path) -> Path | None:
    """The table of a dataset's people: <root>/people.csv or people.tsv in any case, or None.

    Raises UserError if there are two.
    """
    found = sorted(path for path in root.iterdir() if path.name.lower() in ("people.csv", "people.tsv"))
    if len(found) > 1:
        raise UserError(f"{found[0]}, {found[1].name}: two tables of the people; remove one")
    return found[0] if found else None


def read_people(table: Path, folders: Collection[str] = (), every: bool = False) -> dict[str, Traits]:
    """Read people.csv: its rows by person. `split` is one of train, val, test, or "" for people without a split.

    folders: the names of the people's folders. A name of the table that differs from a folder only in case, spaces or
    Unicode composition stands for that folder. every: names without a folder are logged, and if no name has one,
    UserError is raised. Raises UserError with the number of the first line that is wrong, too.
    """
    read = read_table(table, str(table), folders)
    if "person" not in read.columns:
        raise UserError(f"{table}: needs a column `person`; line {read.header} has {', '.join(read.columns)}")
    column = read.columns.index("person")
    rows = unique(read, [row[column] for row in read.rows])
    columns = traits(read, {column})
    fitting = fit(rows, folders)
    if every:
        report_lost(read, rows, fitting, folders, columns)
    people = {fitting.get(name, name): columns[row] for name, row in rows.items()}
    return {person: {"person": person, "split": "", **row} for person, row in people.items()}


def report_lost(
    table: Table, names: dict[str, int], fitting: dict[str, str], folders: Collection[str], columns: list[Traits]
) -> None:
    """Log the names of a table that fit no folder, with folders that it does not name.

    names: row by name. fitting: folder by name. columns: the traits by row. Raises UserError if no name fits. It is an
    error, too, if a name of val or test fits none, and a folder has no line: a misspelt person would be trained on.
    """
    others = sorted(set(folders) - set(fitting.values()))
    lost = {name: row for name, row in names.items() if name not in fitting}
    if not lost or not folders:
        return
    kept = [name for name in lost if others and columns[lost[name]].get("split") in ("val", "test")]
    error = "names of val or test fit no folder" if fitting else "no name in it fits a folder"
    shown = kept if kept and fitting else list(lost)
    text = _some([f"{name} (line {table.lines[lost[name]]})" for name in shown])
    text += f"; folders without a line: {_some(others)}" * bool(others)
    if not fitting or kept:
        raise UserError(f"{table.label}: {error}: {text}; correct them, or give each folder a line")
    log.warning("%s: %d of %d names fit no folder: %s", table.label, len(lost), len(table.rows), text)


def _some(names: list[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + ", ..." * (len(names) > shown)


def unique(table: Table, names: list[str]) -> dict[str, int]:
    """The row by name. Raises UserError with both lines for a name that occurs twice, and for a row without a name."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name:
            raise UserError(f"{table.at(row)}: no person")
        if rows.setdefault(name, row) != row:
            first = table.lines[rows[name]]
            raise UserError(f"{table.at(row)}: {name} again, after line {first}; a person has one line")
    return rows


def fit(names: Collection[str], folders: Collection[str]) -> dict[str, str]:
    """The folder by name, for names that have one: the same name, or the only one that looks the same."""
    fitting = {name: name for name in names if name in set(folders)}
    alike: dict[str, list[str]] = {}
    for folder in set(folders) - set(fitting):
        alike.setdefault(_folded(folder), []).append(folder)
    rest = [name for name in names if name not in fitting]
    keys = [_folded(name) for name in rest]
    once = {name: alike[key][0] for name, key in zip(rest, keys, strict=True) if len(alike.get(key, ())) == 1}
    return fitting | {name: folder for name, folder in once.items() if keys.count(_folded(name)) == 1}


def _folded(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:  # a folder's name that is not UTF-8, as tables of such systems have it
        name = name.encode(errors="surrogateescape").decode("cp1252", "replace")
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def traits(table: Table, without: Collection[int]) -> list[Traits]:
    """The columns of a table as traits, by row. without: columns that are left out.

    `gender` becomes `sex` and `set` becomes `split`, if the table has no such column besides. The values of sex become
    male and female in all usual spellings, those of split train, val and test (see `split_values`), and numbers with a
    decimal comma get a point. Raises UserError with the line of a split that is none of these.
    """
    columns = {name: [row[i] for row in table.rows] for i, name in enumerate(table.columns) if i not in without}
    names = {name: name if ALIASES.get(name) in columns else ALIASES.get(name, name) for name in columns}
    columns = {names[name]: values for name, values in columns.items()}
    for name, values in columns.items():
        if name == "split":
            columns[name] = split_values(table, values)
        elif name in ("sex", "gender"):
            columns[name] = [_sex(value) for value in values]
        else:
            columns[name] = _with_points(values)
    return [{name: values[row] for name, values in columns.items()} for row in range(len(table.rows))]


def split_values(table: Table, values: list[str]) -> list[str]:
    """Values of a column split as train, val, test or "" (no split).

    dev is val beside train; otherwise it names the people who are not for testing, as in VoxCeleb's lists, and is no
    split. eval is test, but val in a table with test and without another word for val.
    Raises UserError with the line of another word.
    """
    meaning = {word: split for split, words in WORDS.items() for word in words}
    words = [re.sub(r"(?<=\w)[ _-]*(set|split)$", "", known(value).lower()) for value in values]
    there = {meaning.get(word) for word in words}
    meant = {"": "", **{split: split for split in SPLITS}}
    meant["dev"] = "val" if "train" in there else ""
    meant["eval"] = "val" if "test" in there and not {"val", "dev"} & there else "test"
    for row, word in enumerate(words):
        if word and word not in meaning:
            raise UserError(
                f"{table.at(row)}: split {values[row]}: not one of train, val, test (or training, validation, testing, "
                f"dev, eval; empty: none)"
            )
    return [meant[meaning.get(word, "")] for word in words]


def split_name(word: str) -> str:
    """train, val or test for another word for it; other words as they are."""
    names = {one: split for split in SPLITS for one in WORDS[split]} | dict.fromkeys(WORDS["dev"], "val")
    return (names | dict.fromkeys(WORDS["eval"], "test")).get(word.strip().lower(), word)


def _sex(value: str) -> str:
    value = value.casefold()
    return next((sex for sex, words in SEXES.items() if value.rstrip(".") in words), value)


def _with_points(values: list[str]) -> list[str]:
    """A column of numbers with decimal commas, with points instead; other columns as they are."""
    numbers = [value for value in values if known(value)]
    if not all(re.fullmatch(r"[+-]?\d+([.,]\d+)?", value) for value in numbers):
        return values
    return [value.replace(",", ".") for value in values]
