"""Hair styles: silhouettes as polar outlines, and the texture of each style.

Every table has one entry per style, in the order of face_traits.HAIR_STYLES.
"""

import torch
from torch import Tensor

from speech2face.talkers.geometry import KNOTS, Tensors

# Radii in pixels about the pole, for a face with the outline MEAN_HEAD, every 15 degrees from straight up to straight
# down. "inner" is the hairline, "outer" the outer edge of the hair in front of the face, "back" the outer edge of the
# hair behind head, neck and shoulders. "inner_left" and "outer_left" are for the half at the viewer's left, where it
# differs from the half at the right.
NONE = (1,) * 13
SHORT_INNER = (65, 64.5, 64, 61.5, 56, 53, 52, 55, 70, 80, 90, 95, 95)
LONG_INNER = (65, 63, 59, 55, 52, 50, 50, 51.5, 58, 71, 100, 190, 260)
STYLES = (
    {"inner": (200,) * 13, "outer": NONE, "back": NONE},  # bald
    {  # buzz cut
        "inner": (67, 66, 64.5, 61, 55.5, 52.5, 52.5, 57, 70, 80, 90, 95, 95),
        "outer": (86.5, 86.5, 82.5, 72.5, 64, 58, 54.5, 40, 1, 1, 1, 1, 1),
        "back": NONE,
    },
    {  # side part, parted at the viewer's right
        "inner": (66, 66, 66, 62.5, 56, 53, 52, 55, 70, 80, 90, 95, 95),
        "inner_left": (66, 64, 61, 57.5, 54, 52.5, 52, 55, 70, 80, 90, 95, 95),
        "outer": (95, 92, 85.5, 75.5, 66.5, 59.5, 54.5, 40, 1, 1, 1, 1, 1),
        "outer_left": (95, 97, 93.5, 82.5, 70, 61, 54.5, 40, 1, 1, 1, 1, 1),
        "back": NONE,
    },
    {  # quiff
        "inner": (67, 66, 65, 62, 56.5, 53, 52, 55, 70, 80, 90, 95, 95),
        "outer": (103, 102, 95, 81, 68, 60, 54.5, 40, 1, 1, 1, 1, 1),
        "back": NONE,
    },
    {  # receding
        "inner": (73, 75, 78.5, 73, 62, 54, 52.5, 55, 70, 80, 90, 95, 95),
        "outer": (85.3, 84.6, 80.3, 71, 64, 59.5, 54.5, 40, 1, 1, 1, 1, 1),
        "back": NONE,
    },
    {  # tight curls
        "inner": (66, 65, 64, 61.5, 56, 53, 52, 55, 70, 80, 90, 95, 95),
        "outer": (100, 99, 94, 83, 71, 61.5, 55, 40, 1, 1, 1, 1, 1),
        "back": NONE,
    },
    {  # bob
        "inner": (67, 64, 58.5, 54, 51.5, 49.5, 50, 51.5, 57.5, 69, 120, 150, 150),
        "outer": (95, 95, 93, 88, 81.5, 75.5, 73.5, 76, 84, 92, 88, 40, 20),
        "back": (90, 90, 88, 82, 76, 72, 70, 73, 80, 88, 76, 69, 66),
    },
    {  # long straight
        "inner": LONG_INNER,
        "outer": (94, 94, 91.5, 85.5, 78, 72, 70, 72, 81, 101, 146, 290, 320),
        "back": (90, 90, 88, 81, 74, 70, 68, 70, 79, 98, 142, 280, 400),
    },
    {  # long wavy
        "inner": LONG_INNER,
        "outer": (97, 97, 95, 89, 82, 76.5, 75, 78, 89, 112, 162, 300, 330),
        "back": (92, 92, 90, 84, 77, 73, 72, 75, 86, 108, 158, 290, 400),
    },
    {  # bun
        "inner": (70, 68.5, 65, 60, 55, 53, 53, 56, 70, 80, 90, 95, 95),
        "outer": (90.5, 90, 86, 77, 67, 60, 54.5, 40, 1, 1, 1, 1, 1),
        "back": (112, 103, 66, 55, 50, 40, 30, 20, 1, 1, 1, 1, 1),
    },
    {  # fringe
        "inner": (31, 32, 35.5, 42.5, 50, 50, 49.5, 51, 58, 71, 100, 190, 260),
        "outer": (95, 95, 92, 86, 78.5, 72.5, 70.5, 72.5, 82, 102, 147, 290, 320),
        "back": (90, 90, 88, 81, 74, 70, 68, 70, 79, 98, 142, 280, 400),
    },
    {  # big curls
        "inner": (65, 63, 59, 54.5, 51.5, 49.5, 49, 50, 56, 68, 94, 170, 260),
        "outer": (104, 105, 104, 99, 94, 91, 91, 94, 104, 124, 150, 180, 200),
        "back": (98, 98, 98, 93, 88, 86, 86, 90, 100, 118, 142, 170, 200),
    },
)
MEAN_HEAD = (85, 84.2, 79.5, 69.5, 61.6, 57.2, 56, 57, 60, 66, 71.5, 71.5, 70.5)
# Direction of the strands: 0 falls from a parting, 1 swept sideways, 2 stands up or is pulled back, 3 curled.
FLOW = (3, 3, 1, 2, 2, 3, 0, 0, 0, 2, 0, 0)
COVER = (0.0, 0.80, 1.0, 1.0, 0.92, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)  # opacity
WAVE = (0.0, 0.0, 0.0, 0.3, 0.0, 0.2, 0.15, 0.15, 0.8, 0.0, 0.15, 1.0)  # amplitude of waves in strands and silhouette
CURL = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.55)  # weight of ringlets in the texture
RINGLET = (9.0,) * 5 + (6.5,) + (9.0,) * 5 + (11.0,)  # size of a ringlet in pixels
TEXTURE = (1.0, 0.8, 1.0, 1.1, 1.0, 1.1, 1.0, 1.0, 1.1, 1.0, 1.0, 1.2)  # contrast of the strands


def _around(radii: tuple[float, ...], left: tuple[float, ...]) -> Tensor:
    """Polar outline (KNOTS,) through 13 radii of the right half and 13 of the left half.

    The spline interpolates reciprocals of radii, because the reciprocal radius of a straight vertical edge is smooth.
    """
    where = torch.linspace(-2, 2, KNOTS, dtype=torch.float64)
    share = 2 - where.abs()  # 0 up, 2 down
    dx, dy = torch.minimum(share, 2 - share), 1 - share
    degrees = torch.rad2deg(torch.atan2(dx, dy))
    position = degrees / 15
    low = position.floor().long().clamp(0, 11)
    s = position - low

    def spline(values: tuple[float, ...]) -> Tensor:
        v = 1 / torch.tensor(values, dtype=torch.float64)
        v = torch.cat([v[1:2], v, v[-2:-1]])
        a, b = v[low + 1], v[low + 2]
        da, db = (b - v[low]) / 2, (v[low + 3] - a) / 2
        curve = a + s * (da + s * ((3 * (b - a) - 2 * da - db) + s * (2 * (a - b) + da + db)))
        return 1 / torch.minimum(torch.maximum(curve, torch.minimum(a, b)), torch.maximum(a, b))

    return torch.where(where > 0, spline(radii), spline(left))


def _tables() -> Tensors:
    """By name of the curve, the radii of each style divided by those of the mean head: (styles, KNOTS)."""
    mean = _around(MEAN_HEAD, MEAN_HEAD)
    return {
        name: torch.stack([_around(style[name], style.get(f"{name}_left", style[name])) / mean for style in STYLES])
        for name in ("inner", "outer", "back")
    }


TABLES = _tables()


def hair_outlines(m: Tensors) -> Tensor:
    """Polar outlines (batch, 3, KNOTS) of the hair: inner, outer and back. m: the result of proportions.measure."""
    style = m["hair_style"].long()
    head = m["outline"]
    where = torch.linspace(-2, 2, KNOTS, dtype=head.dtype)
    above = (0.5 * where.abs() - 0.2).clamp(0, 1)
    volume = 1 + 0.022 * m["hair_volume"][:, None] * above
    inner, outer, back = (TABLES[name][style] * head for name in ("inner", "outer", "back"))
    lift = 1.0 + 0.012 * (m["forehead"][:, None] * above)
    return torch.stack([inner * lift, torch.where(outer > 0.9 * head, outer * volume, outer), back * volume], 1)


def hair_traits(m: Tensors) -> Tensors:
    """Parameters of the hair style by name: (batch,), and "flow_is" (batch, 4), the one-hot FLOW. float64.

    "thin_crown" is 1 for receding hair. "loose" is 1 where the hairline consists of the free ends of hairs.
    """
    style = m["hair_style"].long()
    by_style = {"hair_cover": COVER, "hair_wave": WAVE, "hair_texture": TEXTURE, "hair_curl": CURL, "ringlet": RINGLET}
    traits = {name: torch.tensor(values, dtype=torch.float64)[style] for name, values in by_style.items()}
    flow = torch.nn.functional.one_hot(torch.tensor(FLOW)[style], 4).double()
    loose = (style < 6) | (style == 10)
    return traits | {"flow_is": flow, "thin_crown": (style == 4).double(), "loose": loose.double()}
