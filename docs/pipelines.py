"""Draw docs/pipelines.png, the picture of docs/extending.md: `python docs/pipelines.py`."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

from speech2face.inference.pictures import PART_COLOURS, draw_spectrogram, draw_waveform
from speech2face.preprocessing.decode import decode
from speech2face.preprocessing.image import Image

ROOT = Path(__file__).parents[1]
INK, VOICE, FACE, BOTH = "#1d2733", "#2f6f8f", "#b3563b", "#5b4b8a"


def arc(x: float, y: float, width: float, height: float, start: float, stop: float, count: int) -> np.ndarray:
    """Points of an ellipse between two angles in degrees: (count, 2)."""
    angles = np.radians(np.linspace(start, stop, count))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def sketch() -> list[np.ndarray]:
    """The 72 landmarks of a plain face, part by part in the decoder's order, in a unit square with y upwards."""
    lips = [arc(0.5, 0.25, 0.15, 0.05, 180, 0, 7), arc(0.5, 0.25, 0.15, 0.07, 0, -180, 7)]
    inner = [arc(0.5, 0.25, 0.11, 0.012, 0, 180, 5), arc(0.5, 0.25, 0.11, 0.012, 180, 0, 5)]
    return [
        arc(0.5, 0.6, 0.42, 0.56, 180, 360, 17),
        arc(0.3, 0.68, 0.13, 0.06, 165, 30, 5),
        arc(0.7, 0.68, 0.13, 0.06, 150, 15, 5),
        np.stack([np.full(4, 0.5), np.linspace(0.62, 0.45, 4)], axis=1),
        arc(0.5, 0.41, 0.08, 0.03, 190, 350, 5),
        arc(0.3, 0.6, 0.07, 0.03, 180, -120, 6),
        arc(0.7, 0.6, 0.07, 0.03, 180, -120, 6),
        np.concatenate([lips[0], inner[0]]),
        np.concatenate([lips[1], inner[1]]),
    ]


def box(figure: plt.Figure, x: float, y: float, width: float, title: str, options: str, colour: str) -> None:
    patch = FancyBboxPatch((x, y), width, 0.2, boxstyle="round,pad=0,rounding_size=0.012", fc=colour, ec="none")
    figure.add_artist(patch)
    figure.text(x + width / 2, y + 0.125, title, color="white", ha="center", va="center", size=13, weight="bold")
    figure.text(x + width / 2, y + 0.06, options, color="white", ha="center", va="center", size=10)


def picture(figure: plt.Figure, bounds: tuple[float, float, float, float], title: str) -> plt.Axes:
    axes = figure.add_axes(bounds)
    axes.axis("off")
    axes.set_title(title, size=10, color=INK)
    return axes


def main() -> None:
    mpl.rcParams["font.family"] = "DejaVu Sans"
    figure = plt.figure(figsize=(13, 4.6), dpi=110)
    waveform = decode(ROOT / "examples" / "librivox_male.wav").waveform
    voice = np.vstack([np.asarray(draw_waveform(waveform, 300, 70)), np.asarray(draw_spectrogram(waveform, 300, 130))])
    picture(figure, (0.01, 0.54, 0.16, 0.36), "a recording").imshow(voice)
    picture(figure, (0.01, 0.04, 0.16, 0.36), "a photo").imshow(
        Image()(ROOT / "examples" / "astronaut.png").preview["crop"]
    )
    box(figure, 0.205, 0.62, 0.13, "preprocessing", "spectrogram, fbank", VOICE)
    box(figure, 0.365, 0.62, 0.13, "encoder", "paper, ast", VOICE)
    box(figure, 0.205, 0.12, 0.13, "preprocessing", "image", FACE)
    box(figure, 0.365, 0.12, 0.13, "encoder", "vgg_face, resnet", FACE)
    feature = np.abs(np.random.default_rng(0).normal(size=(64, 64))) * np.random.default_rng(1).integers(0, 2, (64, 64))
    picture(figure, (0.53, 0.3, 0.13, 0.36), "embedding, 4096-D").imshow(feature, cmap="Purples")
    box(figure, 0.69, 0.37, 0.13, "decoder", "normalized", BOTH)
    face = picture(figure, (0.845, 0.2, 0.15, 0.56), "face: landmarks, texture")
    face.add_patch(mpl.patches.Ellipse((0.5, 0.56), 0.86, 1.06, fc="#dde3ea", ec="none"))
    for points, colour in zip(sketch(), PART_COLOURS, strict=True):
        face.plot(*points.T, "-", color=INK, lw=1, alpha=0.5)
        face.plot(*points.T, "o", color=colour, ms=4, mec=INK, mew=0.4)
    face.set_aspect("equal")
    for start, end in (
        ((0.175, 0.72), (0.2, 0.72)),
        ((0.34, 0.72), (0.36, 0.72)),
        ((0.175, 0.22), (0.2, 0.22)),
        ((0.34, 0.22), (0.36, 0.22)),
        ((0.5, 0.72), (0.529, 0.6)),
        ((0.5, 0.22), (0.529, 0.36)),
        ((0.66, 0.47), (0.685, 0.47)),
        ((0.825, 0.47), (0.85, 0.47)),
    ):
        arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.5}
        figure.add_axes((0, 0, 1, 1), zorder=-1).axis("off")
        figure.axes[-1].annotate("", end, start, xycoords="figure fraction", arrowprops=arrow)
    figure.savefig(ROOT / "docs" / "pipelines.png")


if __name__ == "__main__":
    main()
