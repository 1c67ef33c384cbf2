"""Pictures of results: the panel of one input, sheets of many faces. Arrays of pixels are RGB uint8."""

import io
import math
import struct
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo, putchunk

try:
    from isal.isal_zlib import compress
except ImportError:  # a platform that ISA-L is not built for
    from zlib import compress

from speech2face.inference.heard import chart
from speech2face.inference.waveforms import describe_recording, draw_recording
from speech2face.inference.waveforms import draw_spectrogram as draw_spectrogram
from speech2face.inference.waveforms import draw_waveform as draw_waveform

INK, FAINT, PAPER, WARNING = "#1d2733", "#6b7885", "#ffffff", "#b3261e"
FACE = 224
STRIP = 8  # samples in a row of the panel
SIDE, PANEL_GAP, PANEL_TOP = 2 * FACE, 24, 64  # of the panel
PART_COLOURS = ("#ffd166", "#06d6a0", "#06d6a0", "#4cc9f0", "#4cc9f0", "#f72585", "#f72585", "#ff8fa3", "#ff5d5d")
NOTE = "Synthetic: an average-looking face consistent with the input, not a likeness."


@cache
def font_of(size: int, plain: bool = True) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's font, which has ASCII alone (plain), or that of matplotlib, which has most alphabets."""
    if plain:
        return ImageFont.load_default(size)
    matplotlib = Path(find_spec("matplotlib").origin).parent
    return ImageFont.truetype(matplotlib / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", round(0.9 * size))


def write_text(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size: int, fill: str = INK, width: int = 0
) -> None:
    """Draw a line of text. If `width` is given, shorten it in the middle to that number of pixels."""
    text = "".join(c if c.isprintable() else "?" for c in unicodedata.normalize("NFC", text))
    font = font_of(size, text.isascii())
    if width and draw.textlength(text, font) > width:
        keep = len(text)
        while keep > 2 and draw.textlength(text[: keep // 2] + " ... " + text[-(keep // 2) :], font) > width:
            keep -= 1
        text = text[: keep // 2] + " ... " + text[-(keep // 2) :]
    mask, left, top = _mask(text, size)
    draw.bitmap((xy[0] + left, xy[1] + top), mask, fill)


@lru_cache(256)
def _mask(text: str, size: int) -> tuple[Image.Image, int, int]:
    """A line of text as a mask, its left and its top. Most lines are the same on all panels, and drawing is slow."""
    font = font_of(size, text.isascii())
    left, top, right, bottom = (math.floor(one) for one in font.getbbox(text))
    mask = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(mask).text((-left, -top), text, 255, font)
    return mask, left, top


def png(image: Image.Image | np.ndarray, text: PngInfo) -> bytes:
    """Encode an RGB picture as a PNG file with text fields.

    Every row uses the filter "up", where Pillow tries five filters. With this and the compression of ISA-L, encoding
    takes a tenth of Pillow's time, which was most of the time to write a result.
    """
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    rows = np.full((height, 1 + 3 * width), 2, np.uint8)  # 2: the filter "up"
    pixels = pixels.reshape(height, 3 * width)
    rows[:, 1:] = pixels
    rows[1:, 1:] -= pixels[:-1]
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    for kind, data, *_ in text.chunks:
        putchunk(file, kind, data)
    putchunk(file, b"IDAT", compress(rows.data, 1))
    putchunk(file, b"IEND")
    return file.getvalue()


def mark_untrained(face: np.ndarray) -> np.ndarray:
    """Mark a face (height, width, 3) of untrained networks by a band across its bottom."""
    image = Image.fromarray(face)
    draw = ImageDraw.Draw(image)
    width, height = image.size
    band = max(height * 20 // FACE, 8)
    draw.rectangle((0, height - band, width, height), WARNING)
    font = font_of(max(band * 13 // 20, 6))
    draw.text((width / 2, height - band / 2), "UNTRAINED: random weights", "white", font, anchor="mm")
    return np.asarray(image)


def enlarged(face: np.ndarray) -> Image.Image:
    """A face (height, width, 3) in a square of 448 pixels. A face of 224 x 224 is exactly doubled."""
    return ImageOps.pad(Image.fromarray(face), (2 * FACE, 2 * FACE), Image.Resampling.BICUBIC, PAPER)


def draw_landmarks(
    face: np.ndarray, landmarks: np.ndarray, parts: dict[str, int], large: Image.Image | None = None
) -> Image.Image:
    """A face (height, width, 3), enlarged, with its landmarks coloured by part.

    landmarks: (72, 2) as x, y in pixels of the face before it is enlarged. parts: number of landmarks by part. large:
    the enlarged face, if there is one already.
    """
    image = large.copy() if large else enlarged(face)
    draw = ImageDraw.Draw(image)
    height, width, _ = face.shape
    scale = 2 * FACE / max(height, width)
    shift = (np.array([2 * FACE, 2 * FACE]) - scale * np.array([width, height])) / 2
    landmarks = np.clip(landmarks * scale + shift, -2 * FACE, 4 * FACE)
    start = 0
    for (part, count), colour in zip(parts.items(), PART_COLOURS, strict=True):
        points = [tuple(point) for point in landmarks[start : start + count].tolist()]
        draw.line(points + points[:1] * (part.endswith(("eye", "lip"))), colour, 2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        start += count
    return image


def panel(
    name: str,
    preview: dict[str, Any],
    face: np.ndarray,
    landmarks: np.ndarray | None,
    parts: dict[str, int],
    caption: str,
    untrained: bool,
    samples: Sequence[np.ndarray] = (),
    heard: Mapping[str, float] | None = None,
    estimate: str = "",
) -> Image.Image:
    """The panel of one input: voice or photo, the face, and the face with its landmarks; below them the samples.

    preview: of speech2face.preprocessing.Prepared. face: (height, width, 3). landmarks: (72, 2) in pixels of the face,
    or None. parts: number of landmarks by part. caption: a line below, with encoder and decoder. samples: each (height,
    width, 3). heard: shares of the attributes that the voice fixes. estimate: of sex and age, written above the faces.
    """
    side, gap, top = SIDE, PANEL_GAP, PANEL_TOP
    left = side if "waveform" in preview else (side - 26) // 2  # photos stand one below the other
    width = left + 2 * side + 4 * gap
    across = min(len(samples), STRIP)
    strip = [samples[i : i + STRIP] for i in range(0, len(samples), STRIP)]
    cell = (width - 2 * gap - 8 * (across - 1)) // max(across, STRIP // 2)
    below = 26 + len(strip) * (cell + 8) + (52 if heard else 0) if samples else 0
    image = Image.new("RGB", (width, top + side + 56 + below), PAPER)
    draw = ImageDraw.Draw(image)
    write_text(draw, (gap, 14), name, 20, width=left if estimate else width - 2 * gap)
    if estimate:
        verb = "sounds" if "waveform" in preview else "looks"
        write_text(draw, (left + 2 * gap, 14), f"{verb} {estimate}", 16, width=2 * side)
    if "waveform" in preview:
        write_text(draw, (gap, 40), describe_recording(preview), 14, FAINT, width=left)
        image.paste(draw_recording(preview, left, side, PAPER), (gap, top))
    else:
        for i, (key, label) in enumerate((("photo", "photo"), ("crop", "what the encoder sees"))):
            picture = Image.fromarray(np.array(preview[key]))
            if key == "photo":
                corners = [tuple(corner) for corner in preview["outline"].tolist()]
                ImageDraw.Draw(picture).polygon(corners, outline="#ffd166", width=max(2, picture.width // 120))
            y = top + i * (left + 26)
            image.paste(ImageOps.contain(picture, (left, left), Image.Resampling.BICUBIC), (gap, y))
            write_text(draw, (gap, y - 24), label, 14, FAINT)
    faces = [(enlarged(face), "reconstructed face")]
    if landmarks is not None:
        faces.append((draw_landmarks(face, landmarks, parts, faces[0][0]), "with landmarks"))
    for i, (picture, label) in enumerate(faces):
        x = left + (2 + i) * gap + i * side
        image.paste(picture, (x, top))
        write_text(draw, (x, 40), label, 14, FAINT)
    for row, faces in enumerate(strip):
        for column, one in enumerate(faces):
            picture = ImageOps.pad(Image.fromarray(one), (cell, cell), Image.Resampling.BICUBIC, PAPER)
            image.paste(picture, (gap + column * (cell + 8), top + side + 34 + row * (cell + 8)))
    if samples:
        write_text(draw, (gap, top + side + 10), "further faces that the voice may belong to", 14, FAINT)
    if heard:
        image.paste(chart(heard, width - 2 * gap), (gap, top + side + below - 40))
    side += below
    write_text(draw, (gap, top + side + 12), caption, 14, INK, width=image.width - 2 * gap)
    note = "UNTRAINED: random weights, the face means nothing. " + NOTE if untrained else NOTE
    write_text(draw, (gap, top + side + 32), note, 13, WARNING if untrained else FAINT)
    return image


def original(panel: Image.Image) -> np.ndarray:
    """What a panel shows of its input: waveform and spectrogram, or the photo; (height, width, 3) uint8."""
    left = panel.width - 2 * SIDE - 4 * PANEL_GAP
    return np.asarray(panel.convert("RGB").crop((PANEL_GAP, PANEL_TOP, PANEL_GAP + left, PANEL_TOP + left)))
