"""A layer of a portrait: stubble and beard."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import Tensors
from speech2face.talkers.hair import hair_colour
from speech2face.talkers.shading import bump, crease, edge, light, over, stretch


def beard(image: Tensor, grid: Tensors, p: Tensors) -> Tensor:
    """Draw stubble and beard. The lips are drawn over them later."""
    x, y, sd = grid["x"], grid["y"], grid["face_sd"]
    ax = x.abs()
    moustache_is, goatee_is, full_is, long_is = (p["beard_is"][:, i] for i in range(1, 5))
    mouth_y, mouth, nose_y, chin_y = p["mouth_y"], p["mouth_half"], p["nose_y"], p["chin_y"]
    fine = stretch(p["noise"][:, 0], x / 1.3 + 28 + (y - mouth_y) * x * 0.006, y / 8)
    fine = 0.6 * fine + 0.4 * stretch(p["noise"][:, 3], x / 2.3 + 24 + (y - mouth_y) * x * 0.003, y / 10)
    dots = stretch(p["noise"][:, 2], x * 0.9 + 28, y * 0.9)
    out = (ax - mouth).clamp(min=0)
    cheek = y - (mouth_y - 2 - 0.022 * out * out - 0.30 * out)
    philtrum = torch.minimum(y - nose_y - 2.5 - 0.017 * ax * ax, (mouth + 4.0 - ax) * 0.7)
    lip_line = mouth_y - 0.3 * p["mouth_gap"] + 3.0 + 0.012 * x * x - p["mouth_lift"] * (ax / mouth).clamp(max=1.2) ** 2
    moustache = torch.minimum(philtrum, lip_line - y)
    sideburn = torch.minimum(ax - 0.86 * p["half_width"], y - 112)
    jaw = torch.maximum(torch.minimum(cheek, y - nose_y + 14), sideburn)
    around = torch.minimum(mouth + 5.0 - ax, y - mouth_y - 1)
    u, v = ax / (0.72 * mouth + 7), (y - chin_y + 11) / 15.5
    chin_part = (1 - (u * u + v * v + 1e-6).sqrt()) * 12
    sides = torch.minimum(torch.minimum(around, ax - mouth + 4.5), chin_y - 9 - y)
    goatee = torch.maximum(sides, chin_part)
    goatee = torch.maximum(torch.minimum(goatee, chin_y + 3 - y), moustache)
    full = torch.maximum(jaw, moustache)
    beyond = 2.5 * (full_is + goatee_is) + long_is * (4 + 20 * bump(x, y - chin_y - 12, 44.0, 46.0) ** 0.5)
    within = -sd + beyond + (fine - 0.5) * (3 + 5 * long_is)

    blue = torch.tensor([0.62, 0.66, 0.72], device=x.device)[:, None, None]
    shadow = edge(full + 3, 14.0) * edge(-sd, 4.0)
    shade = p["stubble"] * (1 - full_is - long_is) * shadow * (0.42 + 0.5 * dots) * (0.35 + 0.65 * p["hair_dark"])
    image = image * (1 - shade[:, None] * (1 - blue))

    shape = moustache_is * moustache + goatee_is * goatee + (full_is + long_is) * full
    any_is = moustache_is + goatee_is + full_is + long_is
    lips = bump(x, y - mouth_y - 0.35 * p["mouth_gap"] - 1.0, mouth * 1.15, 7.5 + 0.6 * p["mouth_gap"])
    below_lip = bump(x, y - mouth_y - 0.7 * p["mouth_gap"] - p["lip_low"] - 1, 10.0, 4.0) * 0.7
    alpha = edge(shape + (fine - 0.5) * 3, 5.0) * edge(within, 2.5)
    alpha = alpha * any_is * ((fine - 0.45) * 1.3 + 0.36 + 0.74 * p["beard_density"]).clamp(0.12, 1)
    alpha = alpha * (1 - (2.2 * lips).clamp(max=1) * edge(y - lip_line + 1, 2.0)) * (1 - below_lip)
    nx, ny = (x / (p["half_width"] * 1.1)).clamp(-0.9, 0.9), ((y - mouth_y) / 50).clamp(-0.4, 0.75)
    nz = (1.02 - nx * nx - ny * ny).clamp(min=0.04).sqrt()
    lit, _ = light(nx, ny, nz, p, (0.3, 0.25, 0.22))
    tone = 0.62 + 0.75 * (fine - 0.35) + 0.2 * crease(ax - 14, 8.0)
    colour = hair_colour((fine * 0.8).clamp(0, 1), p)
    return over(image, colour * lit * tone.clamp(0.2, 1.5)[:, None], alpha.clamp(0, 1))
