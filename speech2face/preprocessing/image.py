"""Photo -> upright RGB -> face -> 224 x 224: what a face encoder sees."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from speech2face.errors import UserError, why_not
from speech2face.preprocessing import Prepared

CROPS = ("face", "require", "none")
DETECTION_PIXELS = 1024  # the longer side of what the face detector looks at: faces down to about 1/13 of it are found


@dataclass
class Face:
    """A detected face in pixels of the photo; score is the detector's confidence (above 0)."""

    left: float
    top: float
    right: float
    bottom: float
    score: float


@cache
def _formats() -> list[str]:
    """Every format of Pillow's but EPS, which would start Ghostscript."""
    PillowImage.init()
    return [name for name in PillowImage.ID if name != "EPS"]


def open_image(path: str | Path, max_pixels: int = 89_000_000) -> PillowImage.Image:
    """Open a photo as upright 8-bit RGB: EXIF orientation applied, transparency over white, 16 bits scaled to 8.

    Raises UserError for what is missing, not an image, cut short, or larger than `max_pixels` (before decoding it).
    """
    name = str(path)
    try:
        with PillowImage.open(path, formats=_formats()) as image:
            if image.width * image.height > max_pixels:
                raise UserError(
                    f"{name}: {image.width} x {image.height} pixels is more than preprocessing.max_pixels={max_pixels}"
                )
            return to_rgb(ImageOps.exif_transpose(image))
    except PillowImage.DecompressionBombError as error:
        raise UserError(f"{name}: {error}") from None
    except (FileNotFoundError, PermissionError, IsADirectoryError, UnidentifiedImageError) as error:
        raise UserError(f"{name}: {why_not(Path(path), error, 'an image that Pillow can read')}") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:  # Pillow's decoders raise all
        raise UserError(f"{name}: damaged or cut short ({error})") from None


def _from_array(pixels: np.ndarray) -> PillowImage.Image:
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(f"an image must be (height, width, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
    return PillowImage.fromarray(pixels)


def to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    """Any Pillow mode -> RGB. Deep grey is scaled from 16 bits, 32-bit and float from 255 or 1 if none is above."""
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.nan_to_num(np.asarray(image, np.float32))
        white = 65535 if image.mode.startswith("I;16") else next((w for w in (1, 255) if levels.max() <= w), 65535)
        levels = levels * (255 / white)
        return PillowImage.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return PillowImage.alpha_composite(PillowImage.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


class _Detector(threading.local):
    """dlib's detector keeps the picture that it looks at: one for each thread."""

    def __init__(self) -> None:
        import dlib

        self.detector = dlib.get_frontal_face_detector()


@cache
def _detectors() -> _Detector:
    return _Detector()


def detect_faces(image: PillowImage.Image) -> list[Face]:
    """Frontal faces by dlib's detector (HOG), the most confident first."""
    longest = max(image.size)
    small = image.reduce(max(1, longest // DETECTION_PIXELS))
    pixels = np.asarray(small)
    # Small pictures are doubled, so that faces smaller than the detector's window of 80 pixels are found in them.
    rectangles, scores, _ = _detectors().detector.run(pixels, int(max(small.size) < DETECTION_PIXELS), 0.0)
    scale = image.width / small.width
    faces = [
        Face(r.left() * scale, r.top() * scale, (r.right() + 1) * scale, (r.bottom() + 1) * scale, score)
        for r, score in zip(rectangles, scores, strict=True)
    ]
    return sorted(faces, key=lambda face: -face.score)


def face_box(face: Face, margin: float) -> tuple[int, int, int, int]:
    """The square around a face with `margin` (share of its size) on every side: left, top, right, bottom in pixels."""
    half = max(face.right - face.left, face.bottom - face.top) * (0.5 + margin)
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    return round(x - half), round(y - half), round(x + half), round(y + half)


def crop_padded(image: PillowImage.Image, box: tuple[int, int, int, int]) -> PillowImage.Image:
    """Crop; what lies outside the photo repeats its edge, so that a face at the border keeps its proportions."""
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    crop = np.asarray(image.crop(inside))
    pads = ((inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2]), (0, 0))
    return PillowImage.fromarray(np.pad(crop, pads, mode="edge"))


def points_in_crop(points: np.ndarray, box: Sequence[float], size: int) -> np.ndarray:
    """(..., 2) x, y in pixels of a photo -> in pixels of its crop by a box (left, top, right, bottom), size x size.

    Whole numbers are the middles of pixels.
    """
    left, top, right, bottom = box
    return (points - (left, top) + 0.5) * (size / (right - left), size / (bottom - top)) - 0.5


class Image:
    """Preprocessing of photos.

    crop: "face" takes the most confident face (the whole photo, with a warning, where there is none), "require" refuses
        a photo without one, "none" always takes the whole photo, aspect ratio not kept, as published.
    margin: share of the face's size added on every side. size: pixels of the square result.
    channel_order: "rgb" or "bgr". scale: white. mean, std: of the three channels in that order and scale:
        (x * scale - mean) / std.
    max_pixels: larger photos are refused before they are decoded.
    """

    modality = "face"
    measurements = ("width", "height", "faces", "face_score", "crop")

    def __init__(
        self,
        crop: str = "face",
        margin: float = 0.25,
        size: int = 224,
        channel_order: str = "rgb",
        scale: float = 1.0,
        mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        max_pixels: int = 89_000_000,
    ) -> None:
        if crop not in CROPS:
            raise UserError(f"preprocessing.crop={crop}: must be one of {', '.join(CROPS)}")
        if channel_order not in ("rgb", "bgr"):
            raise UserError(f"preprocessing.channel_order={channel_order}: must be rgb or bgr")
        if not (isinstance(margin, int | float) and 0 <= margin <= 10):
            raise UserError(f"preprocessing.margin={margin}: must be a number from 0 to 10")
        if not (isinstance(size, int) and 1 <= size <= 4096):
            raise UserError(f"preprocessing.size={size}: must be a whole number from 1 to 4096")
        if len(mean) != 3 or len(std) != 3 or 0 in std:
            raise UserError("preprocessing.mean and .std: must be three numbers, and no deviation zero")
        self.crop = crop
        self.margin = margin
        self.size = size
        self.channel_order = channel_order
        self.scale = scale
        self.mean = mean
        self.std = std
        self.max_pixels = max_pixels

    def convert(self, image: PillowImage.Image) -> torch.Tensor:
        """RGB image of the right size -> (1, 3, size, size) float32 in the encoder's convention."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 * self.scale
        if self.channel_order == "bgr":
            pixels = pixels.flip(0)
        mean, std = torch.tensor(self.mean).view(3, 1, 1), torch.tensor(self.std).view(3, 1, 1)
        return ((pixels - mean) / std)[None]

    def __call__(
        self,
        source: str | Path | np.ndarray | PillowImage.Image,
        sample_rate: None = None,
        faces: list[Face] | None = None,
    ) -> Prepared:
        """A photo (file, Pillow image, or (height, width, 3) uint8 RGB) -> features and what to report about it.

        faces: those in it, if they have been detected.
        """
        del sample_rate  # only sound has one
        name = str(source) if isinstance(source, str | Path) else "image"
        if isinstance(source, str | Path):
            image = open_image(source, self.max_pixels)
        else:
            image = to_rgb(source if isinstance(source, PillowImage.Image) else _from_array(source))
        warnings: list[str] = []
        if self.crop == "none":
            faces = []
        elif faces is None:
            faces = detect_faces(image)
        if faces:
            box = face_box(faces[0], self.margin)
            if len(faces) > 1:
                warnings.append(f"{len(faces)} faces: took the most confident, at {box}")
        else:
            box = (0, 0, image.width, image.height)
            if self.crop == "require":
                raise UserError(f"{name}: no face found (preprocessing.crop=none takes the whole photo)")
            if self.crop == "face":
                warnings.append("no face found: took the whole photo")
        crop = crop_padded(image, box).resize((self.size, self.size), PillowImage.Resampling.BILINEAR)
        preview = image.copy()
        preview.thumbnail((512, 512))
        return Prepared(
            features=self.convert(crop),
            preview={
                "photo": np.asarray(preview),
                "crop": np.asarray(crop),
                "box": [edge * preview.width / image.width for edge in box],
            },
            measurements={
                "width": image.width,
                "height": image.height,
                "faces": len(faces) if self.crop != "none" else None,
                "face_score": round(faces[0].score, 3) if faces else None,
                "crop": "{} {} {} {}".format(*box),
            },
            warnings=warnings,
        )
