"""Layers of a portrait: hair behind and in front of the face. Strands follow the flow of the hair style."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import Tensors
from speech2face.talkers.shading import bump, crease, edge, light, over, stretch

Textures = tuple[Tensor, Tensor, Tensor]  # strands, locks, curls: planes (batch, h, w) in [0, 1]


def strands(grid: Tensors, p: Tensors) -> Textures:
    """Textures along the flow of the hair style: fine strands, locks, and curls."""
    x, y, rho = grid["x"], grid["y"], grid["rho"]
    noise = p["noise"]
    fall, sweep, up, curl = (p["flow_is"][:, i] for i in range(4))
    # Falling strands start at the parting as ellipses and become vertical.
    rise = ((128 - y) / (130 - p["top"])).clamp(min=0) ** 2
    rise = 0.95 * rise / (rise + 0.3)
    s = y / 27 + 1.6 * stretch(noise[:, 3], x / 15 + 28, y / 60 + 28)
    s = 2 * (s - s.floor()) - 1
    wave = s * (1 - s.abs()) * 2.0  # close to a sine of amplitude 0.5
    from_part = (x + 4) * (1 - rise).rsqrt() + wave * 7 * p["hair_wave"]
    swept = 0.9 * rho + 0.45 * x
    turned = torch.where(x < 0, -1.0, 1.0) * (2 - grid["turn"].abs()) * 85
    across = fall * from_part + sweep * swept + up * (turned + wave * 5 * p["hair_wave"]) + curl * (x + 6 * wave)
    along = fall * y + sweep * (turned * 0.7) + up * rho + curl * (y * 6)
    fine = stretch(noise[:, 0], across / 1.7 + 28, along / 34)
    locks = stretch(noise[:, 1], across / 6.0 + 28, along / 48 + 9)
    grain = stretch(noise[:, 2], x / 1.5 + 28, y / 1.5)
    curls = ringlets(x, y, p)
    fine = torch.lerp(fine, torch.lerp(grain, curls, 0.4 * p["hair_curl"]), curl)
    curled = torch.lerp(grain, curls, 0.75 * p["hair_curl"])
    return fine, torch.lerp(locks, curled, torch.maximum(curl, p["hair_curl"])), curls


def ringlets(x: Tensor, y: Tensor, p: Tensors) -> Tensor:
    """Brightness (batch, h, w) in [0, 1] of round curls, lit from above, on an irregular lattice."""
    size = p["ringlet"]
    u = (x + 10 * stretch(p["noise"][:, 2], x / 9 + 28, y / 9)) / size
    v = (y + 10 * stretch(p["noise"][:, 3], x / 9 + 28, y / 9)) / size
    row = v.floor()
    v = v - row - 0.5
    u = u + 0.5 * row
    u = u - u.floor() - 0.5
    r = u * u + v * v
    coil = 0.5 + 0.5 * crease(((r + 0.01).sqrt() - 0.30) / 0.10, 1.0)
    return 0.22 + 0.78 * ((1 - 2.0 * r) * (0.62 - 0.4 * v) * coil * 1.5).clamp(0, 1)


def hair_colour(fine: Tensor, p: Tensors) -> Tensor:
    """Colour (batch, 3, h, w) of hair; the share of grey varies with the strands `fine` (batch, h, w)."""
    share = p["grey"] * (0.25 + 0.75 * p["grey"])
    grey = share + 1.5 * share * (1 - share) * (fine - 0.5)
    silver = torch.tensor([0.60, 0.59, 0.58], device=fine.device)[:, None, None]
    return torch.lerp(
        p["hair"].expand(-1, -1, *fine.shape[1:]), silver.expand(len(fine), 3, *fine.shape[1:]), grey[:, None]
    )


def shade_hair(grid: Tensors, p: Tensors, textures: Textures) -> Tensor:
    """Lit hair (batch, 3, h, w): a rounded surface with strands, and highlights across the strands."""
    fine, locks, _ = textures
    radius = p["half_width"] * 1.45
    nx = (grid["x"] / radius).clamp(-0.92, 0.92)
    ny = (grid["dy"] / (p["half_width"] * 1.72)).clamp(-0.9, 0.0)
    nz = (1.02 - nx * nx - ny * ny).clamp(min=0.04).sqrt()
    lit, _ = light(nx, ny, nz, p, (0.25, 0.22, 0.2))
    texture = (0.55 * (fine - 0.5) + 0.75 * (locks - 0.5)) * p["hair_texture"]
    tone = (0.80 + 0.85 * texture).clamp(0.15, 1.7)
    parting = p["flow_is"][:, 0] * (1 - p["loose"]) * edge(-grid["dy"] - 40, 20.0)
    tone = tone * (1 - 0.5 * parting * crease(grid["x"] + 4 + 0.04 * grid["dy"], 1.3))
    band = (ny + 0.60 + 0.10 * p["light_y"] + 0.32 * (locks - 0.5) + 0.12 * (fine - 0.5)) / 0.17
    side = (nx - 0.75 * p["light_x"]) / 0.75
    shine = (0.25 + 0.9 * fine) / ((1 + band * band) * (1 + side * side))
    low = (nx.abs() - 0.62 - 0.2 * (locks - 0.5)) / 0.12
    shine = shine + 0.35 * (0.2 + fine) * edge(grid["dy"] - 10, 30.0) / (1 + low * low) / (1 + side * side)
    colour = hair_colour(fine, p)
    glint = hair_colour(torch.full_like(p["grey"], 0.5), p).sqrt() * 0.30 + 0.03
    straight = 1 - 0.55 * p["flow_is"][:, 3]
    return colour * lit * tone[:, None] + glint * p["key"] * (shine * straight * 0.75)[:, None]


def back_hair(image: Tensor, grid: Tensors, p: Tensors, textures: Textures, lit: Tensor) -> Tensor:
    """Draw the hair behind neck and shoulders. lit: the result of shade_hair."""
    fine, locks, _ = textures
    ragged = (locks - 0.5) * (3 + 5 * p["hair_wave"]) + (fine - 0.5) * 2
    alpha = edge(grid["back"] - grid["rho"] + ragged, 2.0)
    dark = 0.30 + 0.55 * edge(-grid["dy"] - 55, 30.0)
    return over(image, lit * dark[:, None], alpha)


def front_hair(image: Tensor, grid: Tensors, p: Tensors, textures: Textures, lit: Tensor) -> Tensor:
    """Draw the hair over forehead, ears and shoulders, and its shadow on the skin. lit: the result of shade_hair."""
    fine, locks, curls = textures
    rho = grid["rho"]
    inner = rho - grid["inner"] + (fine - 0.5) * (2.2 + 2.3 * p["loose"]) + (locks - 0.5) * 3.0
    lumps = (curls - 0.5) * 5 * p["hair_curl"] + (locks - 0.5) * 4 * p["hair_wave"]
    outer = grid["outer"] - rho + lumps + (fine - 0.5) * 0.9
    exists = edge(grid["outer"] - grid["inner"] - 1, 4.0)
    shadow = edge(rho - grid["inner"] + 6 + 6 * p["light_y"], 15.0) * exists * p["hair_cover"]
    image = image * (1 - 0.42 * shadow * edge(outer, 2.0))[:, None]
    cover = edge(inner, 4.5 + 7.0 * p["thin_crown"]) * edge(outer, 1.8) * exists * p["hair_cover"]
    crown = bump(grid["x"], grid["dy"] + 82, 46.0, 42.0)
    cover = cover * (1 - p["thin_crown"] * crown * (0.80 + 0.7 * (0.5 - fine)).clamp(0, 1))
    depth = 0.62 + 0.38 * edge(inner - 5, 14.0)
    rim = 0.72 + 0.28 * edge(outer - 3, 9.0)
    return over(image, lit * (depth * rim)[:, None], cover)


def darkness(m: Tensors) -> Tensor:
    """Darkness (batch,) of the hair in [0, 1]: the strength of stubble."""
    return (0.25 + m["hair_melanin"]).clamp(max=1) * (1 - 0.6 * m["grey"])
