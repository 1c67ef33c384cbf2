"""Which files a run is about, and what each is called in its results."""

import glob
import mimetypes
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speech2face.errors import UserError

MEDIA = {"speech": ("audio", "video"), "face": ("image",)}
NOT_MEDIA = ("application/json", "application/pdf")
RESERVED = {"", ".", "..", ".hydra", "run.log", "run.json", "results.csv", "contact_sheet.png"}


@dataclass
class Input:
    """A file, its name in the results, and why a search passes it over (None: it does not)."""

    path: Path
    name: str
    skipped: str | None = None


def find_inputs(sources: str | Sequence[str], modality: str, option: str) -> list[Input]:
    """Expand files, directories (searched recursively, hidden files left out) and globs, in sorted order.

    A search passes over what by its name is text or media of another kind; a file that is named is always an input.
    Raises UserError for a source that matches nothing.
    """
    found: dict[Path, str | None] = {}
    for source in [sources] if isinstance(sources, str) else list(sources):
        path = Path(source).expanduser()
        if path.is_dir():
            matches = sorted(_walk(path))
        elif path.exists():
            found[path] = None
            continue
        elif glob.has_magic(str(path)):
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True) if os.path.isfile(match))
        else:
            raise UserError(f"{option}={source}: no such file or directory")
        if not matches:
            raise UserError(f"{option}={source}: no files there")
        for match in matches:
            found.setdefault(match, _passed_over(match, modality))
    names = unique_names(list(found))
    return [Input(path, name, skipped) for (path, skipped), name in zip(found.items(), names, strict=True)]


def _walk(directory: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(directory):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _passed_over(path: Path, modality: str) -> str | None:
    kind = mimetypes.guess_type(path.name)[0] or ""
    family = kind.partition("/")[0]
    if family in MEDIA[modality] or (family not in ("text", "audio", "video", "image") and kind not in NOT_MEDIA):
        return None
    return f"passed over: {kind} by its name"


def unique_names(paths: Sequence[Path]) -> list[str]:
    """The stem of each file; its whole name where its folder has that stem twice; with folders where need be.

    Names are compared as a file system that ignores case and Unicode composition would.
    """
    absolute = [path.absolute() for path in paths]
    stems = Counter((_folded(str(path.parent)), _folded(path.stem)) for path in absolute)
    labels = [
        path.name
        if stems[_folded(str(path.parent)), _folded(path.stem)] > 1 or _folded(path.stem) in RESERVED
        else path.stem
        for path in absolute
    ]
    names, depths = list(labels), [0] * len(paths)
    while True:
        counts = Counter(map(_folded, names))
        colliding = [i for i, name in enumerate(names) if counts[_folded(name)] > 1]
        if not any(depths[i] < len(absolute[i].parts) - 2 for i in colliding):
            break
        for i in colliding:
            depths[i] = min(depths[i] + 1, len(absolute[i].parts) - 2)
            names[i] = "/".join([*absolute[i].parts[-1 - depths[i] : -1], labels[i]])
    for number, i in enumerate(colliding):  # the same path but for case: the folders cannot help
        names[i] += f"~{number + 1}"
    return names


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
