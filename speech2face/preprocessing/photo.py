"""Open photos: any file that Pillow can read -> upright 8-bit RGB."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from speech2face.errors import UserError, why_not


@cache
def _formats() -> list[str]:
    """All formats of Pillow except EPS, which would start Ghostscript."""
    PillowImage.init()
    return [name for name in PillowImage.ID if name != "EPS"]


def open_image(path: str | Path, max_pixels: int = 89_000_000) -> PillowImage.Image:
    """Open a photo as upright 8-bit RGB: EXIF orientation applied, transparency over white, 16 bits scaled to 8.

    Raises UserError if the file is missing, is not an image, is cut short, or has more than `max_pixels` pixels. The
    size is checked before the photo is decoded.
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
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:  # raised by Pillow's decoders
        raise UserError(f"{name}: damaged or cut short ({error})") from None


def from_array(pixels: np.ndarray) -> PillowImage.Image:
    """(height, width, 3) uint8 RGB -> Pillow image. Raises UserError for any other array."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(f"an image must be (height, width, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
    return PillowImage.fromarray(pixels)


def to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    """An image of any Pillow mode -> RGB.

    White of 16-bit grey is 65535. White of 32-bit and floating-point grey is the least of 1, 255 and 65535 that no
    pixel exceeds; values above 65535 are clipped.
    """
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.nan_to_num(np.asarray(image, np.float32))
        white = 65535 if image.mode.startswith("I;16") else next((w for w in (1, 255) if levels.max() <= w), 65535)
        levels = levels * (255 / white)
        return PillowImage.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return PillowImage.alpha_composite(PillowImage.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
