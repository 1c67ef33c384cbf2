"""The inputs of a run, and the name of each in the results."""

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
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


@dataclass
class Input:
    """A file of a run.

    name: in the results. skipped: the reason why a search passes it over; None: it is an input.
    """

    path: Path
    name: str
    skipped: str | None = None


def find_inputs(sources: Sequence[object], modality: str, option: str) -> list[Input]:
    """Expand files, directories (searched recursively, without hidden files) and globs, each in sorted order.

    A search follows links (see folders.search), and passes over files whose name ends as those of text or of another
    kind of media, and over folders that cannot be entered. It leaves out what runs have written. A file that the user
    names, and a link that leads nowhere, is always an input. Raises UserError for a source that matches nothing.

    modality: "speech" or "face". option: the name of the option, for messages.
    """
    found: dict[str, tuple[Path, str | None]] = {}  # by real path: each file once
    for source in sources:
        if source is None or not str(source):
            raise UserError(f"{option}: an empty name in the list")
        path = Path(str(source)).expanduser()
        if exists(path) and path.is_file():
            found.setdefault(os.path.realpath(path), (path, None))
            continue
        base, matches = _matches(path, source, option)
        problems = [one for one in matches if one.problem]
        if len(problems) == len(matches):
            why = "".join(f" ({base / one.path}: {one.problem})" for one in problems[:1])
            raise UserError(f"{option}={source}: no files there{why}")
        log_problems(base, problems)
        for one in sorted(matches, key=lambda one: Path(one.path)):
            match = base / one.path
            found.setdefault(one.real, (match, _skipped(match, one.problem) or passed_over(match.name, modality)))
    names = unique_names([path for path, _ in found.values()])
    return [Input(path, name, skipped) for (path, skipped), name in zip(found.values(), names, strict=True)]


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


def _skipped(path: Path, problem: str | None) -> str | None:
    """Why a search passes over what it cannot enter. A link that leads nowhere is an input, which fails."""
    return f"passed over: {problem}" if problem and not os.path.islink(path) else None


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A unique name for each file: its stem, if that is unique.

    A stem that occurs twice in a folder becomes the whole file name. Equal names of different folders are preceded by
    as many folders as distinguish them. Names that differ only in case or Unicode composition count as equal, because
    some file systems do not distinguish them.
    """
    absolute = [path.absolute() for path in paths]
    folders = [_folded(str(path.parent)) for path in absolute]
    stems = Counter(zip(folders, (_folded(path.stem) for path in absolute), strict=True))
    twins: Counter[tuple[str, str]] = Counter()
    labels = []
    for path, folder in zip(absolute, folders, strict=True):
        if stems[folder, _folded(path.stem)] == 1 and _folded(path.stem) not in RESERVED:
            labels.append(path.stem)
            continue
        twins[folder, _folded(path.name)] += 1
        number = twins[folder, _folded(path.name)]
        labels.append(path.name if number == 1 else f"{path.name}~{number}")  # differs only in case
    names, depths = list(labels), [0] * len(paths)
    while True:
        counts = Counter(map(_folded, names))
        colliding = [
            i for i, name in enumerate(names) if counts[_folded(name)] > 1 and depths[i] < len(absolute[i].parts) - 2
        ]
        if not colliding:
            return names
        for i in colliding:
            depths[i] += 1
            names[i] = "/".join([*absolute[i].parts[-1 - depths[i] : -1], labels[i]])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
