"""The results of a run: results.csv, the folder of each input and the contact sheet."""

import csv
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.PngImagePlugin import PngInfo

from speech2face import __version__
from speech2face.data.folders import SPELT
from speech2face.data.parquet import write_embeddings
from speech2face.decoders.landmarks import LANDMARK_PARTS
from speech2face.files import atomic, csv_line
from speech2face.inference import pictures, sheets

if TYPE_CHECKING:
    from speech2face.inference.decoder import Face
    from speech2face.inference.reconstructor import Reconstruction

log = logging.getLogger(__name__)
COLUMNS = ("input", "sha256", "status", "error", "seconds", "output")
FILES = ("face.png", "embedding.npy", "panel.png")  # of every input
SAMPLES = "samples.npz"  # with samples=
EMBEDDINGS = "embeddings.parquet"
GROUP = 1024  # rows of a row group of this table


def read_results(directory: Path) -> list[dict[str, str]]:
    """The rows of a run's results.csv, or none if there is no such file."""
    file = directory / "results.csv"
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


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
    folder: Path, name: str, digest: str | None, result: "Reconstruction", weights: dict[str, dict[str, Any]]
) -> None:
    """Write face.png, embedding.npy, landmarks.csv, samples/N.png, samples.npz and panel.png of one input, atomically.

    name: of the input. digest: its SHA-256. weights: record["weights"] of run.json, of encoder and decoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    untrained, text = is_untrained(weights), marks(digest, weights)

    def marked(face: "Face") -> np.ndarray:
        return pictures.mark_untrained(face.image) if untrained else face.image

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
    with atomic(folder / "embedding.npy") as partial, open(partial, "wb") as file:
        np.save(file, result.embedding)
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
    caption = "   ".join(f"{part} {one['choice']}: {Path(one['weights']).name}" for part, one in weights.items())
    image = marked(result.faces.typical)
    picture = pictures.panel(
        name,
        result.prepared.preview,
        image,
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
    results = Results(directory, (), read_results(directory))
    for path, error in errors.items():
        results.add({"input": str(root / path), "status": "passed_over", "error": error})
    results.close()


def write_contact_sheet(directory: Path, total: int) -> None:
    """Write contact_sheet.png of the faces in results.csv, if there are any. total: number of faces of the run."""
    rows = [row for row in read_results(directory) if row["status"] == "done"]
    faces = [(row["output"], directory / row["output"] / "face.png") for row in rows[: sheets.FACES]]
    if faces:
        title = f"{total} faces" + f", the first {len(faces)} shown" * (total > len(faces))
        with atomic(directory / "contact_sheet.png") as partial:
            sheets.contact_sheet(faces, title).save(partial, "PNG")


def write_embedding_table(directory: Path) -> None:
    """Write embeddings.parquet: input, person, sha256 and embedding of every row of results.csv that is done.

    It is made of the files embedding.npy, and is therefore right after resume=, too. person: see `person_of`.
    """
    rows = [row for row in read_results(directory) if row["status"] == "done"]

    def batch(some: list[dict[str, str]]) -> tuple[dict[str, list[str | None]], np.ndarray]:
        inputs = [_readable(row["input"]) for row in some]
        people = [person_of(Path(one)) for one in inputs]
        columns = {"input": inputs, "person": people, "sha256": [row["sha256"] for row in some]}
        return columns, np.stack([np.load(directory / row["output"] / "embedding.npy") for row in some])

    if rows:
        batches = (batch(rows[start : start + GROUP]) for start in range(0, len(rows), GROUP))
        write_embeddings(directory / EMBEDDINGS, batches)


def person_of(file: Path) -> str | None:
    """The person of a file in the layout of a dataset, <person>/audios/** or <person>/images/**; None elsewhere."""
    folders = [folder for folder in file.parents if folder.name.lower() in set.union(*SPELT.values())]
    return folders[0].parent.name or None if folders else None


def _readable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode("utf-8", "replace")
