"""What is measured on faces, and the chart of what a voice fixes of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from speech2face.inference.decoder import Face

BROWS, NOSE, EYES, CHIN, JAW = slice(17, 27), slice(31, 36), (slice(36, 42), slice(42, 48)), 8, (3, 13)  # landmarks
LABELS = {
    "sex": "sex",
    "age": "age",
    "skin_tone": "skin tone",
    "hair_tone": "hair tone",
    "face_width": "face width",
    "jaw_length": "jaw",
}


def measure(face: "Face") -> dict[str, float]:
    """Attributes of a face that are measured on its picture.

    skin_tone, hair_tone: lightness, 0 to 1, of the cheeks and of a place above the forehead. face_width: width of the
    jaw, jaw_length: from the nose to the chin, both in distances from the brows to the chin. Empty without landmarks.
    """
    if face.landmarks is None:
        return {}
    points, image = face.landmarks, face.image.astype(np.float32) @ (0.299, 0.587, 0.114) / 255
    brows, chin, nose = points[BROWS].mean(0), points[CHIN], points[NOSE].mean(0)
    height = max(float(np.linalg.norm(chin - brows)), 1.0)
    cheeks = [(points[eye].mean(0)[0], nose[1]) for eye in EYES]
    above = brows + 0.62 * (brows - chin)
    return {
        "skin_tone": float(np.mean([_lightness(image, *one) for one in cheeks])),
        "hair_tone": _lightness(image, *above),
        "face_width": float(np.linalg.norm(points[JAW[0]] - points[JAW[1]])) / height,
        "jaw_length": float(np.linalg.norm(nose - chin)) / height,
    }


def _lightness(image: np.ndarray, x: float, y: float, radius: int = 4) -> float:
    """The median of grey values (height, width) around a point."""
    row, column = (int(np.clip(at, radius, size - radius - 1)) for at, size in zip((y, x), image.shape, strict=True))
    return float(np.median(image[row - radius : row + radius + 1, column - radius : column + radius + 1]))


def chart(shares: Mapping[str, float], width: int) -> Image.Image:
    """Bars of what a voice fixes, a share by trait (speech2face.inference.decoder.Prior.heard): dark is heard."""
    image = Image.new("RGB", (width, 44), "#ffffff")
    draw = ImageDraw.Draw(image)
    column = width // max(len(shares), 1)
    for number, (name, share) in enumerate(shares.items()):
        left, right = number * column, (number + 1) * column - 16
        draw.text((left, 2), f"{LABELS.get(name, name)}: {share:.0%} heard", "#6b7885", font_size=14)
        draw.rectangle((left, 26, right, 38), "#d9e2ec")
        draw.rectangle((left, 26, left + round((right - left) * share), 38), "#3d6fb4")
    return image
