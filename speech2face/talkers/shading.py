"""Skin, body and backdrop of a portrait: height fields under a key, a fill and an ambient light, in linear colour."""

import torch
import torch.nn.functional as F
from torch import Tensor

from speech2face.talkers.geometry import MIDLINE, PIVOT, SIZE, nose_profile

People = dict[str, Tensor]

SKIN_RAMP = (  # sRGB from very fair to very dark
    *((0.965, 0.835, 0.765), (0.930, 0.765, 0.665), (0.850, 0.660, 0.530)),
    *((0.715, 0.505, 0.370), (0.565, 0.385, 0.275), (0.420, 0.280, 0.205)),
)
HAIR_RAMP = (  # sRGB from blond to black
    *((0.860, 0.710, 0.470), (0.650, 0.480, 0.290), (0.430, 0.285, 0.180)),
    *((0.255, 0.165, 0.115), (0.105, 0.085, 0.080)),
)
IRIS = (
    *((0.20, 0.11, 0.07), (0.36, 0.21, 0.11), (0.44, 0.36, 0.18)),
    *((0.36, 0.45, 0.27), (0.33, 0.50, 0.66), (0.50, 0.56, 0.60)),
)


def over(image: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """Colour (batch, 3, ...) laid over the image (batch, 3, h, w) with the opacity alpha (batch, h, w)."""
    return torch.lerp(image, colour.expand_as(image), alpha[:, None].expand_as(image))


def edge(distance: Tensor, width: float | Tensor = 1.0) -> Tensor:
    """Smooth step from 0 to 1 where the distance passes 0, over `width` pixels."""
    s = (distance * (1 / width)).add_(0.5).clamp_(0, 1)
    return (3 - 2 * s).mul_(s).mul_(s)


def bump(dx: Tensor, dy: Tensor, rx: float | Tensor, ry: float | Tensor) -> Tensor:
    """Smooth hill of height 1 that ends on the ellipse with the half axes rx, ry."""
    x, y = dx * (1 / rx), dy * (1 / ry)
    q = x.mul_(x).add_(y.mul_(y)).sub_(1).clamp_(max=0)
    return q.mul_(q)


def hump(distance: Tensor, reach: float | Tensor) -> Tensor:
    """Smooth window: 1 where the distance is 0, nothing beyond the reach."""
    q = distance * (1 / reach)
    q = q.mul_(q).sub_(1).clamp_(max=0)
    return q.mul_(q)


def crease(distance: Tensor, width: float | Tensor) -> Tensor:
    """Soft line: 1 on it, falling to both sides."""
    q = distance * (1 / width)
    return q.mul_(q).add_(1).reciprocal_()


def ramp(colours: tuple[tuple[float, ...], ...], share: Tensor) -> Tensor:
    """Piecewise linear colours (batch, 3) at shares (batch,) in [0, 1]."""
    table = torch.tensor(colours, dtype=share.dtype)
    position = share.clamp(0, 1) * (len(colours) - 1)
    low = position.floor().long().clamp(max=len(colours) - 2)
    return torch.lerp(table[low], table[low + 1], (position - low)[:, None])


def hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB (batch, 3) of hue, saturation and value (batch,) in [0, 1]."""
    offsets = torch.tensor([5.0, 3.0, 1.0], dtype=hue.dtype)
    k = (offsets + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))


def paints(m: People) -> People:
    """Linear colours (batch, 3) and the light's direction (batch,) from measured people: float64."""
    skin = ramp(SKIN_RAMP, m["skin_tone"]) ** 2
    warm = m["skin_warmth"][:, None] / 3
    skin = skin * (1 + warm * torch.tensor([-0.05, 0.05, -0.16], dtype=warm.dtype))
    hair = ramp(HAIR_RAMP, m["hair_melanin"])
    red = (m["hair_red"] * (1 - 0.75 * m["hair_melanin"]))[:, None]
    ginger = torch.tensor([0.66, 0.31, 0.13], dtype=red.dtype) * (1.1 - 0.6 * m["hair_melanin"][:, None])
    hair = torch.lerp(hair, ginger, 0.85 * red) ** 2
    azimuth, elevation = torch.deg2rad(m["light_azimuth"]), torch.deg2rad(m["light_elevation"])
    warmth = m["light_warmth"][:, None] / 3
    key = m["light_strength"][:, None] * (1 + warmth * torch.tensor([0.10, 0.0, -0.16], dtype=warmth.dtype))
    cloth = hsv(m["clothing_hue"], 0.30 + 0.25 * (1 - m["clothing_value"]), 0.12 + 0.72 * m["clothing_value"]) ** 2
    shirt = (
        hsv(m["clothing_hue"] + 0.45, torch.full_like(m["clothing_hue"], 0.10), 0.95 - 0.25 * m["clothing_value"]) ** 2
    )
    wall = hsv(m["background_hue"], 0.22 - 0.12 * m["background_value"], 0.16 + 0.70 * m["background_value"]) ** 2
    return {
        "skin": skin,
        "hair": hair,
        "key": 0.98 * key,
        "iris": torch.tensor(IRIS, dtype=warm.dtype)[m["eye_colour"].long()] ** 2,
        "cloth": cloth,
        "shirt": shirt,
        "wall": wall,
        "light_x": azimuth.sin() * elevation.cos(),
        "light_y": -elevation.sin(),
        "light_z": azimuth.cos() * elevation.cos(),
    }


def light(nx: Tensor, ny: Tensor, nz: Tensor, p: People, soft: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Incoming light (batch, 3, h, w) and a broad gloss (batch, h, w) for surface normals.

    soft: by how much light creeps round the edge of the shadow in red, green and blue.
    """
    facing = nx * p["light_x"] + ny * p["light_y"] + nz * p["light_z"]
    fill = (0.5 - 0.5 * nx * p["light_side"] - 0.08 * ny).clamp_(0, 1)
    around = (0.12 * nz - 0.11 * ny).add_(0.38).add_(0.16 * fill).mul_(p["ambient"])
    lit = torch.empty(len(nx), 3, *nx.shape[1:], device=nx.device)
    for i, tint in enumerate((0.94, 1.0, 1.08)):
        wrapped = (facing + soft[i]).clamp_(min=0).mul_(p["key"][:, i] * (1 / (1 + soft[i])))
        torch.add(wrapped, around, alpha=tint, out=lit[:, i])
    # half way between the light and the viewer
    length = (2 + 2 * p["light_z"]) ** 0.5
    gloss = ((nx * p["light_x"] + ny * p["light_y"] + nz * (1 + p["light_z"])) / length).clamp(min=0)
    return lit, gloss


def normals(height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normals of a height field (batch, h, w) in pixels."""
    padded = F.pad(height[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    dx = 0.5 * (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    dy = 0.5 * (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    # the picture's border has one neighbour only
    dx[..., 0], dx[..., -1], dy[:, 0], dy[:, -1] = dx[..., 1], dx[..., -2], dy[:, 1], dy[:, -2]
    nz = (1 + dx * dx + dy * dy).rsqrt()
    return -dx * nz, -dy * nz, nz


def stretch(noise: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """A person's noise (batch, 56, 56) at positions counted in cells, mirrored beyond the ends: (batch, h, w)."""
    where = torch.empty(*u.shape, 2, device=u.device)  # several times as fast as stacking the two
    torch.sub(u * (1 / 28), 1, out=where[..., 0])
    torch.sub(v * (1 / 28), 1, out=where[..., 1])
    return F.grid_sample(noise[:, None], where, padding_mode="reflection", align_corners=False)[:, 0]


def backdrop(px: Tensor, py: Tensor, p: People) -> Tensor:
    """The wall behind: a glow on the light's side, darker corners. (batch, 3, 224, 224)"""
    dx, dy = (px - MIDLINE) / MIDLINE, (py - MIDLINE) / MIDLINE
    glow = bump(dx + 0.25 * p["light_side"], dy + 0.1, 1.9, 1.9)
    wall = 0.45 + 0.75 * glow - 0.10 * dy
    wall = wall + 0.035 * (stretch(p["noise"][:, 0], px / 6.0, py / 6.0) - 0.5)
    return p["wall"] * wall[:, None]


def body(image: Tensor, grid: People, p: People) -> Tensor:
    """Neck, shoulders and clothes drawn over the image."""
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

    # cylinder of the neck, its muscles, the pit of the throat
    q = (x / (width + 3)) ** 2
    height = 26 * (1 - q.clamp(max=1.4)) * (1 - flare.clamp(max=1) * 0.3) - 0.25 * (y - 190)
    cord = (ax - (neck * 0.92 - (y - 178) * neck * 0.022)) / 5.0
    height = height + 2.2 * crease(cord, 1.0) * ((y - 182) / 15).clamp(0, 1)
    height = height - 3.2 * bump(x, y - 216, 9.0, 11.0) - p["sag"] * 1.2 * crease((y - 199 - 0.004 * x * x), 1.2)
    lit, gloss = light(*normals(height), p, (0.40, 0.24, 0.18))
    # the head's shadow: where the jaw, moved away from the light, covers the neck
    below = grid["face_sd"] - 1.5 * p["light_y"]
    shade = 1 - 0.74 / (1 + (below.clamp(min=0) / (12.0 - 13 * p["light_y"])) ** 2)
    skin = p["skin"] * lit * shade[:, None]
    skin = skin + (0.02 * gloss**12 * shade)[:, None]
    image = over(image, skin, edge(inside))
    return clothes(image, x, y, shoulder, shade, p)


def clothes(image: Tensor, x: Tensor, y: Tensor, shoulder: Tensor, shade: Tensor, p: People) -> Tensor:
    """Crew neck, collar shirt, V-neck or jacket from the shoulders down."""
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
    # the neckband's seam
    band = crease(gap + 5.0, 0.7) * edge(cover, 2.0) * (crew + vee)
    image = image * (1 - 0.30 * band)[:, None]

    # collar: two leaves that meet below the throat
    leaf = torch.minimum(ax * 0.8 - (y - 206) * 0.75 + 3, (y - 190) + 0.10 * ax)
    leaf = torch.minimum(leaf, neck + 9 - ax - (y - 205) * 0.35)
    leaf = torch.minimum(torch.minimum(leaf, -shirt_gap + 1.5), shoulder + 6.5)
    shown = (collar + jacket) * edge(leaf)
    image = image * (1 - 0.35 * (collar + jacket) * edge(leaf + 3, 6.0) * edge(cover))[:, None]
    image = over(image, fabric * lit * (1.08 * (0.6 + 0.4 * shade))[:, None], shown)
    # lapels of the jacket
    lapel = torch.minimum(ax - (14 + (224 - y) * 0.95), shoulder + 1.0)
    image = image * (1 - 0.4 * jacket * edge(lapel + 3, 6.0) * edge(cover))[:, None]
    image = over(image, p["cloth"] * lit * weave[:, None], jacket * edge(lapel))
    notch = crease(lapel - 15 - (y - 212).abs() * 0.3, 0.8) * edge(lapel)
    return image * (1 - 0.35 * jacket * notch)[:, None]


def ears(image: Tensor, grid: People, p: People) -> Tensor:
    """Both ears, with helix and shell."""
    x, y = grid["x"], grid["y"]
    side = (x.abs() - p["half_width"] + 1.0) / 8.6
    up = (y - p["ear_y"]) / p["ear_half"]
    side = side - 0.16 * (0.3 - up)  # wider above
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


def face_height(x: Tensor, y: Tensor, part: Tensor, p: People) -> Tensor:
    """Height in pixels of the face at head coordinates; part: distance from the pole as a share of the outline's."""
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


def folds(x: Tensor, y: Tensor, p: People) -> Tensor:
    """Depth in pixels of wrinkles and folds."""
    ax = x.abs()
    wrinkles, sag = p["wrinkles"], p["sag"]
    grin = p["smile"].clamp(min=0)
    # from the nose's wing to beside the mouth's corner
    s = (y - p["nose_y"] + 5) / (p["mouth_y"] - p["nose_y"] + 12)
    line = ax - (p["nose_half"] + 2.5 + (p["mouth_half"] - p["nose_half"] + 4.5) * s * (1.25 - 0.25 * s))
    depth = (0.35 + 1.9 * wrinkles + 1.6 * grin) * crease(line, 2.1) * hump(s - 0.48, 0.72)
    # under the eyes
    bag = y - p["eye_y"] - 11.5 - 2.2 * sag + 0.018 * (ax - p["eye_x"] + 2) ** 2
    depth = depth + (0.25 + 1.3 * sag + 0.8 * wrinkles) * crease(bag, 1.7) * hump(ax - p["eye_x"] + 2, 15.0)
    # forehead lines, lifted over the brows
    lift = 2.2 * hump(ax - 22, 26.0) + 5.0 * (stretch(p["noise"][:, 3], x / 12 + 28, y / 40) - 0.5)
    lines = sum(crease(y - p["brow_y"] + rise + lift, 1.15) for rise in (15, 24.5, 34))
    window = hump(x, 44.0)
    depth = depth + (1.25 * wrinkles + 0.8 * p["brow_raise"].clamp(min=0) * (0.35 + wrinkles)) * lines * window
    # between the brows
    frown = crease(ax - 4.5, 0.9) * hump(y - p["brow_y"] - 2, 9.0)
    depth = depth + wrinkles * 0.9 * frown
    # crow's feet: three rays from the eye's outer corner
    ox, oy = ax - p["eye_x"] - p["eye_half"] - 1.5, y - p["eye_y"]
    rays = sum(crease(oy - slope * ox, 0.95) for slope in (-0.55, 0.05, 0.6))
    depth = depth + (0.95 * wrinkles + 0.7 * grin * wrinkles) * rays * bump(ox - 6, oy, 7.5, 10.0)
    # from the mouth's corners down
    droop = crease(ax - p["mouth_half"] - 2.0 - 0.12 * (y - p["mouth_y"]), 1.5)
    depth = depth + (1.6 * sag + 0.4 * wrinkles) * droop * hump(y - p["mouth_y"] - 11, 13.0)
    return depth


def skin(image: Tensor, grid: People, p: People) -> Tensor:
    """The face's skin drawn over the image."""
    x, y, sd = grid["x"], grid["y"], grid["face_sd"]
    ax = x.abs()
    height = face_height(x, y, grid["part"], p)
    creases = folds(x, y, p)
    pores = stretch(p["noise"][:, 2], x * 0.45 + 28, y * 0.45) - 0.5
    blotches = stretch(p["noise"][:, 1], x * 0.11 + 28, y * 0.11) - 0.5
    height = height - creases + (0.14 + 0.22 * p["wrinkles"]) * pores
    nx, ny, nz = normals(height)
    lit, gloss = light(nx, ny, nz, p, (0.42, 0.26, 0.19))

    # light that does not reach the hollows
    sockets = bump(ax - p["eye_x"] + 3, y - p["eye_y"] + 3, 19.0, 12.5)
    corner = bump(ax - 8.5, y - p["eye_y"] + 1, 8.0, 11.0)
    under_nose = bump(x, y - p["nose_y"] - 3.0, 1.15 * p["nose_half"], 7.0)
    lip_y = p["mouth_y"] + p["mouth_gap"] * 0.7 + p["lip_low"]
    under_lip = bump(x, y - lip_y - 3.0, 15.0, 5.5)
    dark = 0.20 * sockets + 0.16 * corner + 0.16 * under_nose + 0.20 * under_lip
    dark = dark + 0.16 * creases
    # the nose's shadow falls on the cheek away from the light
    cast_x = x + p["light_x"] * 17
    cast = bump(cast_x, y - p["nose_y"] + 9, 12.0, 18.0) * edge(-x * p["light_side"] - 5.0, 10.0)
    dark = dark + 0.42 * p["light_x"].abs() * cast
    dark = dark + 0.12 * edge(sd + 7, 16.0)
    lit = lit * (1 - dark.clamp(0, 0.8))[:, None]

    # blood: cheeks, nose, and chin a little; paler forehead
    flush = bump(ax - 34, y - p["nose_y"] + 9, 24.0, 19.0) * (0.75 + 0.7 * p["makeup"] + 0.3 * p["smile"].clamp(min=0))
    flush = flush + 0.8 * bump(x, y - p["nose_y"] + 6, 14.0, 12.0) + 0.30 * bump(x, y - p["chin_y"] + 10, 22.0, 14.0)
    flush = flush + 0.55 * sockets + 0.5 * blotches + 0.35 * creases
    tone = 1 + flush[:, None] * p["flush"]
    # freckles on nose and cheeks
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


def develop(image: Tensor, grid: People) -> Tensor:
    """sRGB in [0, 1] of linear light: a soft shoulder, gamma, and a light vignette."""
    dx, dy = (grid["px"] - MIDLINE) / SIZE, (grid["py"] - 105) / SIZE
    vignette = 1.06 - 0.42 * (dx * dx + dy * dy)
    image = (image * vignette[:, None]).clamp_(min=1e-6)
    shoulder = (0.27 * image).mul_(image).add_(1)
    return (0.12 * image).add_(1).mul_(image).div_(shoulder).sqrt_().clamp_(0, 1)
