"""The inputs of a run, and the name of each in the results."""

import glob
import mimetypes
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speech2face.errors import UserError, exists
from speech2face.run.results import FILES

MEDIA = {"speech": ("audio", "video"), "face": ("image",)}
NOT_MEDIA = ("application/json", "application/pdf")
RESERVED = {"", ".", "..", ".hydra", "run.log", "run.json", "results.csv", "contact_sheet.png", *FILES}


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

    A search passes over files whose name ends as those of text or of another kind of media. A file that the user names
    is always an input. Raises UserError for a source that matches nothing.

    modality: "speech" or "face". option: the name of the option, for messages.
    """
    found: dict[str, tuple[Path, str | None]] = {}  # by real path: each file once
    for source in sources:
        if source is None or not str(source):
            raise UserError(f"{option}: an empty name in the list")
        path = Path(str(source)).expanduser()
        if not exists(path):
            matches = sorted(map(Path, glob.glob(str(path), recursive=True))) if glob.has_magic(str(path)) else []
            if not matches:
                raise UserError(f"{option}={source}: no such file or directory")
        elif path.is_dir():
            matches = sorted(_walk(path))
        elif path.is_file():
            found.setdefault(os.path.realpath(path), (path, None))
            continue
        else:
            raise UserError(f"{option}={source}: not a regular file")
        matches = [match for match in matches if match.is_file()]  # reading a pipe or a device could block for ever
        if not matches:
            raise UserError(f"{option}={source}: no files there")
        for match in matches:
            found.setdefault(os.path.realpath(match), (match, _passed_over(match, modality)))
    names = unique_names([path for path, _ in found.values()])
    return [Input(path, name, skipped) for (path, skipped), name in zip(found.values(), names, strict=True)]


def _walk(directory: Path) -> Iterator[Path]:
    """Files below a directory, without hidden ones and without output directories of runs (they contain .hydra)."""
    for folder, subfolders, files in os.walk(directory):
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and not Path(folder, name, ".hydra").exists()
        ]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _passed_over(path: Path, modality: str) -> str | None:
    """Why a search passes over a file, judged by its name; None: it does not."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    if path.suffix.lower() == ".ts":  # some machines map it to Qt translations, which are text
        kind = "video/mp2t"
    family = kind.partition("/")[0]
    if family in MEDIA[modality] or (family not in ("text", "audio", "video", "image") and kind not in NOT_MEDIA):
        return None
    return f"passed over: {kind} by its name"


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
