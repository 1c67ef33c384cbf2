"""The proportions of a face: from standardised traits and a scene to lengths and positions in pixels."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import Tensors, polar_outline

TRAITS = (  # standardised
    *("face_width", "face_length", "forehead", "jaw_width", "chin_length", "chin_width"),
    *("cheekbones", "cheek_fat", "brow_ridge", "brow_height", "brow_thickness", "brow_arch"),
    *("eye_size", "eye_spacing", "eye_tilt", "lid_height", "nose_width", "nose_length"),
    *("nose_bridge", "mouth_width", "upper_lip", "lower_lip", "ear_size", "neck_width"),
    *("skin_warmth", "hair_volume", "light_warmth"),
)


def measure(face: Tensors, scene: Tensors) -> Tensors:
    """Measurements of people: by name (batch,) float64 on the CPU, and "outline" (batch, KNOTS) of the face.

    face, scene: the arguments of portrait.render. They are part of the result, without "noise", and with the values of
    TRAITS clamped to [-3, 3]. Lengths are in pixels, positions in head coordinates. Double precision makes the
    measurements of a person independent of the batch.
    """
    m = {name: value.detach().double().cpu() for name, value in {**face, **scene}.items() if name != "noise"}
    for name in TRAITS:
        m[name] = m[name].clamp(-3, 3)
    smile, opening, sag = m["smile"], m["mouth_open"], m["sag"]
    grin = smile.clamp(min=0)

    m["half_width"] = 54.8 * (1 + 0.036 * m["face_width"] + 0.006 * m["cheek_fat"])
    wide = m["half_width"] / 56.0
    m["top"] = 33.0 - 1.6 * m["face_length"] - 2.0 * m["forehead"]
    chin = 190.5 + 3.2 * m["face_length"] + 2.2 * m["chin_length"]
    m["chin_y"] = chin + 13.0 * opening
    m["eye_x"] = 22.6 * (0.5 + 0.5 * wide) + 0.85 * m["eye_spacing"]
    m["eye_y"] = 108.0 + 0.15 * (chin - 190.5)
    m["eye_half"] = 12.3 * (1 + 0.055 * m["eye_size"])
    m["eye_slant"] = 0.55 + 0.75 * m["eye_tilt"] - 0.5 * sag
    aperture = (1 - 1.7 * m["blink"]) * (1 + 0.05 * m["eye_size"])
    lid_up = 5.4 + 0.45 * m["lid_height"] - 0.9 * sag - 0.7 * grin + 0.5 * m["brow_raise"]
    m["lid_up"] = (lid_up * aperture).clamp(0.7)
    m["lid_low"] = ((3.3 + 0.12 * m["lid_height"] - 0.9 * grin) * (1 - m["blink"] * 0.3)).clamp(0.9)
    m["brow_x"] = m["eye_x"] + 1.2
    m["brow_y"] = m["eye_y"] - 16.0 - 1.5 * m["brow_height"] - 3.2 * m["brow_raise"] + 0.8 * m["brow_ridge"] + 1.2 * sag
    m["brow_half"] = 16.5 * (0.4 + 0.6 * wide) * (1 + 0.015 * m["brow_ridge"])
    m["brow_bend"] = (2.7 + 1.0 * m["brow_arch"] + 0.8 * m["brow_raise"]).clamp(0.2)
    m["brow_thick"] = (2.5 + 0.52 * m["brow_thickness"]).clamp(1.1)
    m["nose_y"] = m["eye_y"] + 36.0 + 2.0 * m["nose_length"] + 0.18 * (chin - 190.5)
    m["nose_half"] = (12.4 * (1 + 0.075 * m["nose_width"])).clamp(8.5) + 0.9 * grin
    m["nose_rise"] = 21.0 + 2.0 * m["nose_bridge"]
    m["mouth_y"] = m["nose_y"] + 0.345 * (chin - m["nose_y"]) + 0.6 * sag
    m["mouth_half"] = 18.0 * (1 + 0.052 * m["mouth_width"]) + 3.0 * smile - 2.0 * opening
    m["mouth_lift"] = 4.2 * smile - 0.6 * sag + 0.2
    m["mouth_gap"] = 22.0 * opening + 5.0 * (smile - 0.35).clamp(min=0)
    m["lip_up"] = ((5.0 + 0.75 * m["upper_lip"]) * (1 - 0.16 * grin - 0.22 * sag)).clamp(1.8)
    m["lip_low"] = ((6.6 + 0.85 * m["lower_lip"]) * (1 - 0.14 * grin - 0.18 * sag)).clamp(2.6)
    m["ear_y"] = 0.5 * (m["brow_y"] + m["nose_y"]) + 2.0 + 3.2 * m["brow_raise"] * 0.5
    m["ear_half"] = 23.0 * (1 + 0.055 * m["ear_size"])
    m["neck_half"] = 33.0 * (1 + 0.05 * m["neck_width"])
    m["jaw_half"] = 43.0 * (0.25 + 0.75 * wide) * (1 + 0.035 * m["jaw_width"] + 0.02 * m["cheek_fat"]) + 0.9 * sag
    m["chin_half"] = 13.0 * (1 + 0.10 * m["chin_width"] + 0.03 * m["jaw_width"] + 0.03 * m["cheek_fat"])
    m["outline"] = face_outline(m)
    for angle in ("yaw", "pitch", "roll"):
        radians = torch.deg2rad(m[angle])
        m[f"{angle}_sin"], m[f"{angle}_cos"] = radians.sin(), radians.cos()
    return m


def face_outline(m: Tensors) -> Tensor:
    """Polar outline (batch, KNOTS) of skull, cheeks and jaw."""
    wide, jaw, chin, low, top = m["half_width"], m["jaw_half"], m["chin_half"], m["chin_y"], m["top"]
    bone, fat = m["cheekbones"], m["cheek_fat"]
    jaw_y = m["mouth_y"] + 1.0
    half = [
        (0 * wide, top),
        (0.46 * wide, top + 5.0),
        (0.83 * wide, top + 24.0),
        (0.975 * wide, top + 52.0),
        (0.995 * wide + 0.4 * bone, 0 * top + 112.0),
        (0.965 * wide + 0.7 * bone, 0 * top + 131.0),
        (0.5 * (jaw + 0.95 * wide) + 0.6 * fat, 0.5 * (jaw_y + 138.0)),
        (jaw, jaw_y),
        (0.5 * (jaw + chin) + 2.6 + 0.8 * fat, 0.5 * jaw_y + 0.5 * low + 1.6),
        (chin, low - 2.8),
        (0 * wide, low),
    ]
    right = torch.stack([torch.stack(point, -1) for point in half], 1)
    left = right.flip(1)[:, 1:-1] * torch.tensor([-1.0, 1.0], dtype=right.dtype)
    return polar_outline(torch.cat([right, left], 1))
