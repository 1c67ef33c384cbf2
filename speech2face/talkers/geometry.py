"""Geometry of a portrait: from standardised traits to curves in head coordinates, their pose, and the landmarks.

Head coordinates are pixels of the unposed picture: x to the viewer's right from the face's midline, y down from the
picture's top. Features of the viewer's left are mirrored: their "t" runs from -1 (outer end) to 1 (towards the nose).
"""

import math

import torch
from torch import Tensor

SIZE = 224
MIDLINE = 112.0
POLE = 118.0  # the y of the origin of the polar outlines
PIVOT = 165.0  # the y about which the head rolls and the picture zooms
KNOTS = 257  # samples of a polar outline

TRAITS = (
    *("face_width", "face_length", "forehead", "jaw_width", "chin_length", "chin_width"),
    *("cheekbones", "cheek_fat", "brow_ridge", "brow_height", "brow_thickness", "brow_arch"),
    *("eye_size", "eye_spacing", "eye_tilt", "lid_height", "nose_width", "nose_length"),
    *("nose_bridge", "mouth_width", "upper_lip", "lower_lip", "ear_size", "neck_width"),
    *("skin_warmth", "hair_volume", "light_warmth"),
)

LID_T = 0.38  # where on an eye's half width its inner landmarks sit
BROW_T = (-0.95, -0.5, 0.0, 0.5, 0.95)
LIP_OUTER_T = (0.62, 0.24, 0.0)
LIP_INNER_T = (0.86, 0.36, 0.0)


def measure(face: dict[str, Tensor], scene: dict[str, Tensor]) -> dict[str, Tensor]:
    """Lengths (pixels), positions (head coordinates) and clamped inputs of each person: (batch,) float64 on the CPU.

    Double precision, so that a person's numbers do not depend on the batch they were computed in.
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


def face_outline(m: dict[str, Tensor]) -> Tensor:
    """Polar outline of skull, cheeks and jaw: (batch, KNOTS) radii in pixels."""
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


def polar_outline(points: Tensor) -> Tensor:
    """Radii (batch, KNOTS) about the pole, at equal steps of turn(), of smooth closed curves.

    points: (batch, n, 2) head coordinates, star-shaped about the pole, from the top via the viewer's right.
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
    # one sample beyond either end closes the circle
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
    """Direction as a number that is monotonic in the angle and needs no arc tangent.

    0 below, 1 to the right, -1 to the left, and 2 or -2 above.
    """
    side = dx.abs()
    share = side / (side + dy.abs()).clamp(min=1e-6)
    return torch.where(dy > 0, share, 2 - share) * torch.where(dx < 0, -1.0, 1.0).to(dx.dtype)


def radius_at(outline: Tensor, where: Tensor) -> Tensor:
    """Linear interpolation of outlines (batch, KNOTS) at turns (n,): (batch, n)."""
    position = (where + 2) / 4 * (KNOTS - 1)
    low = position.floor().long().clamp(0, KNOTS - 2)
    return torch.lerp(outline[:, low], outline[:, low + 1], (position - low).to(outline.dtype))


def relief(x: Tensor, y: Tensor, m: dict[str, Tensor]) -> Tensor:
    """Depth in pixels towards the viewer of the point (x, y) of the head; what pose moves points by."""
    q = (x * x / (1.08 * m["half_width"]) ** 2).clamp(max=1)
    up = ((92.0 - y) / 75.0).clamp(0, 1)
    skull = 50.0 * (1 - q) ** 2 * (1 + 1.2 * q) * (1 - up * up)
    return skull + m["nose_rise"] * nose_profile(x, y, m)


def nose_profile(x: Tensor, y: Tensor, m: dict[str, Tensor]) -> Tensor:
    """Protrusion of the nose in [0, 1]: a wedge from between the eyes to the tip, gone at the upper lip."""
    along = ((y - m["eye_y"] + 6.0) / (m["nose_y"] - m["eye_y"])).clamp(0, 1)
    under = ((m["nose_y"] + 4.5 - y) / 10.0).clamp(0, 1)
    width = 6.5 + 0.32 * m["nose_half"] * along
    s = (x / width) ** 2
    return along * (0.5 + 0.5 * along) * under * under * (3 - 2 * under) / (1 + s + 0.6 * s * s)


def project(points: Tensor, m: dict[str, Tensor]) -> Tensor:
    """Picture coordinates (batch, n, 2) of points (batch, n, 2) on the head under the scene's pose."""
    m = {name: value[:, None] for name, value in m.items() if value.ndim == 1}
    x, y = points.unbind(-1)
    depth = relief(x, y, m)
    turned = x * m["yaw_cos"] + depth * m["yaw_sin"]
    depth = depth * m["yaw_cos"] - x * m["yaw_sin"]
    dy = (y - POLE) * m["pitch_cos"] - depth * m["pitch_sin"] + POLE - PIVOT
    px = MIDLINE + m["shift_x"] + m["zoom"] * (turned * m["roll_cos"] - dy * m["roll_sin"])
    py = PIVOT + m["shift_y"] + m["zoom"] * (turned * m["roll_sin"] + dy * m["roll_cos"])
    return torch.stack([px, py], -1)


def unproject(px: Tensor, py: Tensor, m: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Head coordinates of picture coordinates: project() inverted by fixed-point iteration (it contracts by 0.4)."""
    dx, dy = (px - MIDLINE - m["shift_x"]) / m["zoom"], (py - PIVOT - m["shift_y"]) / m["zoom"]
    turned = dx * m["roll_cos"] + dy * m["roll_sin"]
    nodded = dy * m["roll_cos"] - dx * m["roll_sin"] + PIVOT - POLE
    x, y = turned, nodded + POLE
    for _ in range(6):
        depth = relief(x, y, m)
        x = (turned - depth * m["yaw_sin"]) / m["yaw_cos"]
        y = (nodded + (depth * m["yaw_cos"] - x * m["yaw_sin"]) * m["pitch_sin"]) / m["pitch_cos"] + POLE
    return x, y


def lid_curves(t: Tensor, m: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """y below the eye's centre of the upper and the lower lid at t in [-1, 1]."""
    t2 = t * t
    chord = m["eye_slant"] * t
    upper = chord - m["lid_up"] * (1 - t2) * (1 + 0.3 * t2 + 0.14 * t)
    lower = chord + m["lid_low"] * (1 - t2) * (1 + 0.25 * t2 - 0.18 * t)
    return upper, lower


def brow_curve(t: Tensor, m: dict[str, Tensor]) -> Tensor:
    """y below brow_y of the brow's midline at t; its peak lies towards the outer third."""
    return 1.5 - m["brow_bend"] * (1 - t * t) * (1 - 0.45 * t) - (0.5 + 0.12 * m["brow_bend"]) * t


def lip_curves(t: Tensor, m: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y below mouth_y of the lips at t in [-1, 1]: outer top, inner top, inner bottom, outer bottom."""
    t2 = t * t
    bow = (1 - t2 / 0.1).clamp(min=0)
    dome = 1 - t2
    middle = -m["mouth_lift"] * t2 + 0.55 * dome * (0.6 - t2 * 2.0)
    outer_top = middle - 0.3 * m["mouth_gap"] * dome - m["lip_up"] * dome * (1 - 0.2 * bow * bow)
    inner_top = middle - 0.3 * m["mouth_gap"] * dome
    inner_bottom = middle + 0.7 * m["mouth_gap"] * dome
    outer_bottom = inner_bottom + m["lip_low"] * dome * (1 + 0.12 * t2)
    return outer_top, inner_top, inner_bottom, outer_bottom


def landmarks(m: dict[str, Tensor]) -> Tensor:
    """The 72 landmarks (batch, 72, 2) in pixels of the posed picture: the iBUG points grouped by part."""
    column = {name: value[:, None] for name, value in m.items() if value.ndim == 1}
    dtype = m["eye_y"].dtype

    def at(*values: float) -> Tensor:
        return torch.tensor(values, dtype=dtype)

    angles = torch.linspace(math.radians(96), -math.radians(96), 17, dtype=dtype)
    direction = torch.stack([-angles.sin(), angles.cos()], -1)
    radius = radius_at(m["outline"], turn(direction[:, 0], direction[:, 1]))
    chin = radius[..., None] * direction + at(0.0, POLE)

    brow_t = at(*BROW_T)
    brow_y = column["brow_y"] + brow_curve(brow_t, column)
    left_brow = torch.stack([-column["brow_x"] + column["brow_half"] * brow_t, brow_y], -1)
    right_brow = left_brow.flip(1) * at(-1.0, 1.0)

    bridge_y = column["eye_y"] - 2.0 + (column["nose_y"] - 9.0 - column["eye_y"] + 2.0) * at(0.0, 1 / 3, 2 / 3, 1.0)
    bridge = torch.stack([0 * bridge_y, bridge_y], -1)
    tip_x = column["nose_half"] * at(-0.72, -0.36, 0.0, 0.36, 0.72)
    tip = torch.stack([tip_x, column["nose_y"] + at(-1.8, -0.4, 0.9, -0.4, -1.8)], -1)

    lid_t = at(-1.0, -LID_T, LID_T, 1.0, LID_T, -LID_T)
    upper, lower = lid_curves(lid_t, column)
    lid_y = column["eye_y"] + torch.cat([upper[:, :4], lower[:, 4:]], 1)
    left_eye = torch.stack([-column["eye_x"] + column["eye_half"] * lid_t, lid_y], -1)
    right_eye = (left_eye * at(-1.0, 1.0))[:, [3, 2, 1, 0, 5, 4]]

    a, b, c = LIP_OUTER_T
    outer_t = at(-1.0, -a, -b, c, b, a, 1.0)
    d, e, f = LIP_INNER_T
    inner_t = at(-d, -e, f, e, d)

    def lip(t: Tensor, which: int) -> Tensor:
        y = column["mouth_y"] + lip_curves(t, column)[which]
        return torch.stack([column["mouth_half"] * t.expand_as(y), y], -1)

    inner_top, inner_bottom = lip(inner_t, 1), lip(inner_t, 2)
    outer_top, outer_bottom = lip(outer_t, 0), lip(outer_t, 3)
    top_lip = [outer_top, inner_top.flip(1)]
    bottom_lip = [outer_bottom.flip(1), inner_top[:, :1], inner_bottom[:, 1:4], inner_top[:, 4:]]
    points = [chin, left_brow, right_brow, bridge, tip, left_eye, right_eye, *top_lip, *bottom_lip]
    return project(torch.cat(points, 1), m)
