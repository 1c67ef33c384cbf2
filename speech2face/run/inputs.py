"""The inputs of a run, and the name of each in the results."""

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from speech2face.data.folders import Found, Parts, log_problems, obstacle, search
from speech2face.data.media import passed_over
from speech2face.errors import UserError, exists
from speech2face.run.results import FILES
from speech2face.run.table import EMBEDDINGS, STORE

RESERVED = {"", ".", "..", ".hydra", "run.log", "run.json", "results.csv", "contact_sheet.png", *FILES}
RESERVED |= {EMBEDDINGS, STORE}
# What pipeline=prepare and pipeline=talkers write to prepared/.
PREPARED = {
    "parts",
    "crops",
    "normalized",
    "clips.parquet",
    "faces.parquet",
    "normalized.parquet",
    "people.csv",
    "report.html",
}


@dataclass(slots=True)
class Input:
    """A file of a run.

    file: its path, as text, because a run may have millions. name: in the results. skipped: the reason why a search
    passes it over; None: it is an input.
    """

    file: str
    name: str
    skipped: str | None = None

    @property
    def path(self) -> Path:
        """The path of the file."""
        return Path(self.file)


def find_inputs(sources: Sequence[object], modality: str, option: str) -> list[Input]:
    """Expand files, directories (searched recursively, without hidden files) and globs, each in sorted order.

    A search follows links (see folders.search), and passes over files whose name ends as those of text or of another
    kind of media, and over folders that cannot be entered. It leaves out what runs have written. A file that the user
    names, and a link that leads nowhere, is always an input. Raises UserError for a source that matches nothing.

    modality: "speech" or "face". option: the name of the option, for messages.
    """
    found: dict[str, tuple[str, str | None]] = {}  # by real path: each file once
    for source in sources:
        if source is None or not str(source):
            raise UserError(f"{option}: an empty name in the list")
        path = Path(str(source)).expanduser()
        if exists(path) and path.is_file():
            found.setdefault(os.path.realpath(path), (str(path), None))
            continue
        base, matches = _matches(path, source, option)
        problems = [one for one in matches if one.problem]
        if len(problems) == len(matches):
            why = "".join(f" ({base / one.path}: {one.problem})" for one in problems[:1])
            raise UserError(f"{option}={source}: no files there{why}")
        log_problems(base, problems)
        matches.sort(key=lambda one: one.path.split("/"))
        for one in matches:
            match = str(base / one.path) if one.problem or not one.path else _join(base, one.path)
            why = _skipped(match, one.problem) or passed_over(match.rpartition("/")[2], modality)
            found.setdefault(one.real, (match, why))
        del matches
    files = list(found.values())
    del found
    names = unique_names([file for file, _ in files])
    return [Input(file, name, skipped) for (file, skipped), name in zip(files, names, strict=True)]


def _join(base: Path, path: str) -> str:
    """str(base / path) of a path without dots, in a fraction of the time."""
    above = "" if str(base) == "." else str(base).rstrip("/") + "/"
    return above + path


def _matches(path: Path, source: object, option: str) -> tuple[Path, list[Found]]:
    """What a directory or a glob stands for, as the folder that is searched and the files below it."""
    if exists(path):
        if not path.is_dir():
            raise UserError(f"{option}={source}: not a regular file")
        found = search(path, left_out=lambda name, content: ".hydra" in content or _is_prepared(name, content))
        return path, [one for one in found if not _is_normalized(path / one.path)]
    fixed = len(path.parts)
    if glob.has_magic(str(path)):
        fixed = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    base, pattern = Path(*path.parts[:fixed]), path.parts[fixed:]
    matches = []
    if pattern and exists(base):
        left_out = _is_prepared if "prepared" not in pattern else lambda name, content: False
        matches = list(search(base, lambda parts, folder: _fits(parts, pattern, folder), left_out))
    if not matches:
        try:
            os.stat(path)
            problem = "no such file or directory"
        except (OSError, ValueError) as error:
            known = os.path.islink(path) or isinstance(error, PermissionError)
            problem = obstacle(path, error) if known else "no such file or directory"
        raise UserError(f"{option}={source}: {problem}")
    return base, matches


def _fits(parts: Parts, pattern: Parts, folder: bool) -> bool:
    """Whether a path matches a pattern, in which ** stands for any folders; of a folder: whether a path in it may."""
    if not parts:
        return bool(pattern) if folder else all(part == "**" for part in pattern)
    if not pattern:
        return False
    if pattern[0] == "**":
        if _fits(parts, pattern[1:], folder):
            return True
        return not parts[0].startswith(".") and _fits(parts[1:], pattern, folder)
    hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    return not hidden and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:], folder)


def _is_prepared(name: str, content: set[str]) -> bool:
    """Whether a folder is prepared/ of a dataset: its crops are no inputs."""
    return name == "prepared" and bool(PREPARED & content)


def _is_normalized(path: Path) -> bool:
    """Whether a file is the normalized face of a simulated person, which stands beside the photos."""
    return path.name == "normalized.png" and (path.parent / "images").is_dir()


def _skipped(path: str, problem: str | None) -> str | None:
    """Why a search passes over what it cannot enter. A link that leads nowhere is an input, which fails."""
    return f"passed over: {problem}" if problem and not os.path.islink(path) else None


def unique_names(paths: Sequence[str]) -> list[str]:
    """A unique name for each file: its stem, if that is unique.

    A stem that occurs twice in a folder becomes the whole file name. Equal names of different folders are preceded by
    as many folders as distinguish them. Names that differ only in case or Unicode composition count as equal, because
    some file systems do not distinguish them.
    """
    here = os.getcwd()
    absolute = [os.path.join(here, path) for path in paths]
    folded = lru_cache(1024)(_folded)  # of folders
    stems: Counter[tuple[str, str]] = Counter()
    for path in absolute:
        folder, _, name = path.rpartition("/")
        stems[folded(folder), _folded(_stem(name))] += 1
    twins: Counter[tuple[str, str]] = Counter()
    names = []
    for path in absolute:
        folder, _, name = path.rpartition("/")
        folder, stem = folded(folder), _stem(name)
        if stems[folder, _folded(stem)] == 1 and _folded(stem) not in RESERVED:
            names.append(stem)
            continue
        twins[folder, _folded(name)] += 1
        number = twins[folder, _folded(name)]
        names.append(name if number == 1 else f"{name}~{number}")  # differs only in case
    del stems, twins
    depths: Counter[int] = Counter()
    while True:
        counts = Counter(map(_folded, names))
        colliding = [
            i for i, name in enumerate(names) if counts[_folded(name)] > 1 and depths[i] < absolute[i].count("/") - 1
        ]
        if not colliding:
            return names
        del counts
        for i in colliding:
            depths[i] += 1
            folders, label = absolute[i].split("/")[-1 - depths[i] : -1], names[i].rpartition("/")[2]
            names[i] = "/".join([*folders, label])


def _stem(name: str) -> str:
    """Path(name).stem."""
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
