"""dlib's face descriptor (King, "Dlib-ml", JMLR 2009) as a judge, by dlib itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speech2face.files import sha256
from speech2face.judges.base import Judge, Opinion, Portrait
from speech2face.preprocessing.landmarks import IBUG

CHIP, PADDING = 150, 0.25  # of dlib's example face_recognition.py


class DlibDescriptor(Judge):
    """Portraits -> descriptors (n, 128), not of length one: dlib calls two nearer than 0.6 the same person."""

    def __init__(self) -> None:
        import face_recognition_models

        self.file = Path(face_recognition_models.face_recognition_model_location())
        self.digest = sha256(self.file)

    def load(self) -> None:
        """Read the network."""
        import dlib

        self.network = dlib.face_recognition_model_v1(str(self.file))

    def __call__(self, portraits: Sequence[Portrait]) -> Opinion:
        """Look at n portraits, each aligned by its landmarks."""
        return Opinion(np.array([self.describe(one) for one in portraits], np.float32))

    def describe(self, portrait: Portrait) -> np.ndarray:
        """The descriptor (128,) of one portrait."""
        import dlib

        found = {number: dlib.point(*map(round, xy)) for number, xy in zip(IBUG, portrait.landmarks, strict=True)}
        face = portrait.face
        box = dlib.rectangle(*(round(edge) for edge in (face.left, face.top, face.right, face.bottom)))
        shape = dlib.full_object_detection(box, [found[number] for number in range(68)])
        chip = dlib.get_face_chip(np.array(portrait.image), shape, CHIP, PADDING)
        return np.array(self.network.compute_face_descriptor(chip, 0))
