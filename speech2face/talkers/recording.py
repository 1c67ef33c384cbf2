"""Recordings of a simulated person: the voice, sent through the channel drawn for the clip."""

import numpy as np

from speech2face.preprocessing.channel import transmit
from speech2face.talkers.conditions import draw_clip
from speech2face.talkers.traits import Person
from speech2face.talkers.voice import speak


def record(person: Person, clip: int, seconds: float) -> np.ndarray:
    """Recording number `clip` of a person, about `seconds` long: (samples,) float32 at 16 kHz in [-1, 1]."""
    drawn = draw_clip(person, clip, seconds)
    random = person.random("recording", clip)
    return transmit(speak(person, drawn.text, random), drawn.channel, random)
