"""Eyelids, brows and lips as curves in head coordinates, and the landmarks on them.

The parameter t of a curve runs from -1 to 1. On the eye and the brow at the viewer's left, -1 is the outer end and 1
is the end at the nose; the features at the viewer's right are mirrored. On the lips, t runs from left to right.
"""

import math

import torch
from torch import Tensor

from speech2face.talkers.geometry import POLE, Tensors, project, radius_at, turn

LID_T = 0.38  # t of the landmarks on the lids; those at the corners have t = -1 and 1
BROW_T = (-0.95, -0.5, 0.0, 0.5, 0.95)
LIP_OUTER_T = (0.62, 0.24, 0.0)
LIP_INNER_T = (0.86, 0.36, 0.0)


def lid_curves(t: Tensor, m: Tensors) -> tuple[Tensor, Tensor]:
    """y of the upper and of the lower lid at t, in pixels below the centre of the eye."""
    t2 = t * t
    chord = m["eye_slant"] * t
    upper = chord - m["lid_up"] * (1 - t2) * (1 + 0.3 * t2 + 0.14 * t)
    lower = chord + m["lid_low"] * (1 - t2) * (1 + 0.25 * t2 - 0.18 * t)
    return upper, lower


def brow_curve(t: Tensor, m: Tensors) -> Tensor:
    """y of the midline of the brow at t, in pixels below brow_y; the peak is near the outer third."""
    return 1.5 - m["brow_bend"] * (1 - t * t) * (1 - 0.45 * t) - (0.5 + 0.12 * m["brow_bend"]) * t


def lip_curves(t: Tensor, m: Tensors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y of the lips at t, in pixels below mouth_y.

    Returns the outer and the inner edge of the upper lip, then the inner and the outer edge of the lower lip.
    """
    t2 = t * t
    bow = (1 - t2 / 0.1).clamp(min=0)
    dome = 1 - t2
    middle = -m["mouth_lift"] * t2 + 0.55 * dome * (0.6 - t2 * 2.0)
    outer_top = middle - 0.3 * m["mouth_gap"] * dome - m["lip_up"] * dome * (1 - 0.2 * bow * bow)
    inner_top = middle - 0.3 * m["mouth_gap"] * dome
    inner_bottom = middle + 0.7 * m["mouth_gap"] * dome
    outer_bottom = inner_bottom + m["lip_low"] * dome * (1 + 0.12 * t2)
    return outer_top, inner_top, inner_bottom, outer_bottom


def landmarks(m: Tensors) -> Tensor:
    """The 72 landmarks (batch, 72, 2): x and y in pixels of the posed picture.

    They are the iBUG points (Sagonas et al., "300 Faces in-the-Wild Challenge", 2013) grouped by part, as dlib and
    face_recognition group them: chin 17, left brow 5, right brow 5, nose bridge 4, nose tip 5, left eye 6, right eye 6,
    top lip 12, bottom lip 12. Left and right are the viewer's.
    """
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
