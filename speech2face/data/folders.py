"""Find the files in folders. Symbolic links are followed, and every folder is searched once."""

import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speech2face.errors import UserError, dead_link

log = logging.getLogger(__name__)
FOLDERS = {"speech": "audios", "face": "images"}
SPELT = {"speech": {"audios", "audio"}, "face": {"images", "image"}}  # accepted names, in upper or lower case
SHOWN = 5  # problems that are logged one by one
Parts = tuple[str, ...]  # the components of a path


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a folder or link that cannot be followed.

    path: relative to the folder that was searched; "" is that folder. real: the path with all links resolved.
    problem: why a folder or a link cannot be followed; None for a file.
    """

    path: str
    real: str
    problem: str | None = None


def visible(parts: Parts, folder: bool) -> bool:
    """Whether a name is not hidden."""
    return not parts[-1].startswith(".")


def search(
    base: Path,
    wanted: Callable[[Parts, bool], bool] = visible,
    left_out: Callable[[str, set[str]], bool] = lambda name, content: False,
) -> Iterator[Found]:
    """Search a folder recursively for regular files. Folders and links that cannot be followed are yielded, too.

    Links are followed, but every folder is searched once: under its own name rather than through a link, and never
    through a link to a folder that contains the link. A file is found under its own name first, then through each link.

    wanted(parts, is_folder): whether to enter a folder or to take a file, given the components of its path below
    `base`. left_out(name, content): whether to skip a folder, given its name and the names of its entries.
    """
    todo: list[tuple[Parts, str]] = [((), os.path.realpath(base))]
    links: deque[tuple[Parts, str]] = deque()
    seen: set[str] = set()
    linked: list[Found] = []
    while todo or links:
        parts, real = todo.pop() if todo else links.popleft()
        if real in seen:
            continue
        seen.add(real)
        here = os.path.join(base, *parts)
        try:
            with os.scandir(here) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            yield Found("/".join(parts), real, obstacle(here, error))
            continue
        if parts and left_out(parts[-1], {entry.name for entry in entries}):
            continue
        inside = []
        for entry in entries:
            below = (*parts, entry.name)
            as_file, as_folder = wanted(below, False), wanted(below, True)
            if not (as_file or as_folder):
                continue
            link = entry.is_symlink()
            to = os.path.realpath(entry.path) if link else os.path.join(real, entry.name)
            try:
                is_folder, is_file = _kind(entry)
            except OSError as error:
                yield Found("/".join(below), to, obstacle(entry.path, error))
                continue
            if is_file and as_file and link:
                linked.append(Found("/".join(below), to))
            elif is_file and as_file:
                yield Found("/".join(below), to)
            elif is_folder and as_folder and not (link and _contains(to, real)):
                (links if link else inside).append((below, to))
        todo += reversed(inside)
    yield from linked


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether an entry is a folder, and whether it is a regular file. Links are followed."""
    if not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
    mode = os.stat(entry.path).st_mode
    return stat.S_ISDIR(mode), stat.S_ISREG(mode)


def _contains(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder


def obstacle(path: str | Path, error: OSError) -> str:
    """Why a folder or link cannot be followed, in words."""
    if link := dead_link(path):
        return link
    if isinstance(error, PermissionError):
        return "no permission to enter it"
    return error.strerror or str(error)


def folders(base: Path) -> list[str]:
    """Names of the people's folders, sorted: all folders and broken links, without hidden ones and prepared/.

    Raises UserError if the directory cannot be read.
    """
    try:
        with os.scandir(base) as scanned:
            entries = [entry for entry in scanned if visible((entry.name,), True) and entry.name != "prepared"]
    except OSError as error:
        raise UserError(f"{base}: {obstacle(base, error)}") from None
    return sorted(entry.name for entry in entries if os.path.isdir(entry) or not os.path.exists(entry))


def files_of(base: Path, folder: str, modality: str | None) -> Iterator[Found]:
    """The files of a person, with paths relative to `base`: each file once, without hidden files.

    folder: the person's folder. modality: "speech": files in its folders audios or audio, in upper or lower case;
    "face": files in images or image; None: all files. Folders and links that cannot be followed are yielded, too.
    """

    def wanted(parts: Parts, is_folder: bool) -> bool:
        inside = modality is None or (parts[0].lower() in SPELT[modality] and (is_folder or len(parts) > 1))
        return inside and visible(parts, is_folder)

    known: set[str] = set()
    for found in search(base / folder, wanted):
        if found.real not in known:
            known.add(found.real)
            yield Found(f"{folder}/{found.path}".rstrip("/"), found.real, found.problem)


def unlike_a_person(base: Path, folder: str) -> str | None:
    """Why a folder is not a person's: it has no folder audios or images. None if it has one or cannot be read."""
    try:
        with os.scandir(base / folder) as scanned:
            names = sorted(entry.name for entry in scanned if visible((entry.name,), True))
    except OSError:
        return None  # files_of yields the reason
    if any(name.lower() in SPELT["speech"] | SPELT["face"] for name in names):
        return None
    inside = ", but " + ", ".join(names[:3]) + ", ..." * (len(names) > 3) if names else ""
    return f"no folder audios or images in it{inside}"


def log_problems(base: Path, problems: Sequence[Found]) -> None:
    """Log the folders and links that could not be followed below a folder: the first few, and the number of others."""
    for one in problems[:SHOWN]:
        log.warning("%s: %s", base / one.path, one.problem)
    if (more := len(problems) - SHOWN) > 0:
        log.warning("%s: %d more folders and links that cannot be followed", base, more)


def directory(path: Path, option: str, make: bool = False) -> Path:
    """Check that a directory can be read, and return it. make: create it if it is missing.

    Raises UserError, naming the option.
    """
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        with os.scandir(path):
            return path
    except OSError as error:
        problem = obstacle(path, error)
        if isinstance(error, FileNotFoundError) and not os.path.islink(path):
            problem = "no such directory"
        elif isinstance(error, NotADirectoryError | FileExistsError) and not os.path.islink(path):
            problem = "a file, not a directory" if os.path.isfile(path) else "no directory, as a file is in its way"
        raise UserError(f"{option}={path}: {problem}") from None
