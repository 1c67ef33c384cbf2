"""Procedural portraits: a picture of a face and its landmarks, from a few dozen parameters."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from speech2face.talkers import beard, body, colours, features, glasses, hair, hairstyles, shading, skin
from speech2face.talkers.curves import landmarks
from speech2face.talkers.geometry import POLE, SIZE, Tensors, turn, unproject
from speech2face.talkers.proportions import measure

CHUNK = 8  # faces drawn at once; their planes fit into the cache of the processor


def render(face: Tensors, scene: Tensors) -> tuple[Tensor, Tensor]:
    """Draw one picture of each person: head and shoulders from the front.

    face: the parameters of the person, as drawn by face_traits.draw_face. scene: pose, expression, light and backdrop,
    as drawn by conditions.draw_scene. Each value is (batch,), except face["noise"] (batch, 4, 56, 56), which is uniform
    in [0, 1). Angles are in degrees, shifts in pixels, the values of proportions.TRAITS standardised.

    Returns images (batch, 3, 224, 224), RGB in [0, 1], and landmarks (batch, 72, 2) in pixels of the image (see
    curves.landmarks); float32 on the device of the noise. The picture of a person is independent of the batch.
    """
    noise = face["noise"].detach()
    measured = measure(face, scene)
    points = landmarks(measured)
    people = prepare(measured, points)
    images = []
    for start in range(0, len(noise), CHUNK):
        # Every chunk has the same size, so that every face is computed with the same instructions.
        rows = torch.arange(start, start + CHUNK).clamp(max=len(noise) - 1)
        chunk = {name: value[rows].to(noise.device) for name, value in people.items()}
        chunk["noise"] = noise[rows.to(noise.device)].float()
        images.append(draw(chunk)[: len(noise) - start])
    return torch.cat(images), points.to(noise.device, torch.float32)


def prepare(m: Tensors, points: Tensor) -> Tensors:
    """Parameters of draw() by name, float32 on the CPU.

    m: the result of proportions.measure. points: landmarks (batch, 72, 2). Numbers become (batch, 1, 1), colours
    (batch, 3, 1, 1), one-hot classes (batch, classes, 1, 1), "outlines" of face and hair (batch, 4, 1, KNOTS), and
    centres of the windows of features (batch, 2), or (batch, 2, 2) for a pair.
    """
    paints = colours.paints(m)
    side = paints["light_x"] / (0.02 + paints["light_x"] ** 2).sqrt()
    dark = m["skin_tone"][:, None]
    blood = torch.tensor([0.09, -0.15, -0.13], dtype=dark.dtype) * (1 - 0.55 * dark)
    natural = torch.lerp(
        torch.tensor([0.86, 0.50, 0.50], dtype=dark.dtype), torch.tensor([0.88, 0.60, 0.60], dtype=dark.dtype), dark
    )
    hue = (0.955 + 0.06 * (m["clothing_hue"] - 0.5)) % 1
    lipstick = colours.hsv(hue, torch.full_like(hue, 0.75), 0.60 + 0.15 * m["clothing_value"]) ** 2
    lipstick = lipstick / paints["skin"].clamp(min=0.05)
    level = 0.55 * m["ambient"] + 0.55 * m["light_strength"]
    brow_hair = torch.lerp(paints["hair"], paints["hair"] * 0.35 + 0.01, (1 - m["hair_melanin"])[:, None] * 0.75)
    tortoise = torch.tensor([[0.030, 0.026, 0.026], [0.11, 0.055, 0.03], [0.05, 0.055, 0.075]], dtype=dark.dtype)
    frame = tortoise[(m["clothing_hue"] * 977).long() % 3]
    vectors = {
        "flush": blood,
        "lip": natural,
        "lipstick": lipstick.clamp(max=1.2),
        "brow_hair": brow_hair,
        "eye_light": paints["key"] / paints["key"].mean(1, keepdim=True),
        "frame": frame,
        "clothing_is": F.one_hot(m["clothing"].long(), 4),
        "glasses_is": F.one_hot(m["glasses"].long(), 4),
        "beard_is": F.one_hot(m["beard"].long(), 5),
    }
    traits = hairstyles.hair_traits(m)
    vectors["flow_is"] = traits.pop("flow_is")
    vectors |= {name: colour for name, colour in paints.items() if colour.ndim == 2}
    scalars = {name: value for name, value in {**m, **paints, **traits}.items() if value.ndim == 1}
    scalars |= {
        "light_side": side,
        "key_level": level,
        "sheen": 0.05 + 0.13 * m["skin_tone"],
        "sheen_level": 0.8 + 0.8 * m["skin_tone"],
        "hair_dark": hair.darkness(m),
        "brow_strength": 0.9 - 0.25 * m["grey"],
    }
    places = {
        "eye_at": torch.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], 1),
        "brow_at": torch.stack([points[:, 17:22].mean(1), points[:, 22:27].mean(1)], 1),
        "nose_at": points[:, 31:36].mean(1),
        "mouth_at": points[:, 48:].mean(1),
    }
    outlines = torch.cat([m["outline"][:, None], hairstyles.hair_outlines(m)], 1)[:, :, None]
    people = {name: value[:, None, None] for name, value in scalars.items()}
    people |= {name: value[:, :, None, None] for name, value in vectors.items()}
    people |= {"outlines": outlines} | places
    return {name: value.float() for name, value in people.items()}


def draw(p: Tensors) -> Tensor:
    """Pictures (batch, 3, 224, 224) in sRGB, in [0, 1]. p: the result of prepare(), and "noise" (batch, 4, 56, 56)."""
    grid = coordinates(p)
    textures = hair.strands(grid, p)
    locks = hair.shade_hair(grid, p, textures)
    image = shading.backdrop(grid["px"], grid["py"], p)
    image = hair.back_hair(image, grid, p, textures, locks)
    image = within((148, 224, 0, 224), body.torso, image, grid, p)
    image = within((68, 176, 28, 196), skin.ears, image, grid, p)
    image = within((14, 222, 34, 190), skin.face_skin, image, grid, p)
    image = features.nostrils(image, grid, p)
    image = within((96, 224, 34, 190), beard.beard, image, grid, p)
    image = features.mouth(image, grid, p)
    for side in (-1.0, 1.0):
        image = features.eye(image, grid, p, side)
        image = features.brow(image, grid, p, side)
    image = hair.front_hair(image, grid, p, textures, locks)
    image = within((72, 156, 28, 196), glasses.glasses, image, grid, p)
    return shading.develop(image, grid)


def within(
    box: tuple[int, int, int, int],
    layer: Callable[[Tensor, Tensors, Tensors], Tensor],
    image: Tensor,
    grid: Tensors,
    p: Tensors,
) -> Tensor:
    """Draw a layer inside a box only, which is faster. box: top, bottom, left and right edge in pixels."""
    top, bottom, left, right = box
    part = {name: plane[:, top:bottom, left:right].contiguous() for name, plane in grid.items()}
    image[:, :, top:bottom, left:right] = layer(image[:, :, top:bottom, left:right], part, p)
    return image


def coordinates(p: Tensors) -> Tensors:
    """Planes (batch, 224, 224) by name, in pixels unless noted.

    px, py: picture coordinates. x, y: head coordinates. dy, rho: y and distance from the pole. turn: geometry.turn().
    inner, outer, back: distance of the outlines of the hair from the pole, in the same direction. face_sd: signed
    distance from the outline of the face, negative inside. part: rho divided by the distance of that outline.
    """
    axis = torch.arange(0, SIZE + 1, 2, device=p["eye_y"].device, dtype=torch.float32)
    # Head coordinates are smooth: they are computed at every second pixel, and interpolated.
    sparse = torch.stack(unproject(axis[None, None, :], axis[None, :, None], p), 1)
    dense = F.interpolate(sparse, size=(SIZE + 1, SIZE + 1), mode="bilinear", align_corners=True)
    x, y = dense[:, 0, :SIZE, :SIZE].contiguous(), dense[:, 1, :SIZE, :SIZE].contiguous()
    pixels = torch.arange(SIZE, device=x.device, dtype=torch.float32)
    px, py = pixels[None, None, :].expand_as(x).contiguous(), pixels[None, :, None].expand_as(x).contiguous()
    dy = y - POLE
    rho = (x * x + dy * dy + 1e-6).sqrt()
    where = turn(x, dy)
    position = torch.zeros(*where.shape, 2, device=x.device)
    torch.mul(where, 0.5, out=position[..., 0])
    face, inner, outer, back = F.grid_sample(p["outlines"], position, padding_mode="border", align_corners=True).unbind(
        1
    )
    return {
        **{"px": px, "py": py, "x": x, "y": y, "dy": dy, "rho": rho, "turn": where},
        **{"inner": inner, "outer": outer, "back": back, "face_sd": rho - face, "part": rho / face},
    }
