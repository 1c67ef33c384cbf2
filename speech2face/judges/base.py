"""What a judge is given and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image as PillowImage

from speech2face.preprocessing.alignment import SIDE
from speech2face.preprocessing.faces import Face, detect_faces
from speech2face.preprocessing.landmarks import find_landmarks

USUAL = (54, 72, 170, 188)  # left, top, right, bottom of a detected face in an aligned crop of SIDE pixels


@dataclass
class Portrait:
    """A picture, and the face on it.

    image: RGB. face: its box in pixels. landmarks: (72, 2) float32 as x, y in pixels. detected: False where no face was
    detected; the picture is then taken to be framed as an aligned crop, as drawn faces are.
    """

    image: PillowImage.Image
    face: Face
    landmarks: np.ndarray
    detected: bool


def find_face(image: PillowImage.Image) -> Portrait:
    """Find the most confident face on an RGB image and its landmarks."""
    faces = detect_faces(image)
    left, top, right, bottom = np.array(USUAL) / SIDE * (image.width, image.height, image.width, image.height)
    face = faces[0] if faces else Face(left, top, right, bottom, 0.0)
    return Portrait(image, face, find_landmarks(image, face), bool(faces))


@dataclass
class Opinion:
    """What a judge says of n portraits.

    embeddings: (n, d) float32, of a recogniser. probabilities: (n, c) float32 of its classes, the people that it was
    trained on, if it has them. traits: (n,) values by trait: "sex" as "female" or "male", "age" in years.
    """

    embeddings: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    traits: dict[str, np.ndarray] = field(default_factory=dict)


class Judge:
    """Base class of judges. Its constructor checks that packages and files are there, and reads no network.

    weights: as the user named them, with a path made absolute; None if the judge has no such argument.
    digest: SHA-256 of the weights. It tells whether the judge took part in training: the cards of weights name the
    weights that they were trained with.
    """

    weights: str | None = None
    digest: str | None = None

    def load(self) -> None:
        """Read the networks. Raises UserError for files that are damaged or of another network."""
        raise NotImplementedError

    def __call__(self, portraits: Sequence[Portrait]) -> Opinion:
        """Look at n portraits."""
        raise NotImplementedError


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (n, d) scaled to length one, float32."""
    return (embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)).astype(np.float32)
