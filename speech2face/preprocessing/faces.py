"""Faces in photos: detection, the crop around a face, and the coordinates of points in a crop."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage

from speech2face.preprocessing.face_network import find_faces

if TYPE_CHECKING:
    import dlib

# Longer sides in pixels at which faces are looked for until one is found. The detector finds none below 80 pixels.
SIDES = (360, 720, 2048)
CNN_SIDE, CNN_ENLARGED = 720, 2  # the slower detector, which tries last, takes 0.2 s on a core


@dataclass
class Face:
    """The box of a detected face in pixels of the photo. score: confidence of the detector, above 0."""

    left: float
    top: float
    right: float
    bottom: float
    score: float


class _Detector(threading.local):
    """The detector of one thread, because it keeps the image that it works on."""

    @cached_property
    def hog(self) -> "dlib.fhog_object_detector":
        import dlib

        return dlib.get_frontal_face_detector()


_detector = _Detector()


def detect_faces(image: PillowImage.Image) -> list[Face]:
    """Detect faces. Returns them with the most confident first.

    dlib's HOG detector of frontal faces looks at SIDES, one after the other, until it finds any. If it finds none,
    dlib's convolutional network (King, arXiv 1502.00046) looks for faces that are turned, tilted or blurred.
    """
    longest = max(image.size)
    for side in SIDES:
        if side > SIDES[1] and longest <= SIDES[1]:  # enlarging such a photo further finds no more
            break
        small = _resized(image, min(side, 4 * longest))
        rectangles, scores, _ = _detector.hog.run(np.asarray(small), 0, 0.0)
        if rectangles:
            break
    found = [(s, (r.left(), r.top(), r.right(), r.bottom())) for r, s in zip(rectangles, scores, strict=True)]
    if not found:
        small = _resized(image, min(CNN_SIDE, CNN_ENLARGED * longest))
        found = find_faces(np.asarray(small))
    x, y = image.width / small.width, image.height / small.height
    faces = [
        Face(left * x, top * y, (right + 1) * x, (bottom + 1) * y, score) for score, (left, top, right, bottom) in found
    ]
    return sorted(faces, key=lambda face: -face.score)


def _resized(image: PillowImage.Image, side: int) -> PillowImage.Image:
    scale = side / max(image.size)
    size = [max(1, round(edge * scale)) for edge in image.size]
    return image.resize(size, PillowImage.Resampling.BILINEAR, reducing_gap=2.0)


def face_box(face: Face, margin: float) -> tuple[int, int, int, int]:
    """The square around a face as left, top, right, bottom in pixels.

    margin: added on every side, as a share of the face's size.
    """
    half = max(face.right - face.left, face.bottom - face.top) * (0.5 + margin)
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    return round(x - half), round(y - half), round(x + half), round(y + half)


def crop_padded(image: PillowImage.Image, box: tuple[int, int, int, int]) -> PillowImage.Image:
    """Crop an image to a box. Outside the image its edge is repeated, so a face at the border keeps its proportions."""
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if inside == tuple(box):
        return image.crop(box)
    crop = np.asarray(image.crop(inside))
    pads = ((inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2]), (0, 0))
    return PillowImage.fromarray(np.pad(crop, pads, mode="edge"))


def points_in_crop(points: np.ndarray, box: Sequence[float], size: int) -> np.ndarray:
    """Points (..., 2) as x, y in pixels of a photo -> in pixels of its crop to `box`, resized to size x size.

    box: left, top, right, bottom. Integer coordinates are the centres of pixels.
    """
    left, top, right, bottom = box
    return (points - (left, top) + 0.5) * (size / (right - left), size / (bottom - top)) - 0.5
