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
VOICES = {"alsa_female.flac": "a recorded voice", "librivox_male.wav": "a recorded voice"}


def main() -> None:
    figure = Figure((9.6, 2.5), dpi=110, facecolor="white")
    speech, face = build("pipeline=speech"), build("pipeline=face")
    photo = face(EXAMPLES / "astronaut.png")
    pictures = [(face.encoder.prepare(EXAMPLES / "astronaut.png").preview["crop"], "a photo"), (photo.face, "its face")]
    for name, title in VOICES.items():
        waveform = decode(EXAMPLES / name).waveform
        wave = np.full((224, 224, 3), 255, np.uint8)
        wave[62:162] = np.asarray(draw_waveform(waveform, 224, 100))
        pictures += [(wave, title), (speech(EXAMPLES / name).face, "a face that fits it")]
    for column, (picture, title) in enumerate(pictures):
        axis = figure.add_axes((0.005 + column / 6, 0.0, 1 / 6 - 0.01, 0.86))
        axis.imshow(picture, interpolation="antialiased")
        axis.set_title(title, size=10)
        axis.axis("off")
    figure.savefig(DOCS / "faces.png")


if __name__ == "__main__":
    main()
