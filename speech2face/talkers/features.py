"""Layers of a portrait: eyes, brows, nostrils and mouth, each drawn in a small window."""

import torch
from torch import Tensor

from speech2face.talkers.curves import brow_curve, lid_curves, lip_curves
from speech2face.talkers.geometry import SIZE, Tensors
from speech2face.talkers.hair import hair_colour
from speech2face.talkers.shading import bump, crease, edge, hump, over, stretch


def window(centre: Tensor, height: int, width: int) -> Tensor:
    """Flat pixel indices (batch, height * width) of windows of a (224, 224) picture, centred at (batch, 2) x, y."""
    left = (centre[:, 0].round().long() - width // 2).clamp(0, SIZE - width)
    top = (centre[:, 1].round().long() - height // 2).clamp(0, SIZE - height)
    rows = torch.arange(height, device=centre.device)[:, None] * SIZE
    inside = (rows + torch.arange(width, device=centre.device)).flatten()
    return (top * SIZE + left)[:, None] + inside


def cut(image: Tensor, where: Tensor, height: int) -> Tensor:
    """Windows (batch, channels, height, width) of an image (batch, channels, 224, 224). where: result of window()."""
    index = where[:, None].expand(-1, image.shape[1], -1)
    return image.flatten(2).gather(2, index).unflatten(2, (height, -1))


def paste(image: Tensor, patch: Tensor, where: Tensor) -> Tensor:
    """Overwrite the windows of the image, in place, with a patch (batch, channels, height, width)."""
    index = where[:, None].expand(-1, image.shape[1], -1)
    image.view(*image.shape[:2], -1).scatter_(2, index, patch.flatten(2))
    return image


def eye(image: Tensor, grid: Tensors, p: Tensors, side: float) -> Tensor:
    """Draw one eye. side: -1 for the viewer's left, 1 for the right."""
    height, width = 44, 56
    where = window(p["eye_at"][:, 0 if side < 0 else 1], height, width)
    x, y = cut(torch.stack([grid["x"], grid["y"]], 1), where, height).unbind(1)
    patch = cut(image, where, height)
    ex, ey = p["eye_x"] - side * x, y - p["eye_y"]  # from the centre of the eye: towards the nose, and down
    t = ex / p["eye_half"]
    upper, lower = lid_curves(t.clamp(-1.25, 1.25), p)
    inside_t = t.clamp(-1, 1)
    upper_in, lower_in = lid_curves(inside_t, p)
    down, up = ey - upper, lower - ey  # distances from the lids, positive between the lids
    opening = edge(torch.minimum(down, up), 1.1)
    ends = (1 - inside_t * inside_t).clamp(min=0)
    ends = ends * (2 - ends)

    # The crease of the upper lid, and eye shadow.
    gap = 2.6 + 0.45 * p["lid_height"] - 1.2 * p["sag"]
    fold = ey - (upper_in - gap.clamp(min=0.9) * (0.45 + 0.55 * ends))
    folded = crease(fold, 0.95) * hump(t + 0.05, 1.22)
    patch = patch * (1 - (0.46 + 0.1 * p["makeup"]) * folded)[:, None]
    lid = edge(-down) * edge(fold, 1.5) * hump(t, 1.15)
    shadow_colour = torch.tensor([0.30, 0.38, 0.34], device=x.device)[:, None, None]
    patch = patch * (1 - (lid * p["makeup"] * 0.9 * p["lip_colour"].clamp(0.2))[:, None] * shadow_colour)
    patch = patch * (1 + 0.10 * lid * crease(t + 0.1, 0.5))[:, None]

    # The eyeball.
    ball = 1 - 0.30 * t * t - 0.55 / (1 + (down.clamp(min=0) / 1.9) ** 2)
    white = torch.tensor([0.74, 0.70, 0.675], device=x.device)[:, None, None]
    pink = torch.tensor([0.72, 0.40, 0.36], device=x.device)[:, None, None]
    inner = edge(t - 0.84, 0.22)[:, None]
    sclera = torch.lerp(white.expand_as(patch), pink.expand_as(patch), 0.75 * inner.expand_as(patch))
    sclera = sclera * (0.35 + 0.62 * p["key_level"] * ball)[:, None] * p["eye_light"]
    radius = 5.45
    ix, iy = ex + side * p["gaze_x"] * 2.6, ey + 0.75 - p["gaze_y"] * 1.6
    r = (ix * ix + iy * iy + 1e-6).sqrt()
    share = r / radius
    lx, ly = -side * p["light_x"], p["light_y"]
    # The iris is brightest on the side away from the lamp, where the refracted light leaves it.
    glow = 0.75 + 0.55 * (-(ix * lx + iy * ly) / radius).clamp(-0.6, 1) * bump(ix, iy, 6.5, 6.5) * 1.6
    ring = 1 - 0.72 * edge(share - 0.86, 0.34)
    fibre = 0.86 + 0.3 * stretch(p["noise"][:, 3], 20 + ix * 1.6, 20 + iy * 1.6)
    iris = p["iris"] * (glow * ring * fibre * (0.30 + 0.95 * p["key_level"]))[:, None]
    iris = iris * (1 - 0.55 / (1 + (down.clamp(min=0) / 1.5) ** 2))[:, None]
    iris = iris * (1 - 0.96 * edge(2.15 - r, 0.9))[:, None]
    ball_colour = over(sclera, iris, edge(radius - r, 1.2))
    # The wet edge above the lower lid.
    ball_colour = ball_colour * (1 + 0.12 * crease(up - 1.0, 0.6) * edge(up, 1.0))[:, None]
    patch = over(patch, ball_colour, opening)
    glint = edge(1.35 - ((ix + 1.9 * side * p["light_side"]) ** 2 + (iy + 1.7) ** 2).sqrt(), 1.2)
    glint = glint + 0.22 * edge(1.1 - ((ix - 1.8 * side * p["light_side"]) ** 2 + (iy - 1.9) ** 2).sqrt(), 1.4)
    patch = patch + (0.85 * glint * opening * p["key_level"])[:, None]

    # The lashes are a line that gets thicker outwards, and hairs above it.
    hairs = stretch(p["noise"][:, 1], t * 13 + 20 + 0.5 * down, torch.full_like(t, 9.0))
    thick = (1.05 + 0.75 * p["makeup"]) * (1 - 0.35 * inside_t) * (0.5 + 0.5 * ends)
    off = (ey - upper_in + 0.25 * thick) / thick
    outer = hump(t + 0.10, 1.16 + 0.08 * p["makeup"])
    outer = (outer * 4).clamp(max=1)
    line = outer / (1 + off * off * off * off)
    length = (2.3 + 1.8 * p["makeup"]) * (0.75 - 0.45 * inside_t)
    out = -down / length
    lash = edge(out, 0.3) * (1 - out).clamp(0, 1) * (hairs * 2.2 - 0.7).clamp(0, 1) * outer
    dark = torch.tensor([0.028, 0.018, 0.015], device=x.device)[:, None, None]
    patch = over(patch, dark, ((0.62 + 0.25 * p["makeup"]) * line + (0.35 + 0.45 * p["makeup"]) * lash).clamp(0, 0.95))
    below = crease(ey - lower_in - 0.3, 0.75) * (outer * (0.75 - 0.5 * inside_t)).clamp(0, 1)
    patch = patch * (1 - (0.30 + 0.30 * p["makeup"]) * below)[:, None]
    return paste(image, patch, where)


def brow(image: Tensor, grid: Tensors, p: Tensors, side: float) -> Tensor:
    """Draw one brow of short hairs. side: -1 for the viewer's left, 1 for the right."""
    height, width = 36, 56
    where = window(p["brow_at"][:, 0 if side < 0 else 1], height, width)
    x, y = cut(torch.stack([grid["x"], grid["y"]], 1), where, height).unbind(1)
    patch = cut(image, where, height)
    t = (p["brow_x"] - side * x) / p["brow_half"]
    inside_t = t.clamp(-1, 1)
    off = y - p["brow_y"] - brow_curve(t.clamp(-1.1, 1.1), p)
    # The brow is thick at the nose and thin at the outer end.
    blunt = 1 - 1.5 * (t - 0.45).clamp(0, 0.55) ** 2
    thick = p["brow_thick"] * (0.42 + 0.58 * ((inside_t + 1.05) * 0.9).clamp(0, 1)) * blunt
    v = off / thick
    lean = t * 19 + v * (1.0 - 2.4 * (t + 0.1))
    hairs = stretch(p["noise"][:, 2 if side < 0 else 3], lean + 24, v * 0.7 + 12)
    finer = stretch(p["noise"][:, 0], lean * 1.9 + 28, v * 0.8 + (20 if side < 0 else 32))
    hairs = 0.5 * hairs + 0.5 * finer
    soft = edge(1 - v.abs() + (hairs - 0.5) * 0.9, 0.95)
    ends = edge(1.0 - t + (hairs - 0.5) * 0.22, 0.34) * edge(t + 1.0 + (hairs - 0.5) * 0.1, 0.2)
    alpha = soft * ends * (0.74 + 0.6 * (hairs - 0.4)).clamp(0, 1) * p["brow_strength"]
    colour = hair_colour((hairs + 0.35).clamp(0, 1), p | {"hair": p["brow_hair"]})
    colour = colour * (0.25 + 0.55 * p["key_level"] * (0.7 + 0.6 * hairs))[:, None]
    patch = patch * (1 - 0.22 * soft * ends)[:, None]
    return paste(image, over(patch, colour, alpha), where)


def nostrils(image: Tensor, grid: Tensors, p: Tensors) -> Tensor:
    """Draw the nostrils, the creases of the wings of the nose, and the dark edge under the tip."""
    height, width = 40, 60
    where = window(p["nose_at"], height, width)
    x, y = cut(torch.stack([grid["x"], grid["y"]], 1), where, height).unbind(1)
    patch = cut(image, where, height)
    ax, half, ny = x.abs(), p["nose_half"], y - p["nose_y"]
    slope = 0.22 * (ax - 0.42 * half)
    hole = bump(ax - 0.42 * half, ny + 1.5 - slope, 0.31 * half, 2.9)
    # The crease of the wing runs from the cheek to below the nostril.
    u, v = (ax - 0.66 * half) / (0.44 * half), (ny + 5.0) / 6.4
    ring = ((u * u + v * v + 1e-6).sqrt() - 1) * 5.0
    wing = crease(ring, 1.1) * edge(u - 0.25, 0.6)
    under = crease(ny - 0.6 - 0.8 * hump(x, 6.0), 1.5) * hump(x, half * 0.95)
    dark = 1 - 0.30 * wing - 0.30 * under
    patch = patch * dark[:, None]
    deep = p["skin"] * torch.tensor([0.17, 0.085, 0.075], device=x.device)[:, None, None]
    patch = over(patch, deep * p["eye_light"], (1.25 * hole).clamp(0, 0.9))
    tip = bump(x + p["light_x"] * -4.0, ny + 9.5, 4.2, 3.8)
    patch = patch + (0.055 * tip * p["key_level"] * p["sheen_level"])[:, None]
    return paste(image, patch, where)


def mouth(image: Tensor, grid: Tensors, p: Tensors) -> Tensor:
    """Draw the lips, the line between them or the inside of an open mouth, and the shadow at the corners."""
    height, width = 48, 72
    where = window(p["mouth_at"], height, width)
    x, y = cut(torch.stack([grid["x"], grid["y"]], 1), where, height).unbind(1)
    patch = cut(image, where, height)
    t = x / p["mouth_half"]
    inside_t = t.clamp(-1, 1)
    my = y - p["mouth_y"]
    top, inner_top, inner_bottom, bottom = (my - curve for curve in lip_curves(inside_t, p))
    beyond = 1.5 * (t.abs() - 1).clamp(min=0) * p["mouth_half"]
    upper = torch.minimum(top, -inner_top) - beyond
    lower = torch.minimum(inner_bottom, -bottom) - beyond
    hole = torch.minimum(inner_top, -inner_bottom) - beyond

    open_share = edge(hole, 1.0)
    upper_share, lower_share = edge(upper + 0.15, 1.5), edge(lower + 0.1, 1.7)
    lips = (upper_share + lower_share).clamp(max=1)
    # The lips tint the skin below them, so that they keep its light.
    up_v = (top / (top - inner_top).clamp(min=0.8)).clamp(0, 1)  # 0 at the outer edge, 1 at the inner edge
    low_v = (inner_bottom / (inner_bottom - bottom).clamp(min=0.8)).clamp(
        0, 1
    )  # 0 at the inner edge, 1 at the outer edge
    roll = upper_share * (0.80 - 0.24 * up_v) + lower_share * (0.80 + 0.62 * low_v * (1 - low_v) * 2 - 0.20 * low_v)
    grooves = stretch(p["noise"][:, 1], x / 1.5 + 28, 20 + my * 0.10) - 0.5
    roll = roll * (1 + 0.16 * grooves * (1 - p["lip_colour"] * 0.5))
    tint = torch.lerp(p["lip"], p["lipstick"], 0.75 * p["lip_colour"][:, None])
    painted = patch * tint * (roll * 1.12)[:, None]
    shine = bump(x + 3 * -p["light_x"], my - 0.7 * p["mouth_gap"] - 0.40 * p["lip_low"], 11.0, 2.6)
    shine = shine * (0.7 + 0.9 * (grooves + 0.5)) * lower_share
    painted = painted + ((0.045 + 0.10 * p["lip_colour"]) * shine * p["key_level"])[:, None]
    patch = over(patch, painted, lips * 0.95)
    # The skin above the upper lip is bright, and the corners are dark.
    patch = patch * (1 + 0.10 * crease(top + 1.2, 0.9) * hump(t, 0.55) * edge(-top))[:, None]
    corner = bump(t.abs() - 1.02, my + p["mouth_lift"], 0.17, 3.2)
    patch = patch * (1 - 0.45 * corner)[:, None]

    # The inside is dark, with teeth at the top and a tongue at the bottom.
    cave = torch.tensor([0.055, 0.016, 0.016], device=x.device)[:, None, None]
    inside = cave.expand_as(patch)
    tongue = bump(x, -inner_bottom + 0.5, 15.0, 7.0) * 0.75
    inside = over(inside, torch.tensor([0.36, 0.10, 0.09], device=x.device)[:, None, None] * p["eye_light"], tongue)
    bite = inner_top - (3.4 + 2.4 * p["smile"].clamp(min=0)) * (1 - 0.55 * t * t)
    gaps = 1 - 0.16 * crease((x / 4.3 - (x / 4.3).round()) * 4.3, 0.45)
    round_jaw = (1 - 0.75 * t * t) * gaps * (0.62 + 0.38 * edge(inner_top - 1.2, 3.0))
    enamel = (
        torch.tensor([0.80, 0.76, 0.69], device=x.device)[:, None, None] * (0.9 * round_jaw)[:, None] * p["eye_light"]
    )
    inside = over(inside, enamel, edge(-bite, 1.2) * edge(0.90 - t.abs(), 0.12))
    patch = over(patch, inside, open_share)
    seam = crease(0.5 * (inner_top + inner_bottom), 0.85) * (1 - edge(p["mouth_gap"] - 1.2, 2.0))
    seam = seam * hump(t, 1.10).clamp(max=0.4) * 2.5
    patch = patch * (1 - 0.66 * seam)[:, None]
    return paste(image, patch, where)
