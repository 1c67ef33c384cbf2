"""Photos of more than 8 bits: all bits of a file, and the level of white."""

from typing import BinaryIO

import numpy as np
from PIL import Image as PillowImage

READERS = {"PNG": "png_pipe", "TIFF": "tiff_pipe", "PPM": "ppm_pipe"}  # Pillow's name of a format -> FFmpeg's


def to_eight_bits(levels: np.ndarray) -> np.ndarray:
    """Levels of any type -> uint8. See `white_level`; NaN becomes black."""
    levels = levels.astype(np.float32)
    levels = np.nan_to_num(levels * (255 / white_level(levels)), nan=0.0, posinf=255.0, neginf=0.0)
    return levels.clip(0, 255).astype(np.uint8)


def white_level(levels: np.ndarray) -> int:
    """The level of white in data of 16 or 32 bits or floating point, from the greatest finite level.

    1 if no level exceeds 1. If none exceeds 4095, the data have 8 to 12 bits, as cameras and scanners store them in
    16: white is the least of 255, 511, 1023, 2047 and 4095 that no level exceeds. Otherwise 65535; higher levels are
    clipped. A photo of 16 bits thus keeps its darkness, unless all of it is below 1/16 of white.
    """
    greatest = float(levels.max(initial=0.0, where=np.isfinite(levels)))
    return next((white for white in (1, 255, 511, 1023, 2047, 4095) if greatest <= white), 65535)


def with_all_bits(image: PillowImage.Image, stream: BinaryIO | None) -> PillowImage.Image:
    """A loaded RGB or RGBA image, read again from its file if that has 16 bits and only the lower 12 are used.

    Pillow keeps the upper 8 of 16 bits, so that such a photo is nearly black. FFmpeg reads all.
    """
    reader = READERS.get(image.format or "")
    if stream is None or reader is None or image.mode not in ("RGB", "RGBA"):
        return image
    if image.tell() or max(high for _, high in image.getextrema()[:3]) > 16:  # of 255, after rounding
        return image
    import av

    try:
        stream.seek(0)
        with av.open(stream, format=reader) as container:
            frame = next(container.decode(video=0))
        bits = max(component.bits for component in frame.format.components)
        if bits <= 8 or (frame.width, frame.height) != image.size:
            return image
        pixels = frame.to_ndarray(format="rgba64le")
    except Exception:  # FFmpeg does not know all that Pillow reads
        return image
    colours, opacity = to_eight_bits(pixels[..., :3]), (pixels[..., 3:] >> 8).astype(np.uint8)
    return PillowImage.fromarray(np.dstack([colours, opacity]))
