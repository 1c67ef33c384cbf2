"""The front end of every face encoder: photo -> upright RGB -> crop of the face -> square of `size` pixels."""

import math
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image as PillowImage

from speech2face.errors import UserError
from speech2face.preprocessing import Prepared
from speech2face.preprocessing.alignment import align, alignment, box_matrix, corners
from speech2face.preprocessing.faces import Face, crop_padded, detect_faces, face_box
from speech2face.preprocessing.landmarks import find_landmarks
from speech2face.preprocessing.photo import from_array, from_pillow, open_image

if TYPE_CHECKING:
    from torch import nn

KEPT_PREVIEW = 720  # pixels; the preview of a photo that is not larger is the photo
CROPS = ("face", "aligned", "require", "none")


def to_batch(pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
    """(batch, height, width, 3) uint8 -> (batch, 3, height, width) float32 in [0, 1]."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 255


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _numbers(values: object) -> bool:
    """Whether the values are three numbers."""
    return isinstance(values, Sequence) and len(values) == 3 and all(map(_is_number, values))


class Image:
    """Front end of photos.

    crop: "face" crops to the most confident face, or takes the whole photo, with a warning, if there is no face;
        "aligned" does so too, and turns and scales the face so that eyes and mouth have fixed places (alignment.align,
        which has no margin); "require" refuses a photo without a face; "none" always takes the whole photo and does not
        keep its aspect ratio, as the published implementation does.
    margin: share of the face's size that is added on every side. size: width and height of the result in pixels.
    channel_order: "rgb" or "bgr". scale: value of white. mean, std: of the three channels, in that order and scale:
        the result is (x * scale - mean) / std for x in [0, 1].
    max_pixels: photos with more pixels are refused before they are decoded.

    Raises UserError for arguments out of range.
    """

    modality = "face"
    version = 3  # raise it when opening, cropping or scaling changes the result: cached embeddings depend on it
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
        if not _numbers(mean) or not _numbers(std) or 0 in std:
            raise UserError("preprocessing.mean and .std: must be three numbers, and no deviation zero")
        if not (_is_number(scale) and scale != 0):
            raise UserError(f"preprocessing.scale={scale}: must be a number other than 0")
        if not (isinstance(max_pixels, int) and max_pixels >= 1):
            raise UserError(f"preprocessing.max_pixels={max_pixels}: must be a whole number, at least 1")
        self.crop = crop
        self.margin = margin
        self.size = size
        self.channel_order = channel_order
        self.scale = scale
        self.mean = mean
        self.std = std
        self.max_pixels = max_pixels

    def fit_to(self, network: "nn.Module") -> None:
        """Does nothing: unlike speech, this front end depends on no property of the network."""

    @property
    def versions(self) -> list[int]:
        """The version of this code, part of the key of cached embeddings."""
        return [self.version]

    def with_crop(self, crop: str) -> "Image":
        """The same front end with another `crop`."""
        other = copy(self)
        other.crop = crop
        return other

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Images (batch, 3, height, width), RGB in [0, 1] -> channel order, scale, mean and deviation of the encoder.

        Photos, training batches and decoded faces all use this conversion. It is differentiable.
        """
        mean, std = (torch.tensor(list(one), device=pixels.device).view(3, 1, 1) for one in (self.mean, self.std))
        pixels = pixels.flip(1) if self.channel_order == "bgr" else pixels
        return (pixels * self.scale - mean) / std

    def __call__(
        self,
        source: str | Path | np.ndarray | PillowImage.Image,
        sample_rate: None = None,
        faces: list[Face] | None = None,
    ) -> Prepared:
        """A photo (file, Pillow image, or (height, width, 3) uint8 RGB) -> features (1, 3, size, size) and a report.

        A file and a Pillow image are turned upright, as their EXIF orientation says; pixels are taken as they are.

        sample_rate: not used; it is there because both front ends are called alike. faces: of the photo, the most
        confident first, if they have been detected. Raises UserError if the photo cannot be read, and for
        crop="require" if it has no face.
        """
        del sample_rate
        name = str(source) if isinstance(source, str | Path) else "image"
        if isinstance(source, str | Path):
            image = open_image(source, self.max_pixels)
        elif isinstance(source, PillowImage.Image):
            image = from_pillow(source, self.max_pixels)
        else:
            image = from_array(source)
        warnings: list[str] = []
        if self.crop == "none":
            faces = []
        elif faces is None:
            faces = detect_faces(image)
        if len(faces) > 1:
            warnings.append(f"{len(faces)} faces: took the most confident, at {face_box(faces[0], self.margin)}")
        if not faces and self.crop == "require":
            raise UserError(f"{name}: no face found (preprocessing.crop=none takes the whole photo)")
        if not faces and self.crop != "none":
            warnings.append("no face found: took the whole photo")
        if faces and self.crop == "aligned":
            landmarks = find_landmarks(image, faces[0])
            crop, _ = align(image, landmarks, self.size)
            matrix = alignment(landmarks, self.size)
            place = corners(matrix, self.size).round().astype(int).ravel().tolist()
        else:
            place = face_box(faces[0], self.margin) if faces else (0, 0, image.width, image.height)
            crop = crop_padded(image, place).resize((self.size, self.size), PillowImage.Resampling.BILINEAR)
            matrix = box_matrix(place, self.size)
        preview = image
        if max(image.size) > KEPT_PREVIEW:  # scaling takes longer than anything that shows a smaller one
            preview = image.copy()
            preview.thumbnail((512, 512))
        pixels = np.array(crop)
        return Prepared(
            features=self.normalize(to_batch(pixels[None])),
            preview={
                "photo": np.asarray(preview),
                "crop": pixels,
                "matrix": matrix,
                "outline": (corners(matrix, self.size) + 0.5) * (preview.width / image.width) - 0.5,
            },
            measurements={
                "width": image.width,
                "height": image.height,
                "faces": len(faces) if self.crop != "none" else None,
                "face_score": round(faces[0].score, 3) if faces else None,
                "crop": " ".join(map(str, place)),
            },
            warnings=warnings,
        )
