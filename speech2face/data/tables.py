"""Read tables of text (CSV, TSV) in any usual encoding, with any usual delimiter and spacing."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from speech2face.errors import UserError

DELIMITERS = (",", ";", "\t")
MARKS = {  # byte order mark -> encoding
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SNIFFED = 1 << 16  # first bytes of a file, from which its encoding is guessed


@dataclass(frozen=True)
class Table:
    """A table of text.

    label: name of the file in messages. columns: names in lower case, with _ for spaces. rows: cells without spaces
    around them, one for each column. lines: the line number of each row in the file. header: the line number of the
    column names.
    """

    label: str
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]
    header: int

    def at(self, row: int) -> str:
        """The file and the line number of a row, for messages."""
        return f"{self.label}, line {self.lines[row]}"


def read_table(path: Path, label: str, names: Collection[str] = ()) -> Table:
    """Read a table that has a line of column names.

    Cells are separated by commas, semicolons or tabs. The encoding is UTF-8, UTF-16 or UTF-32. A line that is not UTF-8
    is read as Windows-1252, the usual superset of Latin-1. Empty lines, comments (#), a line `sep=;`, and columns
    without a name are left out.

    label: name of the file in messages. names: first cells of rows that are kept although they begin with #.
    Raises UserError, with the line number if there is one.
    """
    text = _text(path, label)
    if mark := re.match(r"sep=(.)\r?\n", text):
        text = text[mark.end(1) :]
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip(' \t\r\n,;"') and line.lstrip()[0] != "#"), None)
    if first is None:
        raise UserError(f"{label}: no line of column names in it")
    delimiter = mark[1] if mark else max(DELIMITERS, key=lambda one: len(_cells([lines[first]], one)))
    reader = csv.reader(io.StringIO("".join(lines[first:]), newline=""), delimiter=delimiter, skipinitialspace=True)
    found, numbers = [], []
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            if any(row) and (not row[0].startswith("#") or row[0] in names):
                found.append(row)
                numbers.append(first + reader.line_num)
    except csv.Error as error:
        raise UserError(f"{label}, line {first + reader.line_num}: not CSV ({error})") from None
    header, *rows = found
    while len(header) > 1 and not header[-1]:  # spreadsheet programs append empty columns
        header.pop()
    for row, number in zip(rows, numbers[1:], strict=True):
        while len(row) > len(header) and not row[-1]:
            row.pop()
        if len(row) != len(header):
            raise UserError(f"{label}, line {number}: not {len(header)} values, as line {numbers[0]} has names")
    kept = [i for i, name in enumerate(header) if name]
    columns = [column_name(header[i]) for i in kept]
    if twice := next((name for i, name in enumerate(columns) if name in columns[:i]), None):
        raise UserError(f"{label}, line {numbers[0]}: two columns {twice}; names of columns must differ")
    return Table(label, columns, [[row[i] for i in kept] for row in rows], numbers[1:], numbers[0])


def column_name(name: str) -> str:
    """The name of a column in lower case, with _ for spaces."""
    return "_".join(name.lower().split())


def _cells(line: Iterable[str], delimiter: str) -> list[str]:
    try:
        return next(csv.reader(line, delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _text(path: Path, label: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(SNIFFED)
            encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), None) or _unmarked(data)
            if "\0" in data.decode(encoding or "latin-1", "ignore"):
                raise UserError(f"{label}: not a table of text; a spreadsheet has to be saved as CSV")
            data += file.read()
    except OSError as error:
        raise UserError(f"{label}: {error.strerror}") from None
    if encoding:
        return data.decode(encoding, "replace")
    return "".join(map(_line, data.splitlines(keepends=True)))


def _unmarked(data: bytes) -> str | None:
    """The encoding of UTF-16 text without a byte order mark, recognised by its zero bytes; None for other text."""
    zeros = [half.count(0) / max(len(half), 1) for half in (data[::2], data[1::2])]
    if max(zeros) > 0.4 and min(zeros) < 0.1:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return None


def _line(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            pass
    return line.decode("latin-1")
