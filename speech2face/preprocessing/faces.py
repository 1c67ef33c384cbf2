"""Faces in photos: detection, the crop around a face, and the coordinates of points in a crop."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image as PillowImage

DETECTION_PIXELS = 1024  # photos are reduced to about this longer side; faces down to about 1/13 of it are found


@dataclass
class Face:
    """The box of a detected face in pixels of the photo. score: confidence of the detector, above 0."""

    left: float
    top: float
    right: float
    bottom: float
    score: float


class _Detector(threading.local):
    """One detector per thread, because dlib's detector keeps the image that it works on."""

    def __init__(self) -> None:
        import dlib

        self.detector = dlib.get_frontal_face_detector()


@cache
def _detectors() -> _Detector:
    return _Detector()


def detect_faces(image: PillowImage.Image) -> list[Face]:
    """Detect frontal faces by dlib's HOG detector. Returns them with the most confident first."""
    longest = max(image.size)
    small = image.reduce(max(1, longest // DETECTION_PIXELS))
    pixels = np.asarray(small)
    # Small images are doubled (the argument 1), because the detector finds no face below its window of 80 pixels.
    rectangles, scores, _ = _detectors().detector.run(pixels, int(max(small.size) < DETECTION_PIXELS), 0.0)
    scale = image.width / small.width
    faces = [
        Face(r.left() * scale, r.top() * scale, (r.right() + 1) * scale, (r.bottom() + 1) * scale, score)
        for r, score in zip(rectangles, scores, strict=True)
    ]
    return sorted(faces, key=lambda face: -face.score)


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
    crop = np.asarray(image.crop(inside))
    pads = ((inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2]), (0, 0))
    return PillowImage.fromarray(np.pad(crop, pads, mode="edge"))


def points_in_crop(points: np.ndarray, box: Sequence[float], size: int) -> np.ndarray:
    """Points (..., 2) as x, y in pixels of a photo -> in pixels of its crop to `box`, resized to size x size.

    box: left, top, right, bottom. Integer coordinates are the centres of pixels.
    """
    left, top, right, bottom = box
    return (points - (left, top) + 0.5) * (size / (right - left), size / (bottom - top)) - 0.5
