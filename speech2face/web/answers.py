"""Uploads -> answers. Uploads belong to the visitor who sent them, and are removed with the visit."""

import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.errors import UserError, defect
from speech2face.files import sha256
from speech2face.run.results import write_files

if TYPE_CHECKING:
    from speech2face.inference.reconstructor import Reconstruction, Reconstructor

log = logging.getLogger(__name__)
Weights = dict[str, dict[str, Any]]  # of encoder, decoder and prior, as in run.json


@dataclass
class Ready:
    """Networks that can answer, and the record of their weights."""

    reconstructor: "Reconstructor"
    weights: Weights


@dataclass
class Answer:
    """The faces of one upload. name: of the upload. digest: its SHA-256. weights: of the networks that answered."""

    name: str
    digest: str
    result: "Reconstruction"
    weights: Weights


class Answers:
    """Answers uploads by networks, several at the same time.

    ready: networks by what they take, "speech" and "face". others: loads a further voice encoder, by name; each is
    called once, when it is first asked for. keep: directory for uploads and results; None: nothing is kept.
    """

    def __init__(
        self, ready: Mapping[str, Ready], others: Mapping[str, Callable[[], Ready]], keep: Path | None = None
    ) -> None:
        self.ready, self.others, self.keep = dict(ready), dict(others), keep
        self._loading, self._files = threading.Lock(), threading.Lock()
        self._uploads: dict[str, set[Path]] = {}  # of each visit

    def answer(self, path: Path, modality: str) -> Answer:
        """The faces of a recording ("speech") or a photo ("face"). Raises UserError, which names the file alone."""
        answer = _answer(self.ready[modality], path)
        if self.keep:
            folder = self.keep / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
            write_files(folder, path.stem, answer.digest, answer.result, answer.weights)
            shutil.copyfile(path, folder / f"input{path.suffix}")
        return answer

    def compare(self, path: Path) -> list[Answer]:
        """The faces of a recording by every voice encoder, the page's own first. Raises UserError as `answer` does."""
        with self._loading:
            for name in self.others.keys() - self.ready.keys():
                self.ready[name] = self.others[name]()
        return [_answer(self.ready[name], path) for name in ("speech", *self.others)]

    def remember(self, visit: str, path: Path) -> None:
        """Note that an upload belongs to a visit."""
        with self._files:
            self._uploads.setdefault(visit, set()).add(path)

    def forget(self, visit: str) -> None:
        """Remove the uploads of a visit, except those that another visitor has sent as well."""
        with self._files:
            gone = self._uploads.pop(visit, set())
            for path in gone.difference(*self._uploads.values()):
                path.unlink(missing_ok=True)


def _answer(ready: Ready, path: Path) -> Answer:
    try:
        return Answer(path.name, sha256(path), ready.reconstructor(path), ready.weights)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
    except FileNotFoundError:
        raise UserError(f"{path.name}: no longer here; give it again") from None
    except Exception as error:  # codecs and networks raise anything, and one upload must not stop the page
        log.exception("an upload failed")
        raise UserError(f"{path.name}: could not be used ({defect(error)})") from None
