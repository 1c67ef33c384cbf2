"""Draw docs/talkers.jpg (64 simulated people) and docs/voices.png (three voices): `python docs/talkers.py`.

Praat (parselmouth) measures pitch and formants in the synthesised speech. The dashed line is the requested pitch.
"""

import sys
from pathlib import Path

import numpy as np
import parselmouth
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from speech2face.inference import sheets
from speech2face.preprocessing.channel import RATE
from speech2face.talkers.conditions import draw_clip
from speech2face.talkers.population import portraits
from speech2face.talkers.traits import draw_person
from speech2face.talkers.voice import speak

SHOWN = (1, 3, 9)
PEOPLE = 64


def draw_voice(axis: Axes, index: int) -> None:
    """Plot spectrogram, formants and pitch of person `index`."""
    person = draw_person(0, index)
    clip = draw_clip(person, 0, 3.0)
    waveform = speak(person, clip.text, person.random("flutter"))
    sound = parselmouth.Sound(waveform.astype(float), RATE)
    spectrogram = sound.to_spectrogram(window_length=0.02, maximum_frequency=5000)
    level = 10 * np.log10(np.maximum(spectrogram.values, 1e-12))
    axis.pcolormesh(spectrogram.x_grid(), spectrogram.y_grid(), level, vmin=level.max() - 60, cmap="Greys")
    tracks = sound.to_formant_burg(maximum_formant=5000 * person.traits["voice_formants"])
    pitch = sound.to_pitch(pitch_floor=60, pitch_ceiling=400)
    voiced = [t for t in pitch.xs() if pitch.get_value_at_time(t) > 0]
    for n in (1, 2, 3):
        axis.plot(voiced, [tracks.get_value_at_time(n, t) for t in voiced], ".", color="#c73e5d", markersize=2)
    right = axis.twinx()
    hertz = np.where(pitch.selected_array["frequency"] > 0, pitch.selected_array["frequency"], np.nan)
    right.plot(pitch.xs(), hertz, color="#2f6f8f")
    traits = person.traits
    right.axhline(traits["voice_pitch_hz"], color="#2f6f8f", linestyle="--", linewidth=1)
    right.set(ylim=(0, 500), ylabel="pitch, Hz")
    title = f"{traits['sex']}, {traits['age']:.0f}, {traits['accent']}: pitch {traits['voice_pitch_hz']:.0f} Hz "
    title += f"(obtained {np.nanmedian(hertz):.0f}), formants x {traits['voice_formants']:.2f}"
    axis.set(ylim=(0, 5000), ylabel="Hz", title=title)


def main() -> None:
    torch.set_num_threads(1)
    figure = Figure(figsize=(11, 9), layout="constrained")
    for axis, index in zip(figure.subplots(len(SHOWN), 1), SHOWN, strict=True):
        draw_voice(axis, index)
    figure.savefig(DOCS / "voices.png", dpi=90)
    people = [draw_person(0, index) for index in range(PEOPLE)]
    images = list(portraits(people, [0] * PEOPLE)[0].permute(0, 2, 3, 1).numpy())
    sheets.contact_sheet([("", image) for image in images], f"{PEOPLE} simulated people").save(
        DOCS / "talkers.jpg", quality=88
    )


if __name__ == "__main__":
    main()
