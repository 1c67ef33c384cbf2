"""The 72 landmarks of a face in a photo."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage

from speech2face.preprocessing.faces import Face, crop_padded, face_box

if TYPE_CHECKING:
    import dlib

# The iBUG point of each of the 72 landmarks. A lip runs from a corner along its outer edge, then back along its inner.
IBUG = (*range(48), *range(48, 55), *range(64, 59, -1), *range(54, 60), 48, 60, *range(67, 63, -1))


@cache
def _predictor() -> "dlib.shape_predictor":
    import dlib
    import face_recognition_models

    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


def find_landmarks(image: PillowImage.Image, face: Face) -> np.ndarray:
    """Landmarks (72, 2) float32 as x, y in pixels, by dlib's 68-point predictor (Kazemi and Sullivan, CVPR 2014)."""
    import dlib

    # The predictor reads only the surroundings of the face, so a large photo is cropped and reduced for it.
    scale = max(1, int((face.right - face.left) // 400))
    box = face_box(face, 0.5)
    near = crop_padded(image, box)
    near = near.reduce(scale) if scale > 1 else near
    edges = (face.left - box[0], face.top - box[1], face.right - box[0], face.bottom - box[1])
    shape = _predictor()(np.asarray(near), dlib.rectangle(*(round(edge / scale) for edge in edges)))
    points = np.array([(shape.part(i).x, shape.part(i).y) for i in IBUG], np.float32)
    return (points + 0.5) * scale - 0.5 + np.array(box[:2], np.float32)
