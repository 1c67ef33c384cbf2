"""Cache of photos as a front end crops them, in one memory-mapped file."""

import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tqdm import tqdm

from speech2face.data.dataset import Dataset
from speech2face.errors import UserError, defect, reason
from speech2face.files import atomic, state
from speech2face.preprocessing.image import Image

log = logging.getLogger(__name__)
THUMBNAIL = 28  # width and height of a thumbnail in pixels


def crops(
    root: Path, paths: Sequence[str], preprocessing: Image, directory: Path, workers: int, name: str
) -> tuple[np.ndarray, dict[str, str]]:
    """Crop photos by a front end. Returns (n, size, size, 3) uint8, and the reason by path for unreadable photos.

    The crops are cached in a file in `directory` and memory-mapped. A photo that cannot be read is black.

    paths: relative to `root`. workers: threads. name: for the progress bar.
    """
    about = {"root": str(root.absolute()), "crop": preprocessing.crop, "margin": preprocessing.margin}
    about |= {"versions": preprocessing.versions, "heic": find_spec("pillow_heif") is not None}
    about |= {"files": [(path, *state(root / path)) for path in paths]}
    shape = (len(paths), preprocessing.size, preprocessing.size, 3)
    file = directory / f"{hashlib.sha256(json.dumps([about, shape]).encode()).hexdigest()[:20]}.u8"
    errors_file = file.with_suffix(".json")
    if not errors_file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        errors: dict[str, str] = {}

        def crop(path: str) -> np.ndarray:
            try:
                return preprocessing(root / path).preview["crop"]
            except UserError as error:
                errors[path] = reason(error, root / path)
            except Exception as error:  # codecs raise anything, and one file must not end a training
                errors[path] = f"could not be prepared ({defect(error)})"
            return np.zeros(shape[1:], np.uint8)

        with ThreadPoolExecutor(workers) as executor, atomic(file) as partial, open(partial, "wb") as stream:
            for start in tqdm(range(0, len(paths), 256), f"reading {name}", unit="256 photos"):
                for pixels in executor.map(crop, paths[start : start + 256]):
                    stream.write(np.ascontiguousarray(pixels).data)
        with atomic(errors_file) as partial:
            partial.write_text(json.dumps(errors))
        log.info("the crops of %s are kept for the next training: %s (training.crops=)", name, file)
    return np.memmap(file, np.uint8, "r", shape=shape), json.loads(errors_file.read_text())


def normalized_faces(
    dataset: Dataset, people: Sequence[str], directory: Path, workers: int, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the normalized faces of some people, (n, 224, 224, 3) uint8, their landmarks (n, 72, 2) float32, and masks.

    Masks are (n, 224, 224) uint8: 0 unknown, 1 background, 2 person; 2 where the dataset has none. directory, workers:
    see `crops`. name: for the progress bar. Raises UserError for a picture that cannot be read.
    """

    def read(paths: list[str], what: str) -> np.ndarray:
        pictures, failed = crops(dataset.root, paths, Image(crop="none"), directory, workers, f"{name} {what}")
        for path, error in failed.items():
            raise UserError(f"{dataset.root / path}: {error}")
        return pictures

    paths = [dataset.normalized[person] for person in people]
    pictures = read(paths, "normalized faces")
    masks = np.broadcast_to(np.uint8(2), pictures.shape[:3])
    if all(path in dataset.masks for path in paths):
        masks = read([dataset.masks[path] for path in paths], "masks")[..., 0]
    return pictures, np.stack([dataset.landmarks[path] for path in paths]).astype(np.float32), masks


def thumbnails(pictures: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(n, 224, 224, 3) uint8 -> (n, THUMBNAIL, THUMBNAIL, 3) float32 in [0, 1], by averaging what is known.

    masks: (n, 224, 224), 0 where a picture is unknown. A pixel of a thumbnail of which nothing is known is NaN.
    """
    step = pictures.shape[1] // THUMBNAIL
    shape = (THUMBNAIL, step, THUMBNAIL, step, -1)
    made = []
    for picture, mask in zip(pictures, masks, strict=True):
        known = (mask > 0).reshape(shape).astype(np.float32)
        with np.errstate(invalid="ignore"):
            made.append((picture.reshape(shape) * known).sum((1, 3)) / known.sum((1, 3)) / 255)
    return np.stack(made)
