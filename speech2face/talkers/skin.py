"""Layers of a portrait: the skin of the face, and the ears. The face is a height field under a light."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import Tensors, nose_profile
from speech2face.talkers.shading import bump, crease, edge, hump, light, normals, over, stretch


def face_skin(image: Tensor, grid: Tensors, p: Tensors) -> Tensor:
    """Draw the skin of the face."""
    x, y, sd = grid["x"], grid["y"], grid["face_sd"]
    ax = x.abs()
    height = face_height(x, y, grid["part"], p)
    creases = folds(x, y, p)
    pores = stretch(p["noise"][:, 2], x * 0.45 + 28, y * 0.45) - 0.5
    blotches = stretch(p["noise"][:, 1], x * 0.11 + 28, y * 0.11) - 0.5
    height = height - creases + (0.14 + 0.22 * p["wrinkles"]) * pores
    nx, ny, nz = normals(height)
    lit, gloss = light(nx, ny, nz, p, (0.42, 0.26, 0.19))

    # Hollows receive less light.
    sockets = bump(ax - p["eye_x"] + 3, y - p["eye_y"] + 3, 19.0, 12.5)
    corner = bump(ax - 8.5, y - p["eye_y"] + 1, 8.0, 11.0)
    under_nose = bump(x, y - p["nose_y"] - 3.0, 1.15 * p["nose_half"], 7.0)
    lip_y = p["mouth_y"] + p["mouth_gap"] * 0.7 + p["lip_low"]
    under_lip = bump(x, y - lip_y - 3.0, 15.0, 5.5)
    dark = 0.20 * sockets + 0.16 * corner + 0.16 * under_nose + 0.20 * under_lip
    dark = dark + 0.16 * creases
    # The nose casts a shadow on the cheek that is away from the light.
    cast_x = x + p["light_x"] * 17
    cast = bump(cast_x, y - p["nose_y"] + 9, 12.0, 18.0) * edge(-x * p["light_side"] - 5.0, 10.0)
    dark = dark + 0.42 * p["light_x"].abs() * cast
    dark = dark + 0.12 * edge(sd + 7, 16.0)
    lit = lit * (1 - dark.clamp(0, 0.8))[:, None]

    # Blood colours the cheeks, the nose and the chin. "flush" is its colour.
    flush = bump(ax - 34, y - p["nose_y"] + 9, 24.0, 19.0) * (0.75 + 0.7 * p["makeup"] + 0.3 * p["smile"].clamp(min=0))
    flush = flush + 0.8 * bump(x, y - p["nose_y"] + 6, 14.0, 12.0) + 0.30 * bump(x, y - p["chin_y"] + 10, 22.0, 14.0)
    flush = flush + 0.55 * sockets + 0.5 * blotches + 0.35 * creases
    tone = 1 + flush[:, None] * p["flush"]
    # Freckles are densest on nose and cheeks.
    spots = stretch(p["noise"][:, 3], x * 0.52 + 28, y * 0.52)
    field = bump(x, y - p["nose_y"] + 14, 60.0, 34.0) + 0.25
    speckle = ((spots - 0.66) * 4.0).clamp(0, 1) * field * p["freckles"]
    tone = tone * (1 - speckle[:, None] * torch.tensor([0.25, 0.42, 0.52], device=x.device)[:, None, None])
    tone = tone * (1 + 0.06 * pores + 0.10 * blotches)[:, None]

    shine = gloss**4
    shine = shine * shine * shine * shine * gloss * gloss
    oil = 0.45 + 0.8 * bump(x, y - p["nose_y"] + 10, 8.0, 34.0) + 0.5 * bump(x, y - 72, 40.0, 24.0)
    oil = oil + 0.4 * bump(ax - 33, y - p["nose_y"] + 19, 17.0, 10.0)
    shine = shine * oil * (0.95 + pores * 0.25) * p["sheen"]
    skin = p["skin"] * tone * lit + (shine * (1 - dark.clamp(0, 0.8)))[:, None] * p["key"]
    return over(image, skin, edge(-sd, 1.2))


def face_height(x: Tensor, y: Tensor, part: Tensor, p: Tensors) -> Tensor:
    """Height of the face in pixels at head coordinates, without wrinkles.

    part: distance from the pole, divided by the distance of the outline in the same direction.
    """
    ax = x.abs()
    f = part.clamp(max=1.3) ** 2
    eye_y, nose_y, mouth_y, chin_y = p["eye_y"], p["nose_y"], p["mouth_y"], p["chin_y"]
    grin = p["smile"].clamp(min=0)
    h = 34 * (1 - 0.55 * f - 0.45 * f * f)
    nose = p["nose_rise"] * 0.52 * nose_profile(x, y, p)
    tip = 3.2 * bump(x, y - nose_y + 6, 10.0, 10.0)
    wing = 3.6 * bump(ax - 0.72 * p["nose_half"], y - nose_y + 4.6, 0.50 * p["nose_half"], 7.2)
    h = h + nose + tip + wing
    h = h + (3.0 + 0.9 * p["brow_ridge"]) * bump(ax - 0.8 * p["eye_x"], y - p["brow_y"] - 1.5, 26.0, 12.0)
    h = h - 5.5 * bump(ax - p["eye_x"] + 1, y - eye_y + 1.5, 21.0, 14.0)
    h = h + 4.2 * bump(ax - p["eye_x"], y - eye_y, 13.5, 10.5)
    h = h + (4.2 + 0.7 * p["cheekbones"] + 0.5 * p["cheek_fat"] + 3.0 * grin) * bump(
        ax - 32, y - nose_y + 14 + 2 * grin, 24.0, 20.0
    )
    h = h - (2.6 + 0.6 * p["cheekbones"] - 0.9 * p["cheek_fat"]) * bump(ax - 40, y - mouth_y, 22.0, 22.0)
    h = h + 4.6 * bump(x, y - mouth_y + 1, 31.0, 25.0)
    h = h - 1.5 * bump(x, y - 0.5 * (nose_y + mouth_y) + 1.5, 4.5, 8.5)
    h = h - 3.4 * bump(x, y - mouth_y - p["mouth_gap"] * 0.7 - p["lip_low"] - 4.5, 17.0, 7.5)
    h = h + 4.6 * bump(x, y - chin_y + 11.5, 21.0, 15.0)
    h = h + 2.0 * bump(x, y - 70, 34.0, 30.0)
    h = h + p["sag"] * 3.4 * bump(ax - 0.72 * p["jaw_half"], y - chin_y + 19, 15.0, 17.0)
    h = h + p["sag"] * 2.2 * bump(ax - p["eye_x"] + 1, y - eye_y - 11, 14.0, 7.0)
    return h


def folds(x: Tensor, y: Tensor, p: Tensors) -> Tensor:
    """Depth of wrinkles and folds in pixels at head coordinates."""
    ax = x.abs()
    wrinkles, sag = p["wrinkles"], p["sag"]
    grin = p["smile"].clamp(min=0)
    # Nasolabial folds, from the wings of the nose to the corners of the mouth.
    s = (y - p["nose_y"] + 5) / (p["mouth_y"] - p["nose_y"] + 12)
    line = ax - (p["nose_half"] + 2.5 + (p["mouth_half"] - p["nose_half"] + 4.5) * s * (1.25 - 0.25 * s))
    depth = (0.35 + 1.9 * wrinkles + 1.6 * grin) * crease(line, 2.1) * hump(s - 0.48, 0.72)
    # Bags under the eyes.
    bag = y - p["eye_y"] - 11.5 - 2.2 * sag + 0.018 * (ax - p["eye_x"] + 2) ** 2
    depth = depth + (0.25 + 1.3 * sag + 0.8 * wrinkles) * crease(bag, 1.7) * hump(ax - p["eye_x"] + 2, 15.0)
    # Three lines across the forehead, higher above the brows.
    lift = 2.2 * hump(ax - 22, 26.0) + 5.0 * (stretch(p["noise"][:, 3], x / 12 + 28, y / 40) - 0.5)
    lines = sum(crease(y - p["brow_y"] + rise + lift, 1.15) for rise in (15, 24.5, 34))
    window = hump(x, 44.0)
    depth = depth + (1.25 * wrinkles + 0.8 * p["brow_raise"].clamp(min=0) * (0.35 + wrinkles)) * lines * window
    # Frown lines between the brows.
    frown = crease(ax - 4.5, 0.9) * hump(y - p["brow_y"] - 2, 9.0)
    depth = depth + wrinkles * 0.9 * frown
    # Crow's feet: three rays from the outer corner of the eye.
    ox, oy = ax - p["eye_x"] - p["eye_half"] - 1.5, y - p["eye_y"]
    rays = sum(crease(oy - slope * ox, 0.95) for slope in (-0.55, 0.05, 0.6))
    depth = depth + (0.95 * wrinkles + 0.7 * grin * wrinkles) * rays * bump(ox - 6, oy, 7.5, 10.0)
    # Lines from the corners of the mouth downwards.
    droop = crease(ax - p["mouth_half"] - 2.0 - 0.12 * (y - p["mouth_y"]), 1.5)
    depth = depth + (1.6 * sag + 0.4 * wrinkles) * droop * hump(y - p["mouth_y"] - 11, 13.0)
    return depth


def ears(image: Tensor, grid: Tensors, p: Tensors) -> Tensor:
    """Draw both ears, with helix and concha."""
    x, y = grid["x"], grid["y"]
    side = (x.abs() - p["half_width"] + 1.0) / 8.6
    up = (y - p["ear_y"]) / p["ear_half"]
    side = side - 0.16 * (0.3 - up)  # wider at the top
    distance = (side * side + up * up).sqrt()
    size = 1 - 0.10 * up.clamp(min=0)
    rim = (size - distance) * 9.0
    height = 5.0 * crease(rim - 1.4, 1.3) - 4.5 * bump(side - 0.15, up + 0.05, 0.62, 0.60) + 4.5 * side
    nx, ny, nz = normals(height)
    lit, _ = light(nx, ny, nz, p, (0.42, 0.27, 0.21))
    hollow = 1 - 0.55 * bump(side - 0.1, up + 0.05, 0.62, 0.62) - 0.22 * crease(rim - 3.4, 0.9)
    red = torch.tensor([0.98, 0.89, 0.87], device=image.device)[:, None, None]
    skin = p["skin"] * red * lit * hollow[:, None]
    return over(image, skin, edge(rim))
