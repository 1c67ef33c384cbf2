"""Hair and beards: silhouettes as polar outlines by style, and strands that follow a flow."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import KNOTS
from speech2face.talkers.shading import People, bump, crease, edge, light, over, stretch

Textures = tuple[Tensor, Tensor, Tensor]

# Radii in pixels about the pole of a mean head every 15 degrees, from the top to the chin. "inner" is where the hair in
# front of the face begins, "outer" where it ends, "back" is the silhouette of the hair behind head, neck and shoulders.
# A second row, where there is one, is the viewer's left half.
NONE = (1,) * 13
SHORT_INNER = (65, 64.5, 64, 61.5, 56, 53, 52, 55, 70, 80, 90, 95, 95)
LONG_INNER = (65, 63, 59, 55, 52, 50, 50, 51.5, 58, 71, 100, 190, 260)
SHORT_CUT = (0, 0, 0, 0, 0, 0, 54.5, 40, 1, 1, 1, 1, 1)
STYLES = (
    {"inner": (200,) * 13, "outer": NONE, "back": NONE},
    {  # buzz cut
        "inner": (67, 66, 64.5, 61, 55.5, 52.5, 52.5, 57, 70, 80, 90, 95, 95),
        "outer": (86.5, 86.5, 82.5, 72.5, 64, 58, 54.5, 40, 1, 1, 1, 1, 1),
        "back": NONE,
    },
    {  # side part, parted on the viewer's right
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
# flow of the strands: falling from a parting, swept across, standing up or pulled back, curled
FLOW = (3, 3, 1, 2, 2, 3, 0, 0, 0, 2, 0, 0)
COVER = (0.0, 0.80, 1.0, 1.0, 0.92, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
WAVE = (0.0, 0.0, 0.0, 0.3, 0.0, 0.2, 0.15, 0.15, 0.8, 0.0, 0.15, 1.0)  # how far strands and silhouette wave
CURL = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.55)  # share of ringlets in the texture
RINGLET = (9.0,) * 5 + (6.5,) + (9.0,) * 5 + (11.0,)  # their size in pixels
TEXTURE = (1.0, 0.8, 1.0, 1.1, 1.0, 1.1, 1.0, 1.0, 1.1, 1.0, 1.0, 1.2)  # contrast of the strands


def _around(radii: tuple[float, ...], left: tuple[float, ...]) -> Tensor:
    """A style's radii at the KNOTS turns of a polar outline; reciprocals, in which a straight fall is smooth."""
    where = torch.linspace(-2, 2, KNOTS, dtype=torch.float64)
    share = 2 - where.abs()  # 0 above, 2 below
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


def _tables() -> dict[str, Tensor]:
    """By curve, the styles' outlines as shares of the mean head's (styles, KNOTS)."""
    mean = _around(MEAN_HEAD, MEAN_HEAD)
    return {
        name: torch.stack([_around(style[name], style.get(f"{name}_left", style[name])) / mean for style in STYLES])
        for name in ("inner", "outer", "back")
    }


TABLES = _tables()


def hair_outlines(m: People) -> Tensor:
    """Polar outlines (batch, 3, KNOTS) in pixels of the measured people's hair: inner, outer and back."""
    style = m["hair_style"].long()
    head = m["outline"]
    where = torch.linspace(-2, 2, KNOTS, dtype=head.dtype)
    above = (0.5 * where.abs() - 0.2).clamp(0, 1)
    volume = 1 + 0.022 * m["hair_volume"][:, None] * above
    inner, outer, back = (TABLES[name][style] * head for name in ("inner", "outer", "back"))
    lift = 1.0 + 0.012 * (m["forehead"][:, None] * above)
    return torch.stack([inner * lift, torch.where(outer > 0.9 * head, outer * volume, outer), back * volume], 1)


def hair_traits(m: People) -> People:
    """Numbers by style (batch,) and the flow's weights (batch, 4), float64."""
    style = m["hair_style"].long()
    by_style = {"hair_cover": COVER, "hair_wave": WAVE, "hair_texture": TEXTURE, "hair_curl": CURL, "ringlet": RINGLET}
    traits = {name: torch.tensor(values, dtype=torch.float64)[style] for name, values in by_style.items()}
    flow = torch.nn.functional.one_hot(torch.tensor(FLOW)[style], 4).double()
    loose = (style < 6) | (style == 10)  # hairlines of free ends, not of a parting
    return traits | {"flow_is": flow, "thin_crown": (style == 4).double(), "loose": loose.double()}


def strands(grid: People, p: People) -> Textures:
    """Textures in [0, 1] (batch, h, w) along the style's flow: fine strands, locks, and curls."""
    x, y, rho = grid["x"], grid["y"], grid["rho"]
    noise = p["noise"]
    fall, sweep, up, curl = (p["flow_is"][:, i] for i in range(4))
    # falling strands: ellipses from the parting that become vertical
    rise = ((128 - y) / (130 - p["top"])).clamp(min=0) ** 2
    rise = 0.95 * rise / (rise + 0.3)
    s = y / 27 + 1.6 * stretch(noise[:, 3], x / 15 + 28, y / 60 + 28)
    s = 2 * (s - s.floor()) - 1
    wave = s * (1 - s.abs()) * 2.0  # nearly a sine of height 0.5
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


def ringlets(x: Tensor, y: Tensor, p: People) -> Tensor:
    """Round curls lit from above, on an uneven lattice: (batch, h, w) in [0, 1]."""
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


def hair_colour(fine: Tensor, p: People) -> Tensor:
    """Colour (batch, 3, h, w) of hair, greyed strand by strand."""
    share = p["grey"] * (0.25 + 0.75 * p["grey"])
    grey = share + 1.5 * share * (1 - share) * (fine - 0.5)
    silver = torch.tensor([0.60, 0.59, 0.58], device=fine.device)[:, None, None]
    return torch.lerp(
        p["hair"].expand(-1, -1, *fine.shape[1:]), silver.expand(len(fine), 3, *fine.shape[1:]), grey[:, None]
    )


def shade_hair(grid: People, p: People, textures: Textures) -> Tensor:
    """Lit hair (batch, 3, h, w): a rounded mass, strands, and highlights across them."""
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


def back_hair(image: Tensor, grid: People, p: People, textures: Textures, lit: Tensor) -> Tensor:
    """Hair behind the neck and the shoulders."""
    fine, locks, _ = textures
    ragged = (locks - 0.5) * (3 + 5 * p["hair_wave"]) + (fine - 0.5) * 2
    alpha = edge(grid["back"] - grid["rho"] + ragged, 2.0)
    dark = 0.30 + 0.55 * edge(-grid["dy"] - 55, 30.0)
    return over(image, lit * dark[:, None], alpha)


def front_hair(image: Tensor, grid: People, p: People, textures: Textures, lit: Tensor) -> Tensor:
    """Hair over forehead, ears and shoulders, with its shadow on the skin."""
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


def beard(image: Tensor, grid: People, p: People) -> Tensor:
    """Stubble and beard on the jaw, drawn before the lips."""
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


def darkness(m: People) -> Tensor:
    """How dark hair is (batch,), in [0, 1]: what stubble shows of it."""
    return (0.25 + m["hair_melanin"]).clamp(max=1) * (1 - 0.6 * m["grey"])
