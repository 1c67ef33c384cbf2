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
ALIASES = {"gender": "sex", "set": "split"}  # columns of VoxCeleb's tables -> ours
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
Traits = dict[str, str]  # a person's values by column


def known(value: str | None) -> str:
    """A cell of a table, or "" if it stands for an unknown value, such as n/a."""
    value = (value or "").strip()
    return "" if value.lower() in UNKNOWN else value


def find_people(root: Path) -> Path | None:
    """The table of a dataset's people: <root>/people.csv or people.tsv, in upper or lower case; None if there is none.

    Raises UserError if there are two.
    """
    found = sorted(path for path in root.iterdir() if path.name.lower() in ("people.csv", "people.tsv"))
    if len(found) > 1:
        raise UserError(f"{found[0]}, {found[1].name}: two tables of the people; remove one")
    return found[0] if found else None


def read_people(table: Path, folders: Collection[str] = (), every: bool = False) -> dict[str, Traits]:
    """Read people.csv: its rows by person. `split` is one of train, val, test, or "" for people without a split.

    folders: the names of the people's folders. A name in the table that differs from a folder's only in case, spaces or
    Unicode normalization form stands for that folder. every: log the names without a folder, and raise UserError if no
    name has one. Raises UserError, with the line number, for the first line that is wrong.
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
    """The row of each name. Raises UserError for a name that occurs twice, with both lines, and for a missing name."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name:
            raise UserError(f"{table.at(row)}: no person")
        if rows.setdefault(name, row) != row:
            first = table.lines[rows[name]]
            raise UserError(f"{table.at(row)}: {name} again, after line {first}; a person has one line")
    return rows


def fit(names: Collection[str], folders: Collection[str]) -> dict[str, str]:
    """The folder of each name that has one.

    It has the same name; or else it is the only folder that differs just in case, spaces or Unicode normalization form.
    """
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
    except UnicodeEncodeError:  # a folder's name that is not UTF-8; the table then has it in the system's encoding
        name = name.encode(errors="surrogateescape").decode("cp1252", "replace")
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def traits(table: Table, without: Collection[int]) -> list[Traits]:
    """The traits in each row of a table. without: indices of columns that are left out.

    The column `gender` is renamed to `sex`, and `set` to `split`, unless the table has both. Usual spellings of a sex
    become male or female, those of a split become train, val or test (see `split_values`), and decimal commas become
    points. Raises UserError, with the line number, for another word in the column split.
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
    """Translate the values of a column split to train, val, test or "" (no split).

    dev is val if the table also has train. Otherwise it means all people who are not for testing, as in VoxCeleb's
    lists, and gives no split. eval is test, but it is val in a table that has test and no other word for val.
    Raises UserError, with the line number, for any other word.
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
    """Translate another word for a split to train, val or test. Unknown words are returned unchanged."""
    names = {one: split for split in SPLITS for one in WORDS[split]} | dict.fromkeys(WORDS["dev"], "val")
    return (names | dict.fromkeys(WORDS["eval"], "test")).get(word.strip().lower(), word)


def _sex(value: str) -> str:
    value = value.casefold()
    return next((sex for sex, words in SEXES.items() if value.rstrip(".") in words), value)


def _with_points(values: list[str]) -> list[str]:
    """Replace decimal commas by points in a column of numbers. Other columns are returned unchanged."""
    numbers = [value for value in values if known(value)]
    if not all(re.fullmatch(r"[+-]?\d+([.,]\d+)?", value) for value in numbers):
        return values
    return [value.replace(",", ".") for value in values]
