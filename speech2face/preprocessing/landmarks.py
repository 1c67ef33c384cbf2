"""The 72 landmarks of a face in a photo."""

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage

from speech2face.preprocessing.faces import Face, crop_padded, face_box

if TYPE_CHECKING:
    import dlib

# The iBUG point of each of the 72 landmarks. A lip runs from a corner along its outer edge, then back along its inner.
IBUG = (*range(48), *range(48, 55), *range(64, 59, -1), *range(54, 60), 48, 60, *range(67, 63, -1))
UPRIGHT = 10  # degrees of tilt that do not matter


@cache
def _predictor() -> "dlib.shape_predictor":
    import dlib
    import face_recognition_models

    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


def find_landmarks(image: PillowImage.Image, face: Face) -> np.ndarray:
    """Landmarks (72, 2) float32 as x, y in pixels, by dlib's 68-point predictor (Kazemi and Sullivan, CVPR 2014).

    The predictor expects an upright face, so a face that it finds to be tilted is turned, and predicted again.
    """
    # The predictor reads only the surroundings of the face, so a large photo is cropped and reduced for it.
    scale = max(1, int((face.right - face.left) // 400))
    box = face_box(face, 0.5)
    near = crop_padded(image, box)
    near = near.reduce(scale) if scale > 1 else near
    edges = np.array([face.left - box[0], face.top - box[1], face.right - box[0], face.bottom - box[1]]) / scale
    points, tilt = _predict(near, edges), 0.0
    for _ in range(2):
        across, down = points[42:48].mean(0) - points[36:42].mean(0)
        found = math.degrees(math.atan2(down, across))
        if abs(found - tilt) < UPRIGHT:
            break
        tilt = found
        centre = np.array([near.width, near.height]) / 2
        turned = near.rotate(tilt, PillowImage.Resampling.BILINEAR, center=tuple(centre))
        cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        points = (_predict(turned, edges) + 0.5 - centre) @ [(cosine, sine), (-sine, cosine)] + centre - 0.5
    return ((points + 0.5) * scale - 0.5 + box[:2]).astype(np.float32)


def _predict(image: PillowImage.Image, edges: np.ndarray) -> np.ndarray:
    """Landmarks (72, 2) of a face in the box `edges` (left, top, right, bottom)."""
    import dlib

    shape = _predictor()(np.asarray(image), dlib.rectangle(*edges.round().astype(int).tolist()))
    return np.array([(shape.part(i).x, shape.part(i).y) for i in IBUG], np.float64)
