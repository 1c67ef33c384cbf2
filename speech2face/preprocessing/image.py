"""Photo -> upright RGB -> face -> 224 x 224: the front end of every face encoder."""

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image as PillowImage

from speech2face.errors import UserError
from speech2face.preprocessing import Prepared
from speech2face.preprocessing.faces import Face, crop_padded, detect_faces, face_box
from speech2face.preprocessing.photo import from_array, open_image, to_rgb

if TYPE_CHECKING:
    from torch import nn

CROPS = ("face", "require", "none")


def to_batch(pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
    """(batch, height, width, 3) uint8 -> (batch, 3, height, width) float32 in [0, 1]."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 255


class Image:
    """Front end of photos.

    crop: "face" takes the most confident face (the whole photo, with a warning, where there is none), "require" refuses
        a photo without one, "none" always takes the whole photo, aspect ratio not kept, as published.
    margin: share of the face's size added on every side. size: pixels of the square result.
    channel_order: "rgb" or "bgr". scale: white. mean, std: of the three channels in that order and scale:
        (x * scale - mean) / std.
    max_pixels: larger photos are refused before they are decoded.
    """

    modality = "face"
    version = 1  # to be raised with every change of opening, cropping or scaling that changes the result
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

    def fit_to(self, network: "nn.Module") -> None:
        """A face encoder's class states nothing that this front end needs."""

    @property
    def versions(self) -> list[int]:
        """Of this code, for what is cached."""
        return [self.version]

    def with_crop(self, crop: str) -> "Image":
        """The same front end with another `crop`."""
        other = copy(self)
        other.crop = crop
        return other

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pictures (batch, 3, height, width), RGB in [0, 1] -> the encoder's channel order, scale, mean and deviation.

        The only such conversion: photos, training batches and drawn faces go through it. Differentiable.
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
        """A photo (file, Pillow image, or (height, width, 3) uint8 RGB) -> features and what to report about it.

        faces: those in it, if they have been detected.
        """
        del sample_rate  # only sound has one
        name = str(source) if isinstance(source, str | Path) else "image"
        if isinstance(source, str | Path):
            image = open_image(source, self.max_pixels)
        else:
            image = to_rgb(source if isinstance(source, PillowImage.Image) else from_array(source))
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
            features=self.normalize(to_batch(np.array(crop)[None])),
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
