"""Shapes, light and image operations that the layers of a portrait are drawn with.

A layer is a function of an image (batch, 3, h, w) in linear light, of planes `grid` (batch, h, w) that hold the
coordinates of each pixel (see portrait.coordinates), and of parameters `p` of the people (see portrait.prepare). It
returns the image with something drawn on it. Shapes are planes (batch, h, w) with values from 0 to 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from speech2face.talkers.geometry import MIDLINE, SIZE, Tensors


def over(image: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """The image (batch, 3, h, w) covered by a colour (batch, 3, ...) with opacity alpha (batch, h, w)."""
    return torch.lerp(image, colour.expand_as(image), alpha[:, None].expand_as(image))


def edge(distance: Tensor, width: float | Tensor = 1.0) -> Tensor:
    """Smooth step from 0 to 1, `width` pixels wide, centred where the distance is 0."""
    s = (distance * (1 / width)).add_(0.5).clamp_(0, 1)
    return (3 - 2 * s).mul_(s).mul_(s)


def bump(dx: Tensor, dy: Tensor, rx: float | Tensor, ry: float | Tensor) -> Tensor:
    """Smooth elliptical peak: 1 at the centre, 0 on and outside the ellipse with semi-axes rx and ry."""
    x, y = dx * (1 / rx), dy * (1 / ry)
    q = x.mul_(x).add_(y.mul_(y)).sub_(1).clamp_(max=0)
    return q.mul_(q)


def hump(distance: Tensor, reach: float | Tensor) -> Tensor:
    """Smooth peak in one dimension: 1 where the distance is 0, 0 beyond the reach."""
    q = distance * (1 / reach)
    q = q.mul_(q).sub_(1).clamp_(max=0)
    return q.mul_(q)


def crease(distance: Tensor, width: float | Tensor) -> Tensor:
    """Soft line: 1 where the distance is 0, 0.5 at a distance of `width`."""
    q = distance * (1 / width)
    return q.mul_(q).add_(1).reciprocal_()


def stretch(noise: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Noise (batch, 56, 56) sampled at columns u and rows v (batch, h, w) -> (batch, h, w).

    One unit of u and v is one cell. The noise is mirrored at its borders, and interpolated linearly.
    """
    where = torch.empty(*u.shape, 2, device=u.device)  # several times faster than torch.stack
    torch.sub(u * (1 / 28), 1, out=where[..., 0])
    torch.sub(v * (1 / 28), 1, out=where[..., 1])
    return F.grid_sample(noise[:, None], where, padding_mode="reflection", align_corners=False)[:, 0]


def normals(height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components x, y, z of the unit normals of a height field (batch, h, w) in pixels."""
    padded = F.pad(height[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    dx = 0.5 * (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    dy = 0.5 * (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    # Pixels on the border have a neighbour on one side only.
    dx[..., 0], dx[..., -1], dy[:, 0], dy[:, -1] = dx[..., 1], dx[..., -2], dy[:, 1], dy[:, -2]
    nz = (1 + dx * dx + dy * dy).rsqrt()
    return -dx * nz, -dy * nz, nz


def light(nx: Tensor, ny: Tensor, nz: Tensor, p: Tensors, soft: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Incoming light (batch, 3, h, w) and a broad highlight (batch, h, w) in [0, 1], for unit normals nx, ny, nz.

    The light is a key light, a fill light from the opposite side, and ambient light. soft: for red, green and blue, how
    far light wraps past the edge of the shadow, as a cosine.
    """
    facing = nx * p["light_x"] + ny * p["light_y"] + nz * p["light_z"]
    fill = (0.5 - 0.5 * nx * p["light_side"] - 0.08 * ny).clamp_(0, 1)
    around = (0.12 * nz - 0.11 * ny).add_(0.38).add_(0.16 * fill).mul_(p["ambient"])
    lit = torch.empty(len(nx), 3, *nx.shape[1:], device=nx.device)
    for i, tint in enumerate((0.94, 1.0, 1.08)):
        wrapped = (facing + soft[i]).clamp_(min=0).mul_(p["key"][:, i] * (1 / (1 + soft[i])))
        torch.add(wrapped, around, alpha=tint, out=lit[:, i])
    # The highlight peaks where the normal points half way between the light and the viewer.
    length = (2 + 2 * p["light_z"]) ** 0.5
    gloss = ((nx * p["light_x"] + ny * p["light_y"] + nz * (1 + p["light_z"])) / length).clamp(min=0)
    return lit, gloss


def backdrop(px: Tensor, py: Tensor, p: Tensors) -> Tensor:
    """The wall (batch, 3, 224, 224) at picture coordinates: bright on the side of the light, darker in the corners."""
    dx, dy = (px - MIDLINE) / MIDLINE, (py - MIDLINE) / MIDLINE
    glow = bump(dx + 0.25 * p["light_side"], dy + 0.1, 1.9, 1.9)
    wall = 0.45 + 0.75 * glow - 0.10 * dy
    wall = wall + 0.035 * (stretch(p["noise"][:, 0], px / 6.0, py / 6.0) - 0.5)
    return p["wall"] * wall[:, None]


def develop(image: Tensor, grid: Tensors) -> Tensor:
    """sRGB in [0, 1] from linear light: a vignette, a tone curve that compresses highlights, and gamma."""
    dx, dy = (grid["px"] - MIDLINE) / SIZE, (grid["py"] - 105) / SIZE
    vignette = 1.06 - 0.42 * (dx * dx + dy * dy)
    image = (image * vignette[:, None]).clamp_(min=1e-6)
    shoulder = (0.27 * image).mul_(image).add_(1)
    return (0.12 * image).add_(1).mul_(image).div_(shoulder).sqrt_().clamp_(0, 1)
