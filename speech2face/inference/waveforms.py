"""Pictures of a recording: waveform and spectrogram of the part that was read, with the windows that were heard."""

import math
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

VOICE, UNHEARD, GROUND, SHADE, LABEL = "#2f6f8f", "#a9b5be", "#f3f5f7", "#dcebf3", "#6b7885"
SPECTROGRAM_COLOURS = ("#0b0724", "#5b1a75", "#c73e5d", "#f98e52", "#fcf3bd")
VEIL = 0.75  # share of the ground in the parts of the spectrogram that were not heard
GAP, ROWS, BAR = 14, 3, 3  # pixels between waveform and spectrogram; rows of bars there, a bar for each window; pixels


def columns_heard(preview: dict[str, Any], width: int) -> np.ndarray:
    """Which of `width` columns of a picture were heard, (width,) bool. preview: that of a Prepared."""
    seconds = len(preview["part"]) / preview["sample_rate"]
    heard = np.zeros(width, bool)
    for start, end in preview["heard"]:
        heard[int(start / seconds * width) : max(round(end / seconds * width), int(start / seconds * width) + 1)] = True
    return heard


def draw_waveform(waveform: np.ndarray, width: int, height: int, heard: np.ndarray | None = None) -> Image.Image:
    """The envelope of a waveform (samples,): the least and the greatest sample of every column.

    heard: (width,) bool, columns that are shaded because they were heard; None: all.
    """
    heard = np.ones(width, bool) if heard is None else heard
    edges = np.linspace(0, len(waveform), width + 1).astype(int)
    peak = max(float(np.abs(waveform).max()), 1e-9)
    low, high = (height / 2 * (1 - 0.95 * f.reduceat(waveform, edges[:-1]) / peak) for f in (np.minimum, np.maximum))
    rows = np.arange(height, dtype=np.int16)[:, None]
    drawn = (rows >= high.astype(np.int16)) & (rows <= low.astype(np.int16))
    image = Image.fromarray(2 * drawn.view(np.uint8) + heard.view(np.uint8))
    image.putpalette(b"".join(bytes(ImageColor.getrgb(one)) for one in (GROUND, SHADE, UNHEARD, VOICE)))
    return image.convert("RGB")


def draw_spectrogram(waveform: np.ndarray, width: int, height: int, heard: np.ndarray | None = None) -> Image.Image:
    """Log power spectrogram of a waveform (samples,): 70 dB of range, low frequencies at the bottom.

    heard: (width,) bool, columns that were heard, the others are veiled; None: all.
    """
    size = 512
    padded = np.pad(waveform, (0, max(0, size - len(waveform))))
    starts = np.linspace(0, len(padded) - size, width).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[starts] * np.hanning(size).astype(np.float32)
    power = 20 * np.log10(np.abs(np.fft.rfft(frames)) + 1e-9)
    levels = np.clip((power - power.max() + 70) / 70, 0, 1)
    grey = Image.fromarray((255 * levels.T[::-1]).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    grey.putpalette(_palette())
    image = grey.convert("RGB")
    if heard is None or heard.all():
        return image
    veiled = Image.blend(image, Image.new("RGB", image.size, GROUND), VEIL)
    mask = Image.fromarray(np.broadcast_to(np.where(heard, 0, 255).astype(np.uint8), (height, width)).copy())
    return Image.composite(veiled, image, mask)


@cache
def _palette() -> bytes:
    """The colours of the 256 levels."""
    stops = np.array([ImageColor.getrgb(one) for one in SPECTROGRAM_COLOURS])
    table = [np.interp(np.arange(256), np.linspace(0, 255, len(stops)), stops[:, c]) for c in range(3)]
    return np.stack(table, axis=-1).astype(np.uint8).tobytes()


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def draw_recording(preview: dict[str, Any], width: int, height: int, ground: str) -> Image.Image:
    """Waveform, a bar for each window, spectrogram and times, one below the other. preview: as in `columns_heard`."""
    image = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(image)
    part, rate = np.asarray(preview["part"]), preview["sample_rate"]
    heard, seconds, top = columns_heard(preview, width), len(part) / rate, 140 + GAP
    image.paste(draw_waveform(part, width, 140, heard), (0, 0))
    bottom = height - 32
    image.paste(draw_spectrogram(part, width, bottom - top, heard), (0, top))
    row, last = 0, 0.0
    for start, end in preview["heard"]:
        row = (row + 1) % ROWS if start < last else 0
        y, last = 142 + row * (BAR + 1), end
        draw.rectangle((start / seconds * width, y, max(end / seconds * width - 2, 0), y + BAR - 1), VOICE)
    for time in ticks(seconds):
        at = time / seconds * (width - 1)
        anchor = "la" if time == 0 else "ra" if at > width - 24 else "ma"
        draw.line((at, bottom, at, bottom + 4), LABEL)
        draw.text((at, height - 26), f"{time:g} s", LABEL, _font(13), anchor=anchor)
    fill, font = "white" if heard[:40].all() else LABEL, _font(12)
    draw.text((6, top + 4), f"{rate / 2000:g} kHz", fill, font)
    draw.text((6, bottom - 16), "0", fill, font)
    return image


def ticks(seconds: float) -> list[float]:
    """Round times from 0 to the end of a recording, at most seven: 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** math.floor(math.log10(seconds / 6))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if seconds / step <= 6)
    return [round(i * step, 6) for i in range(int(seconds / step + 1e-6) + 1)]


def describe_recording(preview: dict[str, Any]) -> str:
    """How much was read and heard, in one line."""
    seconds, heard = len(preview["part"]) / preview["sample_rate"], preview["heard"]
    text = f"{seconds:.2f} s at {preview['sample_rate']} Hz, "
    if len(heard) == 1:
        start, end = heard[0]
        whole = end - start > seconds - 0.005
        return text + ("all of it heard" if whole else f"heard {start:.2f} to {end:.2f} s (shaded)")
    return text + f"heard {len(heard)} windows of {heard[0][1] - heard[0][0]:.2f} s (shaded)"
