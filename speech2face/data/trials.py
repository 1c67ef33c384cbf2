"""Lists of verification trials, in the layouts of VoxCeleb, of "Learnable PINs" and of the FAME challenge."""

from dataclasses import dataclass
from pathlib import Path

from speech2face.data.media import kind_of
from speech2face.data.tables import read_table
from speech2face.errors import UserError

BESIDE = {"label": "label", "voice": "voice-path", "face": "face-path", "id": "id"}  # columns of "Learnable PINs"


@dataclass(frozen=True)
class Trial:
    """A pair of files that may be of one person. left, right: paths as they stand in the list; a recording comes first.

    name: of the trial, "" if the list has labels only. same: whether both are of one person; None if it is not known.
    """

    left: str
    right: str
    name: str = ""
    same: bool | None = None

    @property
    def people(self) -> tuple[str, str]:
        """The first folders of both paths, which name the people in VoxCeleb's lists."""
        return self.left.partition("/")[0], self.right.partition("/")[0]


def read_trials(file: Path, label: str) -> list[Trial]:
    """Read a list of trials. label: of the file, in messages.

    A line is `LABEL PATH PATH` (VoxCeleb; the label is 1 for one person, 0 for two) or `NAME PATH PATH` (FAME). A line
    of column names with `label`, `voice-path` and `face-path` begins a table with commas (Nagrani et al., ECCV 2018).
    Raises UserError, with the line number, for any other line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{label}: {getattr(error, 'strerror', None) or 'not a text of UTF-8'}") from None
    first = next((line for line in lines if line.strip()), "")
    if BESIDE["voice"] in first:
        return _from_table(file, label)
    found = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if wrong := next((number for number, words in found if len(words) != 3), None):
        raise UserError(f"{label}, line {wrong}: not LABEL PATH PATH (VoxCeleb) or NAME PATH PATH (FAME)")
    if not found:
        raise UserError(f"{label}: no trials in it")
    labelled = all(words[0] in ("0", "1") for _, words in found)
    return [
        Trial(*_voice_first(*words[1:]), *(("", words[0] == "1") if labelled else (words[0], None)))
        for _, words in found
    ]


def _voice_first(one: str, other: str) -> tuple[str, str]:
    return (other, one) if is_photo(one) and not is_photo(other) else (one, other)


def is_photo(path: str) -> bool:
    """Whether a path names a photo."""
    return kind_of(path).startswith("image/")


def _from_table(file: Path, label: str) -> list[Trial]:
    table = read_table(file, label)
    if missing := [name for name in BESIDE.values() if name not in table.columns]:
        raise UserError(f"{label}: needs a column {missing[0]}")
    column = {name: table.columns.index(title) for name, title in BESIDE.items()}
    trials = []
    for number, row in enumerate(table.rows):
        if row[column["label"]] not in ("0", "1"):
            raise UserError(f"{table.at(number)}: label {row[column['label']]}: must be 1 or 0")
        same = row[column["label"]] == "1"
        trials.append(Trial(row[column["voice"]], row[column["face"]], row[column["id"]], same))
    return trials
