"""The results of a run: results.csv, the folder of each input and the contact sheet."""

import csv
import io
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.PngImagePlugin import PngInfo

from speech2face import __version__
from speech2face.decoders.landmarks import LANDMARK_PARTS
from speech2face.files import atomic, csv_line
from speech2face.inference import pictures, sheets

if TYPE_CHECKING:
    from speech2face.inference.decoder import Face
    from speech2face.inference.reconstructor import Reconstruction

log = logging.getLogger(__name__)
COLUMNS = ("input", "sha256", "status", "error", "seconds", "output")
FILES = ("face.png", "embedding.npy", "panel.png")  # of every input, unless write= leaves them out
SAMPLES = "samples.npz"  # with samples=


def read_results(directory: Path) -> Iterator[dict[str, str]]:
    """The rows of a run's results.csv one by one, or none if there is no such file."""
    file = directory / "results.csv"
    if file.exists():
        with open(file, newline="", encoding="utf-8", errors="surrogateescape") as stream:
            yield from csv.DictReader(stream)


def rows_done(directory: Path) -> Iterator[dict[str, str]]:
    """The rows of the inputs that are done."""
    return (row for row in read_results(directory) if row["status"] == "done")


def files_of(write: Collection[str], samples: bool) -> tuple[str, ...]:
    """The files that every input has in its folder. write: what is written (options.Output); samples: with samples=."""
    if list(write) == ["embeddings"]:
        return ()
    written = {"face.png": "faces" in write, "embedding.npy": "embeddings" in write, "panel.png": "panels" in write}
    return tuple(name for name, asked in (written | {SAMPLES: samples}).items() if asked)


class Results:
    """Appends rows to results.csv. Each row is one write, so an interruption leaves no incomplete row.

    measurements: names of columns after the common ones. kept: rows of an earlier run, written first.
    """

    def __init__(self, directory: Path, measurements: tuple[str, ...], kept: list[dict[str, str]]) -> None:
        self.columns = (*COLUMNS, *measurements, "warnings")
        with atomic(directory / "results.csv") as partial:
            header = dict(zip(self.columns, self.columns, strict=True))
            partial.write_bytes(b"".join(map(self._line, [header, *kept])))
        self._file = os.open(directory / "results.csv", os.O_APPEND | os.O_WRONLY)

    def _line(self, row: Mapping[str, object]) -> bytes:
        return csv_line(row.get(column) for column in self.columns)

    def add(self, row: Mapping[str, object]) -> None:
        """Append a row: value by column."""
        os.write(self._file, self._line(row))

    def close(self) -> None:
        os.close(self._file)


def is_untrained(weights: dict[str, dict[str, Any]]) -> bool:
    """Whether any part has random weights. weights: record["weights"] of run.json."""
    return any(one["untrained"] for one in weights.values())


def marks(digest: str | None, weights: dict[str, dict[str, Any]]) -> PngInfo:
    """The text fields of a face's PNG file, which call it synthetic.

    digest: SHA-256 of the input. weights: record["weights"] of run.json, of encoder and decoder.
    """
    made_with = {
        part: f"{one['choice']}, " + ("random weights" if one["untrained"] else f"weights sha256 {one['sha256']}")
        for part, one in weights.items()
    }
    text = PngInfo()
    for key, value in {
        "Title": "Synthetic face, not a photograph",
        "Description": "Reconstructed by a neural network; an average-looking face, not the likeness of a person."
        + (" UNTRAINED: the weights are random." if is_untrained(weights) else ""),
        "Source": f"input sha256 {digest}",
        "Software": f"speech2face {__version__}",
        "Encoder": made_with["encoder"],
        "Decoder": made_with["decoder"],
        "Prior": made_with.get("prior"),
    }.items():
        if value:
            text.add_itxt(key, value)
    return text


def write_files(
    folder: Path,
    name: str,
    digest: str | None,
    result: "Reconstruction",
    weights: dict[str, dict[str, Any]],
    write: Collection[str] = ("embeddings", "faces", "panels"),
) -> None:
    """Write the files of one input, atomically. Without pictures there is no folder of it.

    name: of the input. digest: its SHA-256. weights: record["weights"] of run.json, of encoder and decoder. write:
    "faces": face.png, landmarks.csv, samples/N.png and samples.npz; "panels": panel.png; "embeddings": embedding.npy.
    """
    if not files_of(write, False):
        return
    folder.mkdir(parents=True, exist_ok=True)
    untrained, text = is_untrained(weights), marks(digest, weights)

    def marked(face: "Face") -> np.ndarray:
        return pictures.mark_untrained(face.image) if untrained else face.image

    if "embeddings" in write:
        with atomic(folder / "embedding.npy") as partial, open(partial, "wb") as file:
            np.save(file, result.embedding)
    samples = result.faces.samples
    if "faces" in write:
        _write_faces(folder, result, marked, text)
    if "panels" not in write:
        return
    caption = "   ".join(f"{part} {one['choice']}: {Path(one['weights']).name}" for part, one in weights.items())
    picture = pictures.panel(
        name,
        result.prepared.preview,
        marked(result.faces.typical),
        result.landmarks,
        LANDMARK_PARTS,
        caption,
        untrained,
        [marked(one) for one in samples],
        result.faces.heard,
        str(result.estimate),
    )
    with atomic(folder / "panel.png") as partial:
        partial.write_bytes(pictures.png(picture, text))


def _write_faces(folder: Path, result: "Reconstruction", marked: "Callable[[Face], np.ndarray]", text: PngInfo) -> None:
    """Write the faces and their landmarks. marked: the pixels of a face. text: fields of the PNG files."""
    samples = result.faces.samples
    files = {"face": result.faces.typical} | {f"samples/{number}": face for number, face in enumerate(samples, 1)}
    if samples:
        (folder / "samples").mkdir(exist_ok=True)
    for stem, face in files.items():
        with atomic(folder / f"{stem}.png") as partial:
            partial.write_bytes(pictures.png(marked(face), text))
    if samples:
        with atomic(folder / SAMPLES) as partial, open(partial, "wb") as file:
            np.savez(file, **as_arrays(samples))
    if result.landmarks is not None:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("part", "x", "y"))
        names = [part for part, count in LANDMARK_PARTS.items() for _ in range(count)]
        writer.writerows(
            (part, f"{x:.4f}", f"{y:.4f}") for part, (x, y) in zip(names, result.landmarks.tolist(), strict=True)
        )
        with atomic(folder / "landmarks.csv") as partial:
            partial.write_text(table.getvalue())


def as_arrays(faces: "list[Face]") -> dict[str, np.ndarray]:
    """The arrays of samples.npz: "images" (n, height, width, 3) uint8 RGB, and what is known of "landmarks" (n, 72, 2),
    "scores" (n,) and "embeddings" (n, 4096)."""
    known = {"images": "image", "landmarks": "landmarks", "scores": "score", "embeddings": "embedding"}
    found = {name: [getattr(face, one) for face in faces] for name, one in known.items()}
    return {name: np.array(values) for name, values in found.items() if values[0] is not None}


def write_failures(directory: Path, root: Path, errors: dict[str, str]) -> None:
    """Write results.csv with a row for each file that could not be read, and log them.

    errors: the reason by path relative to `root`.
    """
    results = Results(directory, (), [])
    for path, error in errors.items():
        results.add({"input": str(root / path), "status": "failed", "error": error})
        log.error("failed: %s: %s", root / path, error)
    results.close()


def write_passed_over(directory: Path, root: Path, errors: dict[str, str]) -> None:
    """Add rows to results.csv for files without which a training went on. The arguments are those of write_failures."""
    results = Results(directory, (), list(read_results(directory)))
    for path, error in errors.items():
        results.add({"input": str(root / path), "status": "passed_over", "error": error})
    results.close()


def write_contact_sheet(directory: Path, total: int) -> None:
    """Write contact_sheet.png of the faces in results.csv, if there are any. total: number of faces of the run."""
    rows = islice(rows_done(directory), sheets.FACES)
    faces = [(row["output"], directory / row["output"] / "face.png") for row in rows]
    if faces:
        title = f"{total} faces" + f", the first {len(faces)} shown" * (total > len(faces))
        with atomic(directory / "contact_sheet.png") as partial:
            sheets.contact_sheet(faces, title).save(partial, "PNG")
