"""The pictures that drawn faces are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from speech2face.data.dataset import Dataset
from speech2face.preprocessing.alignment import align, alignment, transform
from speech2face.preprocessing.faces import detect_faces, points_in_crop
from speech2face.preprocessing.landmarks import find_landmarks
from speech2face.preprocessing.photo import open_image

if TYPE_CHECKING:
    from speech2face.evaluation.evaluation import Drawn

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


@dataclass
class Pairs:
    """Drawn and true faces in one frame.

    rows: (j,) which of the k drawn faces these are. drawn, true: (j, 224, 224, 3) uint8. known: (j, 224, 224) bool, the
    pixels that both have; None: all. landmarks: (j, 72, 2) of the drawn and of the true faces, in pixels; None if
    the decoder gives none.
    """

    rows: np.ndarray
    drawn: np.ndarray
    true: np.ndarray
    known: np.ndarray | None
    landmarks: tuple[np.ndarray, np.ndarray] | None


def framed_alike(dataset: Dataset, people: Sequence[str], photos: Sequence[str], faces: "Drawn") -> Pairs:
    """Pairs of the faces drawn from photos, and the faces that they should be.

    people, photos: (k,) names and paths. The true faces are the normalized faces of the dataset. If it lacks one of
    them, they are the photos; photos and drawn faces are then aligned by their eyes and mouths (`align`), and those
    without landmarks are left out. Landmarks that the dataset lacks are found in the photo.
    """
    if found := normalized(dataset, people):
        true, points, known = found
        landmarks = None if faces.landmarks is None else (faces.landmarks, points)
        return Pairs(np.arange(len(photos)), faces.images, true, known, landmarks)
    rows, drawn, true, known, landmarks = [], [], [], [], []
    for row, path in enumerate(photos if faces.landmarks is not None else ()):
        image = open_image(dataset.root / path)
        points = dataset.landmarks.get(path)
        if points is None and (detected := detect_faces(image)):
            points = find_landmarks(image, detected[0])
        if points is None:
            continue
        pair = ((Image.fromarray(faces.images[row]), faces.landmarks[row]), (image, points))
        (one, inside), (other, visible) = (align(*face) for face in pair)
        rows.append(row)
        drawn.append(np.asarray(one))
        true.append(np.asarray(other))
        known.append(inside & visible)
        landmarks.append([transform(corners, alignment(corners)) for _, corners in pair])
    if not rows:
        return Pairs(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), None, None)
    ours, theirs = np.stack(landmarks).swapaxes(0, 1)
    return Pairs(np.array(rows), np.stack(drawn), np.stack(true), np.stack(known), (ours, theirs))
