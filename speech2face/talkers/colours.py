"""Colours of skin, hair, eyes, clothes and backdrop, and the light."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import Tensors

SKIN_RAMP = (  # sRGB, from very fair to very dark skin
    *((0.965, 0.835, 0.765), (0.930, 0.765, 0.665), (0.850, 0.660, 0.530)),
    *((0.715, 0.505, 0.370), (0.565, 0.385, 0.275), (0.420, 0.280, 0.205)),
)
HAIR_RAMP = (  # sRGB, from blond to black
    *((0.860, 0.710, 0.470), (0.650, 0.480, 0.290), (0.430, 0.285, 0.180)),
    *((0.255, 0.165, 0.115), (0.105, 0.085, 0.080)),
)
IRIS = (  # sRGB, in the order of face_traits.EYE_COLOURS
    *((0.20, 0.11, 0.07), (0.36, 0.21, 0.11), (0.44, 0.36, 0.18)),
    *((0.36, 0.45, 0.27), (0.33, 0.50, 0.66), (0.50, 0.56, 0.60)),
)


def paints(m: Tensors) -> Tensors:
    """Linear colours (batch, 3) and components of the direction of the light (batch,), float64 by name.

    m: the result of proportions.measure. "key": colour and strength of the light.
    """
    skin = ramp(SKIN_RAMP, m["skin_tone"]) ** 2
    warm = m["skin_warmth"][:, None] / 3
    skin = skin * (1 + warm * torch.tensor([-0.05, 0.05, -0.16], dtype=warm.dtype))
    hair = ramp(HAIR_RAMP, m["hair_melanin"])
    red = (m["hair_red"] * (1 - 0.75 * m["hair_melanin"]))[:, None]
    ginger = torch.tensor([0.66, 0.31, 0.13], dtype=red.dtype) * (1.1 - 0.6 * m["hair_melanin"][:, None])
    hair = torch.lerp(hair, ginger, 0.85 * red) ** 2
    azimuth, elevation = torch.deg2rad(m["light_azimuth"]), torch.deg2rad(m["light_elevation"])
    warmth = m["light_warmth"][:, None] / 3
    key = m["light_strength"][:, None] * (1 + warmth * torch.tensor([0.10, 0.0, -0.16], dtype=warmth.dtype))
    cloth = hsv(m["clothing_hue"], 0.30 + 0.25 * (1 - m["clothing_value"]), 0.12 + 0.72 * m["clothing_value"]) ** 2
    shirt = (
        hsv(m["clothing_hue"] + 0.45, torch.full_like(m["clothing_hue"], 0.10), 0.95 - 0.25 * m["clothing_value"]) ** 2
    )
    wall = hsv(m["background_hue"], 0.22 - 0.12 * m["background_value"], 0.16 + 0.70 * m["background_value"]) ** 2
    return {
        "skin": skin,
        "hair": hair,
        "key": 0.98 * key,
        "iris": torch.tensor(IRIS, dtype=warm.dtype)[m["eye_colour"].long()] ** 2,
        "cloth": cloth,
        "shirt": shirt,
        "wall": wall,
        "light_x": azimuth.sin() * elevation.cos(),
        "light_y": -elevation.sin(),
        "light_z": azimuth.cos() * elevation.cos(),
    }


def ramp(colours: tuple[tuple[float, ...], ...], share: Tensor) -> Tensor:
    """Colours (batch, 3) at shares (batch,) of a ramp, in [0, 1]; linear between the colours of the ramp."""
    table = torch.tensor(colours, dtype=share.dtype)
    position = share.clamp(0, 1) * (len(colours) - 1)
    low = position.floor().long().clamp(max=len(colours) - 2)
    return torch.lerp(table[low], table[low + 1], (position - low)[:, None])


def hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB (batch, 3) of hue, saturation and value (batch,) in [0, 1]."""
    offsets = torch.tensor([5.0, 3.0, 1.0], dtype=hue.dtype)
    k = (offsets + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))
