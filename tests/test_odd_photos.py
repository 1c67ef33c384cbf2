"""Odd photos: damaged metadata, pages, grey of 12 bits, HEIC, damaged files of every kind, in every pipeline."""

import io
import struct
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import PHOTO, TINY
from PIL import ExifTags, features
from PIL import Image as PillowImage

from speech2face.errors import UserError
from speech2face.preprocessing.depth import white_level
from speech2face.preprocessing.image import Image
from speech2face.preprocessing.photo import open_image
from speech2face.training.crops import crops

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about metadata
PIXELS = np.asarray(PillowImage.open(PHOTO).convert("RGB").reduce(4))
STORED = np.ascontiguousarray(np.rot90(PIXELS))  # as a camera held upright stores it: orientation 6
RATIONAL, SIGNED, DOUBLE = 5, 10, 12


def exif(tag: int = 0x011A, kind: int = SIGNED, value: bytes = struct.pack("<ii", -1, 0), header: bytes = b"II*\0"):
    """An EXIF block with orientation 6 and one more tag."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", tag, kind, 1, 38)
    return b"Exif\0\0" + header + struct.pack("<IH", 8, 2) + entries + b"\0\0\0\0" + value


BLOCKS = {
    "rational (-1, 0)": exif(),
    "rational 1/0": exif(kind=RATIONAL, value=struct.pack("<II", 1, 0)),
    "NaN": exif(kind=DOUBLE, value=struct.pack("<d", float("nan"))),
    "unknown type": exif(kind=99),
    "value beyond the end": exif(value=b""),
    "pointer to nowhere": exif(tag=0x8769, kind=4, value=b"\xff\xff\xff\x7f"),
}


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def close(image: PillowImage.Image, pixels: np.ndarray = PIXELS) -> bool:
    shown = np.asarray(image).astype(float)
    return shown.shape == pixels.shape and np.abs(shown - pixels).mean() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", BLOCKS)
def test_damaged_exif_costs_neither_the_photo_nor_its_orientation(tmp_path: Path, kind: str, block: str) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encoded(STORED, kind, exif=BLOCKS[block], quality=95))
    assert close(open_image(path))
    with PillowImage.open(path) as image:
        np.testing.assert_array_equal(Image("none")(image).features, Image("none")(path).features)


@pytest.mark.parametrize("block", [b"Exif\0\0" + b"\xff" * 40, b"Exif\0\0II", b"Exif\0\0"])
def test_an_exif_block_that_is_none_is_ignored(tmp_path: Path, block: bytes) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        (tmp_path / kind).write_bytes(encoded(PIXELS, kind, exif=block, quality=95))
        assert close(open_image(tmp_path / kind)), kind


TEXTS = {
    "2 MB of compressed text": png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * 2_000_000)),
    "international": png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"y" * 9_000_000)),
    "80 MB of plain text": png_chunk(b"tEXt", b"a\0" + b"x" * 2_000_000) * 40,
    "wrong checksum": png_chunk(b"tEXt", b"a\0b", checksum=0),
    "not compressed": png_chunk(b"zTXt", b"a\0\7xx"),
    "profile": png_chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 2_000_000)),
    "resolution cut": png_chunk(b"pHYs", b"ab"),
    "animation cut": png_chunk(b"acTL", b""),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_other_chunks_of_png_never_cost_the_photo(tmp_path: Path, text: str, place: str) -> None:
    content = encoded(STORED, "PNG", exif=exif())
    at = {"before": 33, "after": len(content) - 12}[place]  # IHDR ends at 33, IEND has 12 bytes
    (tmp_path / "a.png").write_bytes(content[:at] + TEXTS[text] + content[at:])
    assert close(open_image(tmp_path / "a.png"))


@pytest.mark.parametrize(
    "segment",
    [
        jpeg_segment(0xE0, b"JFIF\0"),
        jpeg_segment(0xE2, b"MPF\0" + b"\xff" * 50),
        jpeg_segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 45057, 4, 1, 9) + b"\0" * 4),
        jpeg_segment(0xE2, b"ICC_PROFILE\0"),
        jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x04"),
        jpeg_segment(0xEE, b"Adobe"),
    ],
)
def test_other_segments_of_jpeg_never_cost_the_photo(tmp_path: Path, segment: bytes) -> None:
    content = encoded(STORED, "JPEG", quality=95, exif=exif())
    (tmp_path / "a.jpg").write_bytes(content[:2] + segment + content[2:])
    assert close(open_image(tmp_path / "a.jpg"))


def tiff(*extra: tuple[int, int, int, bytes]) -> bytes:
    """An uncompressed file with orientation 6 and more tags: number, type, count, value."""
    height, width = STORED.shape[:2]
    tags = [(256, width), (257, height), (258, None), (259, 1), (262, 2), (273, None), (274, 6), (277, 3)]
    tags += [(278, height), (279, STORED.nbytes)]
    entries = {tag: (4, 1, value and struct.pack("<I", value)) for tag, value in tags}
    entries |= {258: (3, 3, struct.pack("<HHH", 8, 8, 8))} | {tag: tuple(rest) for tag, *rest in extra}
    tail, place = b"", 8 + 2 + 12 * len(entries) + 4
    values = {}
    for tag, (_, _, value) in entries.items():
        values[tag] = value
        if value is not None and len(value) > 4:
            values[tag] = struct.pack("<I", place + len(tail))
            tail += value
    values[273] = struct.pack("<I", place + len(tail))
    listed = b"".join(
        struct.pack("<HHI", tag, *entries[tag][:2]) + values[tag].ljust(4, b"\0") for tag in sorted(entries)
    )
    return struct.pack("<4sIH", b"II*\0", 8, len(entries)) + listed + b"\0" * 4 + tail + STORED.tobytes()


@pytest.mark.parametrize(
    "tag",
    [
        (282, SIGNED, 1, struct.pack("<ii", -1, 0)),
        (282, DOUBLE, 1, struct.pack("<d", float("nan"))),
        (700, 4, 1, struct.pack("<I", 77)),  # XMP that is a number
        (34665, 2, 8, b"abcdefg\0"),
        (34675, 7, 10**6, struct.pack("<I", 10**9)),
    ],
)
def test_other_tags_of_tiff_never_cost_the_photo(tmp_path: Path, tag: tuple[int, int, int, bytes]) -> None:
    (tmp_path / "a.tiff").write_bytes(tiff(tag))
    assert close(open_image(tmp_path / "a.tiff"))


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_damaged_exif_in_avif(tmp_path: Path) -> None:
    good = encoded(STORED, "AVIF", quality=95, exif=exif(value=struct.pack("<ii", 123_457, 77_777)))
    assert good.count(struct.pack("<ii", 123_457, 77_777)) == 1
    value = struct.pack("<ii", 123_457, 77_777), struct.pack("<ii", -1, 0)
    for name, (old, new) in {"value": value, "header": (b"II*\0", b"XXXX")}.items():
        (tmp_path / name).write_bytes(good.replace(old, new))
        assert close(open_image(tmp_path / name)), name


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_pillow_image_is_turned_as_its_file_is(tmp_path: Path, orientation: int) -> None:
    tags = PillowImage.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    (tmp_path / "a.jpg").write_bytes(encoded(PIXELS[:100], "JPEG", exif=tags))
    with PillowImage.open(tmp_path / "a.jpg") as image:
        theirs = Image("none")(image)
    ours = Image("none")(tmp_path / "a.jpg")
    np.testing.assert_array_equal(theirs.features, ours.features)
    again = Image("none")(open_image(tmp_path / "a.jpg"))  # as preparation does; not turned twice
    np.testing.assert_array_equal(again.features, ours.features)
    assert (ours.measurements["width"], ours.measurements["height"]) == ((128, 100) if orientation < 5 else (100, 128))


def test_a_pillow_image_whose_file_is_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(PIXELS, "JPEG")[:2000])
    with PillowImage.open(tmp_path / "a.jpg") as image, pytest.raises(UserError, match="damaged or cut short"):
        Image("none")(image)


@pytest.mark.parametrize("order", [(64, 128, 32), (32, 64, 128), (128, 64, 32)])
def test_the_largest_page_of_a_tiff_file_is_taken(tmp_path: Path, order: tuple[int, ...]) -> None:
    pages = [PillowImage.fromarray(PIXELS).resize((size, size)) for size in order]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.tiff")), PIXELS)
    with pytest.raises(UserError, match="128 x 128 pixels"):
        open_image(tmp_path / "a.tiff", max_pixels=127 * 127)


def test_a_damaged_page_does_not_cost_the_others(tmp_path: Path) -> None:
    pages = [PillowImage.fromarray(PIXELS[: 32 * i]) for i in (1, 4, 2)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    content = bytearray((tmp_path / "a.tiff").read_bytes())
    lists = [int.from_bytes(content[4:8], "little")]
    for _ in range(2):
        count = int.from_bytes(content[lists[-1] : lists[-1] + 2], "little")
        lists.append(int.from_bytes(content[lists[-1] + 2 + 12 * count :][:4], "little"))
    content[lists[2] : lists[2] + 40] = b"\xff" * 40
    (tmp_path / "b.tiff").write_bytes(content)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "b.tiff")), PIXELS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path, kind: str) -> None:
    frames = [PillowImage.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], **options)
    assert open_image(tmp_path / "a").getpixel((5, 5)) == (255, 0, 0)


GREY = np.asarray(PillowImage.fromarray(PIXELS).convert("L"))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tiff", "32.tiff", "float.tiff"])
def test_grey_of_more_than_8_bits_keeps_its_brightness(tmp_path: Path, bits: int, name: str) -> None:
    levels = (GREY.astype(np.float64) * (2**bits - 1) / 255).round()
    kind = {"32.tiff": np.int32, "float.tiff": np.float32}.get(name, np.uint16)
    PillowImage.fromarray(levels.astype(kind)).save(tmp_path / name)
    assert close(open_image(tmp_path / name), np.stack([GREY] * 3, -1))


def png16(path: Path, levels: np.ndarray) -> None:
    """Write (height, width, channels) uint16 of 2 to 4 channels, which Pillow cannot."""
    height, width, channels = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("name", ["a.png", "alpha.png", "a.tiff", "a.ppm"])
def test_colours_of_more_than_8_bits_keep_their_brightness(tmp_path: Path, bits: int, name: str) -> None:
    levels = (PIXELS.astype(np.float64) * (2**bits - 1) / 255).round().astype(np.uint16)
    if name == "a.tiff":
        tifffile.imwrite(tmp_path / name, levels, photometric="rgb")
    elif name == "a.ppm":
        size = f"P6 {levels.shape[1]} {levels.shape[0]} 65535\n"
        (tmp_path / name).write_bytes(size.encode() + levels.astype(">u2").tobytes())
    else:
        opaque = np.full((*levels.shape[:2], 1), 65535, np.uint16)
        png16(tmp_path / name, np.dstack([levels, opaque]) if name == "alpha.png" else levels)
    assert close(open_image(tmp_path / name), PIXELS)


def test_a_dark_photo_of_16_bits_stays_dark(tmp_path: Path) -> None:
    PillowImage.fromarray((GREY.astype(np.uint16) * 257) // 8).save(tmp_path / "a.png")  # three stops less
    assert np.abs(np.asarray(open_image(tmp_path / "a.png"))[..., 0] - GREY / 8).max() <= 1


def test_white_levels() -> None:
    pairs = {0: 1, 1: 1, 2: 255, 255: 255, 256: 511, 1023: 1023, 4000: 4095, 4095: 4095, 4096: 65535, 1e9: 65535}
    assert {level: white_level(np.array([0.0, level])) for level in pairs} == pairs
    assert white_level(np.array([0.5, np.nan, np.inf])) == 1 and white_level(np.full(3, np.nan)) == 1


def test_pixels_that_are_not_finite(tmp_path: Path) -> None:
    levels = GREY.astype(np.float32) / 255
    levels[0, :3] = np.nan, np.inf, -np.inf
    PillowImage.fromarray(levels).save(tmp_path / "a.tiff")
    shown = np.asarray(open_image(tmp_path / "a.tiff"))[..., 0]
    assert shown[0, :3].tolist() == [0, 255, 0] and np.abs(shown[1:] - GREY[1:].astype(float)).max() <= 1


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + b"\0" * 99


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"hevc"])
def test_heic_without_its_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brand: bytes) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC.replace(b"ftypheic", b"ftyp" + brand))
    with pytest.raises(UserError, match=r"IMG_1\.HEIC: HEIC needs pillow-heif: pip install .*\[heic\]'"):
        open_image(tmp_path / "IMG_1.HEIC")


def test_heic_is_opened_by_its_package(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    heif = pillow_heif.from_pillow(PillowImage.fromarray(PIXELS))
    heif.save(tmp_path / "a.heic", quality=95)
    assert close(open_image(tmp_path / "a.heic"))
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:1500])
    with pytest.raises(UserError, match="damaged or cut short"):
        open_image(tmp_path / "b.heic")


def test_only_heic_asks_for_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package: it is registered for HEIC, and not for other files."""
    registered = []
    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = lambda: registered.append(True)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    open_image(PHOTO)
    if features.check("avif"):
        (tmp_path / "a.avif").write_bytes(encoded(PIXELS, "AVIF", quality=95))
        assert close(open_image(tmp_path / "a.avif"))
    assert not registered
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(UserError):
        open_image(tmp_path / "a.heic")
    assert registered


ERRORS = [RuntimeError("Failed to decode"), NotImplementedError("flags"), struct.error("range"), MemoryError()]
ERRORS += [SyntaxError("broken"), zlib.error("incorrect data"), OverflowError("too large"), AttributeError("none")]
ERRORS += [ZeroDivisionError("division"), RecursionError("depth"), KeyError(7), AssertionError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["open", "load"])
def test_every_error_of_a_decoder_is_a_line_with_the_file(
    monkeypatch: pytest.MonkeyPatch, error: Exception, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    owner = PillowImage if step == "open" else type(PillowImage.open(PHOTO))
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(UserError, match="damaged or cut short") as caught:
        open_image(PHOTO)
    assert str(caught.value).startswith(f"{PHOTO}: ") and "\n" not in str(caught.value)


def damaged_files() -> dict[str, bytes]:
    dds = bytearray(encoded(PIXELS, "DDS"))
    dds[80:84] = struct.pack("<I", 1 << 14)  # unknown flags of the pixel format
    jpeg = encoded(PIXELS, "JPEG")
    files = {
        "a_thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500,
        "b_flags.dds": bytes(dds),
        "c_cut.jpg": jpeg[: len(jpeg) // 2],
        "d_headers.jpg": jpeg[:100],
        "e_empty.png": b"",
        "f_cut.heic": HEIC,
    }
    if features.check("avif"):
        avif = encoded(PIXELS, "AVIF")
        files["g_cut.avif"] = avif[: len(avif) // 2]
    return files


def test_one_odd_file_costs_no_training_its_good_ones(tmp_path: Path) -> None:
    files = damaged_files()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "photo.png").write_bytes(PHOTO.read_bytes())
    names = [*files, "link.png", "gone.png", "photo.png"]
    pixels, errors = crops(tmp_path, names, Image(size=32), tmp_path / "cache", 2, "photos")
    assert set(errors) == set(names) - {"photo.png"} and all("\n" not in error for error in errors.values())
    assert not any("could not be prepared" in error for error in errors.values()), errors
    np.testing.assert_array_equal(pixels[-1], Image(size=32)(PHOTO).preview["crop"])


def test_odd_files_are_rows_and_the_good_one_is_done(tmp_path: Path, run: Callable) -> None:
    (tmp_path / "photos").mkdir()
    for name, content in damaged_files().items():
        (tmp_path / "photos" / name.replace("thumbs.db", "thumbs.jpg")).write_bytes(content)
    (tmp_path / "photos" / "good.jpg").write_bytes(encoded(STORED, "JPEG", exif=exif()))
    result = run("pipeline=face", "encoder=resnet", *TINY, "image=photos", "hydra.run.dir=out", status=1)
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()[1:]
    assert sum(",done," in row for row in rows) == 1 and sum(",failed," in row for row in rows) == len(rows) - 1 >= 6
    assert "Traceback" not in result.stderr + result.stdout and "could not be prepared" not in "".join(rows)
