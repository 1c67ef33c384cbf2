"""Layers of a portrait: neck, shoulders and clothes."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import MIDLINE, PIVOT, Tensors
from speech2face.talkers.shading import bump, crease, edge, light, normals, over, stretch


def torso(image: Tensor, grid: Tensors, p: Tensors) -> Tensor:
    """Draw neck, shoulders and clothes."""
    x = grid["px"] - MIDLINE - p["shift_x"] - 12 * p["yaw_sin"]
    y = (grid["py"] - PIVOT - p["shift_y"]) / p["zoom"] + PIVOT
    x = x / p["zoom"] + p["roll_sin"] * 0.4 * (y - PIVOT)
    ax = x.abs()
    neck = p["neck_half"]
    flare = ((y - 186) / 24).clamp(min=0)
    width = neck + 7.0 * flare * flare + 4.0 * ((180 - y) / 30).clamp(0, 1)
    beyond = (ax - neck).clamp(min=0)
    shoulder = y - (197.5 + 0.21 * beyond + 0.0007 * beyond * beyond)
    inside = torch.minimum(torch.maximum(width - ax, shoulder * 0.95), y - 150)

    # The neck is a cylinder with two muscles, a pit at the throat, and a fold.
    q = (x / (width + 3)) ** 2
    height = 26 * (1 - q.clamp(max=1.4)) * (1 - flare.clamp(max=1) * 0.3) - 0.25 * (y - 190)
    cord = (ax - (neck * 0.92 - (y - 178) * neck * 0.022)) / 5.0
    height = height + 2.2 * crease(cord, 1.0) * ((y - 182) / 15).clamp(0, 1)
    height = height - 3.2 * bump(x, y - 216, 9.0, 11.0) - p["sag"] * 1.2 * crease((y - 199 - 0.004 * x * x), 1.2)
    lit, gloss = light(*normals(height), p, (0.40, 0.24, 0.18))
    # The head casts a shadow: the outline of the face, shifted away from the light.
    below = grid["face_sd"] - 1.5 * p["light_y"]
    shade = 1 - 0.74 / (1 + (below.clamp(min=0) / (12.0 - 13 * p["light_y"])) ** 2)
    skin = p["skin"] * lit * shade[:, None]
    skin = skin + (0.02 * gloss**12 * shade)[:, None]
    image = over(image, skin, edge(inside))
    return clothes(image, x, y, shoulder, shade, p)


def clothes(image: Tensor, x: Tensor, y: Tensor, shoulder: Tensor, shade: Tensor, p: Tensors) -> Tensor:
    """Draw a crew neck, a collar shirt, a V-neck or a jacket.

    x, y: pixels, x from the middle of the neck. shoulder: signed distance below the line of the shoulders, in pixels.
    shade: factor of the head's shadow.
    """
    ax = x.abs()
    neck = p["neck_half"]
    crew, collar, vee, jacket = (p["clothing_is"][:, i] for i in range(4))
    round_gap = (1 - (x / (neck + 6)) ** 2 - ((y - 194) / 17) ** 2) * 9
    vee_gap = (neck + 3 - ax - (y - 197) * 0.62) * 0.85
    shirt_gap = (neck - 1 - ax - (y - 197) * 1.15) * 0.65
    gap = crew * round_gap + vee * vee_gap + (collar + jacket) * shirt_gap
    cover = torch.minimum(shoulder + 1.5, -gap)

    folds = stretch(p["noise"][:, 1], 20 + x / 14 + y / 30, y / 16 + ax / 20)
    height = -0.0045 * x * x - 0.9 * (y - 200) + 3 * folds + 1.5 * crease(gap + 4.5, 1.2) * (crew + vee)
    lit, _ = light(*normals(height), p, (0.15, 0.15, 0.15))
    weave = 0.93 + 0.14 * stretch(p["noise"][:, 2], x * 0.5 + 28, y * 0.5)
    fabric = torch.lerp(p["cloth"], p["shirt"], jacket[:, None])
    base = fabric * lit * weave[:, None]
    contact = 0.75 + 0.25 * edge(shoulder - 2, 8.0)
    image = over(image, base * (contact * (0.55 + 0.45 * shade))[:, None], edge(cover))
    # The seam of the neckband.
    band = crease(gap + 5.0, 0.7) * edge(cover, 2.0) * (crew + vee)
    image = image * (1 - 0.30 * band)[:, None]

    # The collar has two leaves that meet below the throat.
    leaf = torch.minimum(ax * 0.8 - (y - 206) * 0.75 + 3, (y - 190) + 0.10 * ax)
    leaf = torch.minimum(leaf, neck + 9 - ax - (y - 205) * 0.35)
    leaf = torch.minimum(torch.minimum(leaf, -shirt_gap + 1.5), shoulder + 6.5)
    shown = (collar + jacket) * edge(leaf)
    image = image * (1 - 0.35 * (collar + jacket) * edge(leaf + 3, 6.0) * edge(cover))[:, None]
    image = over(image, fabric * lit * (1.08 * (0.6 + 0.4 * shade))[:, None], shown)

    # The jacket has two lapels.
    lapel = torch.minimum(ax - (14 + (224 - y) * 0.95), shoulder + 1.0)
    image = image * (1 - 0.4 * jacket * edge(lapel + 3, 6.0) * edge(cover))[:, None]
    image = over(image, p["cloth"] * lit * weave[:, None], jacket * edge(lapel))
    notch = crease(lapel - 15 - (y - 212).abs() * 0.3, 0.8) * edge(lapel)
    return image * (1 - 0.35 * jacket * notch)[:, None]
