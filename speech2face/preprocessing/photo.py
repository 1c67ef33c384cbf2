"""Open photos: any file that Pillow can read -> upright 8-bit RGB."""

import io
import warnings
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from speech2face.errors import UserError, extra, why_not
from speech2face.preprocessing.depth import to_eight_bits, with_all_bits
from speech2face.preprocessing.metadata import JPEG, PNG, without_metadata

warnings.filterwarnings("ignore", module=r"PIL\.")  # they are about metadata
# Formats of Pillow that are not opened: EPS would start Ghostscript, the others are recognised but cannot be decoded.
NOT_OPENED = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
MAX_PAGES = 100  # pages of a TIFF file among which the largest is sought
METHODS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}


def open_image(path: str | Path, max_pixels: int = 89_000_000) -> PillowImage.Image:
    """Open a photo as upright 8-bit RGB: EXIF orientation applied, transparency over white, 16 bits scaled to 8.

    The largest page of a TIFF file is taken, and the first frame of an animation. Metadata that cannot be read is
    ignored. HEIC needs the package pillow-heif.

    Raises UserError if the file is missing, is not an image, is cut short, is damaged in any other way, or has more
    than `max_pixels` pixels. The size is checked before the photo is decoded.
    """
    name = str(path)
    try:
        with open(path, "rb") as stream:
            return _decode(stream, name, max_pixels)
    except UserError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError, UnidentifiedImageError) as error:
        reason = why_not(Path(path), error, "an image that Pillow can read")
    except PillowImage.DecompressionBombError as error:
        reason = str(error)
    except Exception as error:  # Pillow and the libraries below it raise anything; only errors of the system have text
        reason = getattr(error, "strerror", None) or f"damaged or cut short ({_line(error)})"
    raise UserError(f"{name}: {reason}")


def from_pillow(image: PillowImage.Image, max_pixels: int = 89_000_000) -> PillowImage.Image:
    """A Pillow image -> upright 8-bit RGB, by the same rules as a file. Raises UserError if it cannot be decoded."""
    try:
        return _upright_rgb(image, "image", max_pixels)
    except UserError:
        raise
    except Exception as error:  # the file of an image that is not loaded yet is read here
        raise UserError(f"image: damaged or cut short ({_line(error)})") from None


def from_array(pixels: np.ndarray) -> PillowImage.Image:
    """(height, width, 3) uint8 RGB -> Pillow image. Raises UserError for anything else."""
    wanted = "a photo must be a path, a Pillow image, or (height, width, 3) uint8 RGB pixels"
    if not hasattr(pixels, "__array__"):
        raise UserError(f"{wanted}, not {type(pixels).__name__}")
    try:
        pixels = np.asarray(pixels)
    except Exception as error:  # each library of arrays has its own
        raise UserError(f"{wanted}; this {type(pixels).__name__} is not in memory as such ({_line(error)})") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(f"{wanted}, not {pixels.shape} {pixels.dtype}")
    return PillowImage.fromarray(pixels)


def to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    """An image of any Pillow mode -> RGB. See depth.white_level for grey of more than 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return PillowImage.fromarray(to_eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return PillowImage.alpha_composite(PillowImage.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


@cache
def _formats() -> list[str]:
    PillowImage.init()
    return [name for name in PillowImage.ID if name not in NOT_OPENED]


def _decode(stream: BinaryIO, name: str, max_pixels: int) -> PillowImage.Image:
    """The photo in a file. If Pillow fails, it gets the file again without the metadata, which alone may be damaged."""
    formats = ["HEIF"] if _is_heic(stream) else _formats()
    if formats == ["HEIF"]:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise UserError(f"{name}: HEIC needs pillow-heif: {extra('heic')}") from None
        register_heif_opener()
    try:
        return _opened(stream, formats, name, max_pixels)
    except (UserError, PillowImage.DecompressionBombError):
        raise
    except Exception:
        stream.seek(0)
        bare = without_metadata(stream.read())
        if bare is None:
            raise
    content, exif = bare
    try:
        return _opened(io.BytesIO(content), formats, name, max_pixels, exif)
    except UnidentifiedImageError:
        if content.startswith((PNG, JPEG)):
            raise ValueError("no picture in it") from None
        raise


def _is_heic(stream: BinaryIO) -> bool:
    """Whether a file is HEIF, but not AVIF, which Pillow opens itself, by the brands in its first box."""
    head = stream.read(12)
    brands = {head[8:12]}
    if head[4:8] == b"ftyp":
        rest = stream.read(max(0, min(int.from_bytes(head[:4], "big"), 256) - 12))
        brands |= {rest[start : start + 4] for start in range(4, len(rest), 4)}
    stream.seek(0)
    return head[4:8] == b"ftyp" and bool(brands & HEIC_BRANDS) and not brands & {b"avif", b"avis"}


def _opened(stream: BinaryIO, formats: list[str], name: str, max_pixels: int, exif: bytes = b"") -> PillowImage.Image:
    with PillowImage.open(stream, formats=formats) as image:
        if image.format == "TIFF":
            _seek_largest_page(image)
        if exif:
            image.info["exif"] = exif
        return _upright_rgb(image, name, max_pixels, stream)


def _upright_rgb(
    image: PillowImage.Image, name: str, max_pixels: int, stream: BinaryIO | None = None
) -> PillowImage.Image:
    """The page of an opened image, turned as its orientation says, as RGB. stream: its file, if there is one."""
    if image.width * image.height > max_pixels:
        raise UserError(
            f"{name}: {image.width} x {image.height} pixels is more than preprocessing.max_pixels={max_pixels}"
        )
    if not (image.width and image.height):
        raise UserError(f"{name}: an image without pixels")
    image.load()
    # ImageOps.exif_transpose also writes the metadata anew, which fails for values that TIFF cannot hold.
    method = METHODS.get(_orientation(image))
    image = with_all_bits(image, stream)
    upright = to_rgb(image.transpose(method) if method is not None else image)
    upright.info.clear()  # the orientation is no longer true
    return upright


def _orientation(image: PillowImage.Image) -> int | None:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return int(orientation) if orientation in METHODS else None
    except Exception:  # metadata of any content
        return None


def _seek_largest_page(image: PillowImage.Image) -> None:
    """Go to the first of the largest pages: thumbnails and levels of a pyramid may come before it."""
    sizes: dict[int, int] = {}
    for page in range(MAX_PAGES):
        try:
            image.seek(page)
        except EOFError:
            break
        except PillowImage.DecompressionBombError:
            raise
        except Exception:  # a page of another kind, or damaged
            continue
        sizes[page] = image.width * image.height
    image.seek(max(sizes, key=lambda page: sizes[page], default=0))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
