"""people.csv: the people of a dataset, their splits and traits."""

import csv
from pathlib import Path

from speech2face.errors import UserError


def read_people(table: Path) -> dict[str, dict[str, str]]:
    """Read people.csv: its rows by person. Raises UserError with the number of the first line that is wrong."""
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
