"""dlib's face descriptor (King, "Dlib-ml", JMLR 2009) as a judge."""

from collections.abc import Sequence

import numpy as np

from speech2face.judges.base import Judge, Opinion, Portrait
from speech2face.preprocessing.landmarks import IBUG
from speech2face.weights.locate import locate
from speech2face.weights.part import Part

CHIP, PADDING = 150, 0.25  # of dlib's example face_recognition.py
BATCH = 16


class DlibDescriptor(Judge):
    """Portraits -> descriptors (n, 128), not of length one: dlib calls two nearer than 0.6 the same person."""

    def __init__(self, weights: str, slot: str = "judge") -> None:
        network = {"_target_": "speech2face.encoders.dlib_resnet.DlibResNet"}
        self.part = Part(weights=weights, model=network, modality="face", slot=slot, option="dlib")
        self.located = locate(self.part)
        self.weights, self.digest = self.located.absolute, self.located.digest

    def load(self) -> None:
        """Read the network. Raises UserError if the file is damaged or of another network."""
        from speech2face.weights.load import load

        self.network = load(self.part, located=self.located).network

    def __call__(self, portraits: Sequence[Portrait]) -> Opinion:
        """Look at n portraits, each aligned by its landmarks."""
        import torch

        from speech2face.preprocessing.image import to_batch

        found = []
        with torch.inference_mode():
            for start in range(0, len(portraits), BATCH):
                chips = np.stack([chip(one) for one in portraits[start : start + BATCH]])
                found.append(self.network.describe_chips(to_batch(chips)).numpy())
        return Opinion(np.concatenate(found))


def chip(portrait: Portrait) -> np.ndarray:
    """dlib's face chip (150, 150, 3) uint8 RGB of a portrait."""
    import dlib

    found = {number: dlib.point(*map(round, xy)) for number, xy in zip(IBUG, portrait.landmarks, strict=True)}
    face = portrait.face
    box = dlib.rectangle(*(round(edge) for edge in (face.left, face.top, face.right, face.bottom)))
    shape = dlib.full_object_detection(box, [found[number] for number in range(68)])
    return dlib.get_face_chip(np.array(portrait.image), shape, CHIP, PADDING)
