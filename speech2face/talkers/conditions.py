"""Conditions that vary between the pictures and between the recordings of one person.

No condition depends on the person's traits, except that language and speaking rate determine the text.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from speech2face.preprocessing.channel import Channel
from speech2face.talkers.traits import Person

CODECS = ("none", "none", "none", "mp3", "opus", "mulaw")  # each entry is equally likely


@dataclass(frozen=True)
class Clip:
    """The text and the channel of one recording."""

    text: str
    channel: Channel


def draw_scene(person: Person, picture: int) -> dict[str, float]:
    """Draw pose, expression, light and backdrop of picture number `picture`: the `scene` of portrait.render."""
    random = person.random("scene", picture)
    normal, uniform = random.normal, random.uniform
    return {
        **{"yaw": float(np.clip(4 * normal(), -12, 12)), "pitch": float(np.clip(2.5 * normal(), -8, 8))},
        **{"roll": float(np.clip(1.5 * normal(), -5, 5)), "zoom": float(np.clip(1 + 0.015 * normal(), 0.94, 1.06))},
        **{"shift_x": float(np.clip(1.5 * normal(), -5, 5)), "shift_y": float(np.clip(1.5 * normal(), -5, 5))},
        **{"smile": float(np.clip(0.3 + 0.3 * normal(), -0.3, 1)), "brow_raise": float(np.clip(0.3 * normal(), -1, 1))},
        "mouth_open": float(np.clip(0.3 * normal() - 0.15, 0, 0.5)),
        "blink": float(np.clip(0.12 * normal(), 0, 0.4)),
        **{"gaze_x": float(np.clip(0.2 * normal(), -1, 1)), "gaze_y": float(np.clip(0.12 * normal(), -1, 1))},
        **{"light_azimuth": uniform(-50, 50), "light_elevation": uniform(10, 50), "light_warmth": normal()},
        **{"light_strength": uniform(0.85, 1.15), "ambient": uniform(0.4, 0.6)},
        **{"background_hue": uniform(0, 1), "background_value": uniform(0.15, 0.9)},
    }


def draw_clip(person: Person, clip: int, seconds: float) -> Clip:
    """Draw text and channel of recording number `clip`; the text takes the person about `seconds` to say."""
    random = person.random("clip", clip)
    words = seconds * float(person.traits["voice_rate"]) / 60
    slots, text = sentences()[str(person.traits["language"])], ""
    while len(text.split()) < words:
        text += " ".join(str(random.choice(slot)) for slot in slots) + ". "
    telephone = random.random() < 0.12
    highest = 3400.0 if telephone else float(random.choice((8000, 8000, 7000, 5500)))
    channel = Channel(
        snr_db=float(random.uniform(12, 50)),
        noise_tilt=float(random.uniform(0, 2)),
        reverberation=float(random.uniform(0.1, 0.7)) if random.random() < 0.7 else 0.0,
        direct_db=float(random.uniform(0, 15)),
        band_hz=(300.0 if telephone else float(random.uniform(20, 120)), highest),
        codec=str(random.choice(CODECS)),
        level_dbfs=float(random.uniform(-35, -15)),
    )
    return Clip(text.strip(), channel)


@cache
def sentences() -> dict[str, list[list[str]]]:
    """By language, the slots of a sentence and the phrases for each slot; a sentence takes one phrase per slot."""
    import yaml

    return yaml.safe_load((Path(__file__).parent / "sentences.yaml").read_text(encoding="utf-8"))
