"""Normalized faces: the aligned crop of each person's most frontal photo, with landmarks and a mask."""

import hashlib
import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from speech2face.errors import UserError, reason
from speech2face.files import atomic
from speech2face.preparation import manifest
from speech2face.preparation.person import can_cut, person_mask
from speech2face.preprocessing.alignment import align, alignment, transform
from speech2face.preprocessing.photo import open_image

log = logging.getLogger(__name__)
VERSION = 1  # raise it when the same photo gives another crop or mask
Each = Callable[[Callable[[manifest.Row], manifest.Row], list[manifest.Row]], Iterable[manifest.Row]]  # as map()


def write_normalized(root: Path, faces: pa.Table, each: Each = map) -> None:
    """Write prepared/normalized.parquet, and crops and masks below prepared/normalized. People without landmarks have
    no row.

    each: calls a function for many rows, as map() does, perhaps on several processes.
    """
    (root / "prepared" / "normalized").mkdir(exist_ok=True)
    rows = list(each(partial(normalize, root), best_photos(faces)))
    for row in rows:
        if row["error"]:
            log.warning("%s: no normalized face: %s", row["person"], row["error"])
    if rows and not can_cut():
        log.warning("all of a photo counts as person; to cut people out: pip install 'speech2face[portraits]'")
    text = {name: pa.string() for name in ("person", "split", "path", "sha256", "mask")}
    schema = pa.schema(text | {"landmarks": pa.list_(pa.float32(), 144)})
    rows = [{name: row[name] for name in schema.names} for row in rows if not row["error"]]
    with atomic(root / "prepared" / "normalized.parquet") as partial_file:
        pq.write_table(pa.Table.from_pylist(rows, schema), partial_file)


def best_photos(faces: pa.Table) -> list[manifest.Row]:
    """The row of each person's most frontal photo with landmarks.

    A photo with a problem, such as one that shows another person, is taken only if the person has no other.
    """
    table = faces.select(("person", "split", "status", "problem", "path", "sha256", "landmarks"))
    best: dict[str, tuple[tuple[bool, float], manifest.Row]] = {}
    for batch in table.to_batches(manifest.ROWS):
        for row in batch.to_pylist():
            if row["status"] != "ok" or row["landmarks"] is None:
                continue
            row["landmarks"] = np.array(row["landmarks"], np.float32)
            rank = bool(row["problem"]), turn(row["landmarks"].reshape(-1, 2))
            if row["person"] not in best or rank < best[row["person"]][0]:
                best[row["person"]] = rank, row
    return [row for _, row in best.values()]


def turn(points: np.ndarray) -> float:
    """How far a face with landmarks (72, 2) is turned to a side: 0 (frontal) to 1, by the asymmetry of its halves."""
    left, right = (np.linalg.norm(points[side] - points[30]) for side in (2, 14))
    return abs(left - right) / max(left + right, 1e-6)


def normalize(root: Path, row: manifest.Row) -> manifest.Row:
    """Write the aligned crop and the mask of a photo, if they are not there.

    row: of faces.parquet. Returns it with `error`, or with `path` of the crop, `mask`, and `landmarks` (144,) in pixels
    of the crop. A mask is a PNG file with the values of speech2face.preparation.person.
    """
    points = row["landmarks"].reshape(-1, 2)
    of = f"{VERSION} {can_cut()} {row['sha256']}".encode() + points.tobytes()
    name = f"prepared/normalized/{hashlib.sha256(of).hexdigest()[:32]}"
    paths = {"path": f"{name}.jpg", "mask": f"{name}.png"}
    aligned = transform(points, alignment(points)).astype(np.float32)
    try:
        if not all((root / path).exists() for path in paths.values()):
            crop, inside = align(open_image(root / row["path"]), points)
            mask = person_mask(np.asarray(crop), inside, aligned)
            with atomic(root / paths["path"]) as partial_file:
                crop.save(partial_file, "JPEG", quality=95, subsampling=0)
            with atomic(root / paths["mask"]) as partial_file:
                Image.fromarray(mask).save(partial_file, "PNG")
    except (UserError, OSError) as error:
        return row | {"error": reason(error, root / row["path"])}
    return row | paths | {"landmarks": aligned.ravel(), "error": None}
