"""Draw docs/faces.png, the first picture of the README: `python docs/faces.py`."""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from speech2face import build
from speech2face.inference.pictures import draw_waveform
from speech2face.preprocessing.decode import decode

EXAMPLES = DOCS.parent / "examples"
VOICES = ("alsa_female.flac", "librivox_male.wav")
SAMPLES = 4


def main() -> None:
    speech, face = build("pipeline=speech", f"samples={SAMPLES}"), build("pipeline=face")
    photo = face.encoder.prepare(EXAMPLES / "astronaut.png").preview["crop"]
    rows = [[(photo, "a photo")], [(face(EXAMPLES / "astronaut.png").face, "its face")]]
    for row, name in zip(rows, VOICES, strict=True):
        wave = np.full((224, 224, 3), 255, np.uint8)
        wave[62:162] = np.asarray(draw_waveform(decode(EXAMPLES / name).waveform, 224, 100))
        result = speech(EXAMPLES / name)
        row += [(wave, "a voice"), (result.face, "the typical face")]
        titles = ["a face it may have", *["another"] * (SAMPLES - 1)]
        row += [(sample.image, title) for sample, title in zip(result.faces.samples, titles, strict=True)]
    columns = len(rows[0])
    figure = Figure((1.5 * columns, 3.3), dpi=110, facecolor="white")
    for y, row in enumerate(rows):
        for x, (picture, title) in enumerate(row):
            axis = figure.add_axes((0.004 + x / columns, 0.5 - 0.5 * y, 1 / columns - 0.008, 0.43))
            axis.imshow(picture, interpolation="antialiased")
            axis.set_title(title, size=9)
            axis.axis("off")
    figure.savefig(DOCS / "faces.png")


if __name__ == "__main__":
    main()
