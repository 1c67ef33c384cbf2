"""Photos: any kind of file, upright and in RGB; the right face; nothing that is not a photo."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTO
from PIL import Image as PillowImage
from torchvision.transforms import v2

from speech2face.errors import UserError
from speech2face.preprocessing.faces import crop_padded, detect_faces
from speech2face.preprocessing.image import Image
from speech2face.preprocessing.photo import open_image

PIXELS = np.asarray(PillowImage.open(PHOTO).convert("RGB"))


def test_whole_photo_as_torchvision_resizes_it() -> None:
    image = PillowImage.open(PHOTO).convert("RGB")
    theirs = v2.functional.to_dtype(
        v2.functional.to_image(v2.functional.resize(image, [224, 224])), torch.float32, scale=True
    )
    torch.testing.assert_close(Image(crop="none")(PHOTO).features[0], theirs)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    turned = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]}
    turned |= {5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1)}
    turned |= {8: lambda a: np.rot90(a, 3)}
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    stored = PillowImage.fromarray(np.ascontiguousarray(turned[orientation](PIXELS)))
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), PIXELS)


def modes() -> dict[str, PillowImage.Image]:
    photo = PillowImage.fromarray(PIXELS)
    grey = np.asarray(photo.convert("L"))
    return {
        "L.png": photo.convert("L"),
        "P.gif": photo.quantize(256),
        "CMYK.jpg": photo.convert("CMYK"),
        "I16.png": PillowImage.fromarray(grey.astype(np.uint16) * 257),
        "F.tiff": PillowImage.fromarray(grey.astype(np.float32) / 255),
        "F255.tiff": PillowImage.fromarray(grey.astype(np.float32)),
        "I255.tiff": PillowImage.fromarray(grey.astype(np.int32)),
        "LA.png": photo.convert("LA"),
        "RGBA.webp": photo.convert("RGBA"),
        "RGB.bmp": photo,
    }


@pytest.mark.parametrize("name", modes())
def test_every_mode_becomes_the_same_picture(tmp_path: Path, name: str) -> None:
    modes()[name].save(tmp_path / name)
    result = np.asarray(open_image(tmp_path / name)).astype(float)
    expected = (
        PIXELS
        if name.startswith(("RGB", "P", "CMYK"))
        else np.asarray(PillowImage.fromarray(PIXELS).convert("L").convert("RGB"))
    )
    assert result.shape == PIXELS.shape
    assert np.abs(result - expected).mean() < 6  # palettes and JPEG lose some


def test_transparency_is_white(tmp_path: Path) -> None:
    image = PillowImage.new("RGBA", (20, 10), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 10, 10))
    image.save(tmp_path / "a.png")
    result = np.asarray(open_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(result[5, 5], (0, 0, 255))
    np.testing.assert_array_equal(result[5, 15], (255, 255, 255))
    palette = PillowImage.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.info["transparency"] = 1
    palette.save(tmp_path / "b.png")
    assert np.asarray(open_image(tmp_path / "b.png")).min() == 255


def test_most_confident_face_with_its_margin() -> None:
    prepared = Image(crop="face", margin=0.25)(PHOTO)
    left, top, right, bottom = map(int, prepared.measurements["crop"].split())
    assert right - left == bottom - top  # square, aspect ratio kept
    assert left < 180 < 270 < right and top < 75 < 165 < bottom  # eyes to chin of the astronaut
    assert prepared.measurements["faces"] >= 1 and prepared.measurements["face_score"] > 0
    wider = Image(crop="face", margin=0.5)(PHOTO).measurements["crop"].split()
    assert (int(wider[2]) - int(wider[0])) / (right - left) == pytest.approx(2 / 1.5, abs=0.02)


def test_faces_are_found_at_every_size_of_the_photo() -> None:
    photo = PillowImage.fromarray(PIXELS)
    for scale in (0.75, 1, 2, 5):
        size = round(512 * scale)
        face = detect_faces(photo.resize((size, size)))[0]
        np.testing.assert_allclose((face.left / scale, face.right / scale), (175, 265), atol=22)


def test_of_several_faces_the_most_confident_is_taken_and_said() -> None:
    two = np.concatenate([PIXELS, PIXELS[:, ::-1]], axis=1)
    prepared = Image(crop="face")(two)
    assert prepared.measurements["faces"] >= 2
    assert "took the most confident" in prepared.warnings[0]


def test_no_face_falls_back_or_is_refused() -> None:
    nothing = np.full((300, 200, 3), 90, np.uint8)
    prepared = Image(crop="face")(nothing)
    assert prepared.warnings == ["no face found: took the whole photo"]
    assert prepared.measurements["crop"] == "0 0 200 300"
    with pytest.raises(UserError, match="no face found"):
        Image(crop="require")(nothing)


def test_a_crop_that_reaches_beyond_the_photo_repeats_its_edge() -> None:
    image = PillowImage.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    result = np.asarray(crop_padded(image, (-1, 0, 3, 2)))
    assert result.shape == (2, 4, 3)
    np.testing.assert_array_equal(result[:, 0], result[:, 1])
    np.testing.assert_array_equal(result[:, 3], result[:, 2])


def test_input_conventions() -> None:
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 255, 51, 0
    rgb = Image(crop="none")(pixels).features[0, :, 0, 0]
    torch.testing.assert_close(rgb, torch.tensor([1.0, 0.2, 0.0]))
    bgr = Image(crop="none", channel_order="bgr", scale=255.0, mean=(93.5940, 104.7624, 129.1863))
    torch.testing.assert_close(
        bgr(pixels).features[0, :, 0, 0], torch.tensor([0 - 93.5940, 51 - 104.7624, 255 - 129.1863])
    )
    imagenet = Image(crop="none", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))(pixels).features[0]
    theirs = v2.functional.normalize(
        torch.tensor([1.0, 0.2, 0.0]).view(3, 1, 1), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(imagenet[:, :1, :1], theirs)


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def bad_files() -> dict[str, tuple[bytes, str]]:
    jpeg = io.BytesIO()
    PillowImage.fromarray(PIXELS).save(jpeg, "JPEG")
    return {
        "bomb.png": (bomb(), "60000 x 60000|exceeds limit"),
        "cut.png": (PHOTO.read_bytes()[:100_000], "damaged or cut short"),
        "cut.jpg": (jpeg.getvalue()[:10_000], "damaged or cut short"),
        "empty.png": (b"", "empty"),
        "text.jpg": (b"no image", "not an image"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an image"),
    }


@pytest.mark.parametrize("name", bad_files())
def test_what_is_not_a_photo_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, message = bad_files()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Image()(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_too_many_pixels_are_refused_before_decoding() -> None:
    with pytest.raises(UserError, match="max_pixels=1000"):
        Image(max_pixels=1000)(PHOTO)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": 0.5},
        {"mean": (0.5, 0.5)},
        {"mean": ("a", "b", "c")},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, float("nan"), 1.0)},
        {"std": None},
        {"scale": 0},
        {"scale": "255"},
        {"scale": float("inf")},
        {"max_pixels": None},
        {"max_pixels": 0},
    ],
    ids=str,
)
def test_options_that_are_no_numbers_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=rf"preprocessing\..*{next(iter(options))}"):
        Image(**options)
