"""The pictures that drawn faces are compared with."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from speech2face.data.dataset import Dataset
from speech2face.inference.encoder import Encoder
from speech2face.preprocessing.alignment import transform
from speech2face.preprocessing.faces import points_in_crop
from speech2face.preprocessing.photo import open_image

SIZE = 224  # pixels of the faces that are compared


def normalized(dataset: Dataset, people: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """Normalized faces (k, 224, 224, 3) uint8 of some people, landmarks (k, 72, 2) in pixels, and what is known.

    The last is (k, 224, 224) bool, or None if the dataset has no masks and everything is known. All is None if the
    dataset lacks the normalized face of one of them.
    """
    paths = [dataset.normalized.get(person) for person in people]
    if None in paths:
        return None
    images = [open_image(dataset.root / path) for path in paths]
    points = [
        points_in_crop(dataset.landmarks[path], (0, 0, *image.size), SIZE)
        for path, image in zip(paths, images, strict=True)
    ]
    known = None
    if all(path in dataset.masks for path in paths):
        masks = [open_image(dataset.root / dataset.masks[path]) for path in paths]
        known = np.stack([np.asarray(one.resize((SIZE, SIZE), Image.Resampling.NEAREST))[..., 0] > 0 for one in masks])
    return np.stack([np.asarray(image.resize((SIZE, SIZE))) for image in images]), np.stack(points), known


def originals(dataset: Dataset, photos: Sequence[str], face: Encoder) -> tuple[np.ndarray, np.ndarray]:
    """Photos (k, 224, 224, 3) uint8 by their paths, as the face encoder's front end crops them.

    Landmarks (k, 72, 2) are in pixels of these images, NaN where the dataset has none.
    """
    crops, landmarks = [], np.full((len(photos), 72, 2), np.nan)
    size = face.preprocessing.size
    for i, path in enumerate(photos):
        preview = face.prepare(dataset.root / path).preview
        crops.append(np.asarray(Image.fromarray(preview["crop"]).resize((SIZE, SIZE))))
        points = dataset.landmarks.get(path)
        if points is not None:
            landmarks[i] = points_in_crop(transform(points, preview["matrix"]), (0, 0, size, size), SIZE)
    return np.stack(crops), landmarks
