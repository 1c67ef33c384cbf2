"""Remove the metadata of a photo file, so that an intact picture with damaged metadata can be read."""

import re
import struct
import zlib
from collections.abc import Iterator

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# First bytes of a TIFF file -> `struct` formats: byte order, number of entries of a directory, offset of the next one.
TIFF = {b"II*\0": "<HI", b"MM\0*": ">HI", b"II+\0": "<QQ", b"MM\0+": ">QQ"}
# Tags that are needed to decode the picture of a TIFF file, and its orientation (274).
PICTURE_TAGS = {*range(254, 260), 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, *range(320, 326), 330}
PICTURE_TAGS |= {338, 339, 347, *range(512, 522), *range(529, 533)}
MAX_DIRECTORIES = 100  # image file directories of a TIFF file, one for each page
# The item information entry (infe) of the EXIF block in HEIF and AVIF, up to its item type.
EXIF_ITEM = re.compile(rb"(infe\x02.{7}|infe\x03.{9})Exif", re.DOTALL)


def without_metadata(content: bytes) -> tuple[bytes, bytes] | None:
    """A PNG, JPEG, TIFF, AVIF or HEIC file -> the file without metadata, and its EXIF block.

    The EXIF block begins with "Exif". It is b"" if there is none, and for TIFF, AVIF and HEIC. An orientation that is
    stored outside the EXIF block stays in the file. Returns None for other formats.
    """
    if content.startswith(PNG):
        return _bare_png(content)
    if content.startswith(JPEG):
        return _bare_jpeg(content)
    if content[:4] in TIFF:
        return _bare_tiff(content), b""
    if content[4:8] == b"ftyp":
        return EXIF_ITEM.sub(rb"\1free", content), b""
    return None


def _bare_png(content: bytes) -> tuple[bytes, bytes]:
    exif, kept = b"", []
    for kind, chunk in _png_chunks(content):
        whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind == b"eXIf" and whole:
            exif = b"Exif\0\0" + chunk[8:-4]
        xmp = kind == b"iTXt" and chunk[8:].startswith(b"XML:com.adobe.xmp\0\0") and len(chunk) < 1 << 20
        if kind[:1].isupper() or (whole and (kind == b"tRNS" or xmp)):  # XMP may hold the orientation
            kept.append(chunk)
    return PNG + b"".join(kept), exif


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type and the bytes of each chunk."""
    place = len(PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        yield kind, content[place : place + 12 + length]
        place += 12 + length


def _bare_jpeg(content: bytes) -> tuple[bytes, bytes]:
    exif, kept = b"", []
    for marker, segment in _jpeg_segments(content):
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and not exif:
            exif = segment[4:]
        colours = {0xE0: 16, 0xEE: 14}  # shortest segments of JFIF and Adobe, which state the colour space
        if not 0xE0 <= marker <= 0xEF or len(segment) >= colours.get(marker, len(content)):
            kept.append(segment)
    return JPEG + b"".join(kept), exif


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker and the bytes of each segment before the picture, then the picture and everything after it."""
    place = len(JPEG)
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA:
            break
        yield marker, content[place : place + 2 + length]
        place += 2 + length
    yield 0xDA, content[place:]


def _bare_tiff(content: bytes) -> bytes:
    """The file with only the tags of the picture in the image file directory of each page."""
    order, count_format, offset_format = TIFF[content[:4]]
    count_size, offset_size = struct.calcsize(order + count_format), struct.calcsize(order + offset_format)
    entry_size = 4 + 2 * offset_size
    bare = bytearray(content)
    try:
        (place,) = struct.unpack_from(order + offset_format, content, 4 if offset_size == 4 else 8)
        for _ in range(MAX_DIRECTORIES):
            if not place:
                break
            (count,) = struct.unpack_from(order + count_format, content, place)
            first = place + count_size
            end = first + count * entry_size
            entries = [
                content[start : start + entry_size] for start in range(first, min(end, len(content)), entry_size)
            ]
            kept = [entry for entry in entries if struct.unpack_from(order + "H", entry)[0] in PICTURE_TAGS]
            following = content[end : end + offset_size]
            new = struct.pack(order + count_format, len(kept)) + b"".join(kept) + following
            bare[place : place + len(new)] = new
            (place,) = struct.unpack(order + offset_format, following)
    except (struct.error, IndexError):  # the remaining directories are damaged
        pass
    return bytes(bare)
