"""results.csv and the folder of each input: written whole, row by row, and read again to go on."""

import csv
import io
import os
from pathlib import Path
from typing import Any

from speech2face.files import atomic

COLUMNS = ("input", "sha256", "status", "error", "seconds", "output")
SHEET_FACES = 200  # a contact sheet shows no more


def read_results(directory: Path) -> list[dict[str, str]]:
    """Rows of a run's results.csv; none where there is no such file."""
    file = directory / "results.csv"
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


class Results:
    """Appends rows to results.csv, each in one write: a row is there whole or not at all.

    measurements: columns after the common ones. Rows given as `kept` come first, as they are.
    """

    def __init__(self, directory: Path, measurements: tuple[str, ...], kept: list[dict[str, str]]) -> None:
        self.columns = (*COLUMNS, *measurements, "warnings")
        with atomic(directory / "results.csv") as partial:
            header = dict(zip(self.columns, self.columns, strict=True))
            partial.write_bytes(b"".join(map(self._line, [header, *kept])))
        self._file = os.open(directory / "results.csv", os.O_APPEND | os.O_WRONLY)

    def _line(self, row: dict[str, Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerow(row.get(column) for column in self.columns)  # quotes both
        return (text.getvalue()[:-2] + "\n").encode(errors="surrogateescape")

    def add(self, row: dict[str, Any]) -> None:
        os.write(self._file, self._line(row))

    def close(self) -> None:
        os.close(self._file)
