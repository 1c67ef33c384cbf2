"""Coordinate systems of a portrait: the picture, the head, and polar outlines.

Picture coordinates are pixels: x to the right and y down from the top left corner. Head coordinates are pixels of the
picture before the pose is applied: x to the viewer's right from the midline of the face, y down from the top of the
picture. A polar outline is the radii (batch, KNOTS) in pixels of a closed curve about the point (0, POLE) of the head,
at equal steps of turn() from -2 to 2.

A dictionary `m` holds the measurements of people by name (see proportions.measure).
"""

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
SIZE = 224
MIDLINE = 112.0
POLE = 118.0  # y of the origin of polar outlines, head coordinates
PIVOT = 165.0  # y of the centre of roll and zoom
KNOTS = 257  # radii of a polar outline


def polar_outline(points: Tensor) -> Tensor:
    """Polar outlines (batch, KNOTS) of smooth closed curves through points.

    points: (batch, n, 2) head coordinates, clockwise from the top as the viewer sees them. Each ray from the pole must
    cross the curve once.
    """
    after, far, before = points.roll(-1, 1), points.roll(-2, 1), points.roll(1, 1)
    s = torch.linspace(0, 1, 25, dtype=points.dtype)[:-1, None]
    a, b = points[:, :, None], after[:, :, None]
    da, db = (after - before)[:, :, None] / 2, (far - points)[:, :, None] / 2
    curve = a + s * (da + s * ((3 * (b - a) - 2 * da - db) + s * (2 * (a - b) + da + db)))
    dx, dy = curve[..., 0].flatten(1), curve[..., 1].flatten(1) - POLE
    where = turn(dx, dy)
    where, order = where.sort(1)
    dx, dy = dx.gather(1, order), dy.gather(1, order)
    # One more sample at either end closes the curve.
    where = torch.cat([where[:, -1:] - 4, where, where[:, :1] + 4], 1)
    dx = torch.cat([dx[:, -1:], dx, dx[:, :1]], 1)
    dy = torch.cat([dy[:, -1:], dy, dy[:, :1]], 1)
    radius = (dx * dx + dy * dy).sqrt()
    wanted = torch.linspace(-2, 2, KNOTS, dtype=points.dtype).expand(len(points), -1).contiguous()
    right = torch.searchsorted(where.contiguous(), wanted).clamp(1, where.shape[1] - 1)
    lo, hi = where.gather(1, right - 1), where.gather(1, right)
    share = (wanted - lo) / (hi - lo).clamp(min=1e-9)
    return torch.lerp(radius.gather(1, right - 1), radius.gather(1, right), share)


def turn(dx: Tensor, dy: Tensor) -> Tensor:
    """Direction of (dx, dy) as a number in [-2, 2]: 0 down, 1 right, -1 left, 2 or -2 up.

    The number is monotonic in the angle, and faster to compute than an arc tangent.
    """
    side = dx.abs()
    share = side / (side + dy.abs()).clamp(min=1e-6)
    return torch.where(dy > 0, share, 2 - share) * torch.where(dx < 0, -1.0, 1.0).to(dx.dtype)


def radius_at(outline: Tensor, where: Tensor) -> Tensor:
    """Radii (batch, n) of polar outlines (batch, KNOTS) at turns (n,), interpolated linearly."""
    position = (where + 2) / 4 * (KNOTS - 1)
    low = position.floor().long().clamp(0, KNOTS - 2)
    return torch.lerp(outline[:, low], outline[:, low + 1], (position - low).to(outline.dtype))


def relief(x: Tensor, y: Tensor, m: Tensors) -> Tensor:
    """Depth in pixels, towards the viewer, of the surface of the head at head coordinates (x, y)."""
    q = (x * x / (1.08 * m["half_width"]) ** 2).clamp(max=1)
    up = ((92.0 - y) / 75.0).clamp(0, 1)
    skull = 50.0 * (1 - q) ** 2 * (1 + 1.2 * q) * (1 - up * up)
    return skull + m["nose_rise"] * nose_profile(x, y, m)


def nose_profile(x: Tensor, y: Tensor, m: Tensors) -> Tensor:
    """Protrusion of the nose in [0, 1]: it rises from between the eyes to the tip, and ends above the upper lip."""
    along = ((y - m["eye_y"] + 6.0) / (m["nose_y"] - m["eye_y"])).clamp(0, 1)
    under = ((m["nose_y"] + 4.5 - y) / 10.0).clamp(0, 1)
    width = 6.5 + 0.32 * m["nose_half"] * along
    s = (x / width) ** 2
    return along * (0.5 + 0.5 * along) * under * under * (3 - 2 * under) / (1 + s + 0.6 * s * s)


def project(points: Tensor, m: Tensors) -> Tensor:
    """Picture coordinates (batch, n, 2) of head coordinates (batch, n, 2), under the pose in `m`."""
    m = {name: value[:, None] for name, value in m.items() if value.ndim == 1}
    x, y = points.unbind(-1)
    depth = relief(x, y, m)
    turned = x * m["yaw_cos"] + depth * m["yaw_sin"]
    depth = depth * m["yaw_cos"] - x * m["yaw_sin"]
    dy = (y - POLE) * m["pitch_cos"] - depth * m["pitch_sin"] + POLE - PIVOT
    px = MIDLINE + m["shift_x"] + m["zoom"] * (turned * m["roll_cos"] - dy * m["roll_sin"])
    py = PIVOT + m["shift_y"] + m["zoom"] * (turned * m["roll_sin"] + dy * m["roll_cos"])
    return torch.stack([px, py], -1)


def unproject(px: Tensor, py: Tensor, m: Tensors) -> tuple[Tensor, Tensor]:
    """Head coordinates of picture coordinates, under the pose in `m`.

    Inverts project() by fixed-point iteration. Each iteration multiplies the error by at most 0.4.
    """
    dx, dy = (px - MIDLINE - m["shift_x"]) / m["zoom"], (py - PIVOT - m["shift_y"]) / m["zoom"]
    turned = dx * m["roll_cos"] + dy * m["roll_sin"]
    nodded = dy * m["roll_cos"] - dx * m["roll_sin"] + PIVOT - POLE
    x, y = turned, nodded + POLE
    for _ in range(6):
        depth = relief(x, y, m)
        x = (turned - depth * m["yaw_sin"]) / m["yaw_cos"]
        y = (nodded + (depth * m["yaw_cos"] - x * m["yaw_sin"]) * m["pitch_sin"]) / m["pitch_cos"] + POLE
    return x, y
