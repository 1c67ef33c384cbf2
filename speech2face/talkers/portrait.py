"""Procedural portraits: pictures of simulated people from a few dozen numbers, and the landmarks of what was drawn."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from speech2face.talkers import features, hair, shading
from speech2face.talkers.geometry import POLE, SIZE, landmarks, measure, turn, unproject
from speech2face.talkers.shading import People

CHUNK = 8  # faces drawn at a time, so that the planes stay in the processor's cache


def render(face: dict[str, Tensor], scene: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Draw one picture of each person, frontal head and shoulders.

    face: who they are. scene: pose, expression, light and backdrop. Every value is (batch,) but face["noise"], uniform
    in [0, 1) and (batch, 4, 56, 56); angles are in degrees, shifts in pixels, "z" traits standardised.

    Returns images (batch, 3, 224, 224), RGB in [0, 1], and landmarks (batch, 72, 2), x and y in pixels of the image:
    the iBUG points by part (chin, brows, nose bridge and tip, eyes, top and bottom lip). Float32 on the noise's device.
    A person's picture does not depend on who else is in the batch.
    """
    noise = face["noise"].detach()
    measured = measure(face, scene)
    points = landmarks(measured)
    people = prepare(measured, points)
    images = []
    for start in range(0, len(noise), CHUNK):
        # the last chunk is filled up, so that every face is computed by the same instructions
        rows = torch.arange(start, start + CHUNK).clamp(max=len(noise) - 1)
        chunk = {name: value[rows].to(noise.device) for name, value in people.items()}
        chunk["noise"] = noise[rows.to(noise.device)].float()
        images.append(draw(chunk)[: len(noise) - start])
    return torch.cat(images), points.to(noise.device, torch.float32)


def prepare(m: dict[str, Tensor], points: Tensor) -> dict[str, Tensor]:
    """What draw() takes, float32 on the CPU: numbers (batch, 1, 1), colours (batch, 3, 1, 1), outlines, places."""
    colours = shading.paints(m)
    side = colours["light_x"] / (0.02 + colours["light_x"] ** 2).sqrt()
    dark = m["skin_tone"][:, None]
    blood = torch.tensor([0.09, -0.15, -0.13], dtype=dark.dtype) * (1 - 0.55 * dark)
    natural = torch.lerp(
        torch.tensor([0.86, 0.50, 0.50], dtype=dark.dtype), torch.tensor([0.88, 0.60, 0.60], dtype=dark.dtype), dark
    )
    hue = (0.955 + 0.06 * (m["clothing_hue"] - 0.5)) % 1
    rouge = shading.hsv(hue, torch.full_like(hue, 0.75), 0.60 + 0.15 * m["clothing_value"]) ** 2 / colours[
        "skin"
    ].clamp(min=0.05)
    level = 0.55 * m["ambient"] + 0.55 * m["light_strength"]
    brow_hair = torch.lerp(colours["hair"], colours["hair"] * 0.35 + 0.01, (1 - m["hair_melanin"])[:, None] * 0.75)
    tortoise = torch.tensor([[0.030, 0.026, 0.026], [0.11, 0.055, 0.03], [0.05, 0.055, 0.075]], dtype=dark.dtype)
    frame = tortoise[(m["clothing_hue"] * 977).long() % 3]
    vectors = {
        "flush": blood,
        "lip": natural,
        "lipstick": rouge.clamp(max=1.2),
        "brow_hair": brow_hair,
        "eye_light": colours["key"] / colours["key"].mean(1, keepdim=True),
        "frame": frame,
        "clothing_is": F.one_hot(m["clothing"].long(), 4),
        "glasses_is": F.one_hot(m["glasses"].long(), 4),
        "beard_is": F.one_hot(m["beard"].long(), 5),
    }
    traits = hair.hair_traits(m)
    vectors["flow_is"] = traits.pop("flow_is")
    vectors |= {name: colour for name, colour in colours.items() if colour.ndim == 2}
    scalars = {name: value for name, value in {**m, **colours, **traits}.items() if value.ndim == 1}
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
    outlines = torch.cat([m["outline"][:, None], hair.hair_outlines(m)], 1)[:, :, None]
    people = {name: value[:, None, None] for name, value in scalars.items()}
    people |= {name: value[:, :, None, None] for name, value in vectors.items()}
    people |= {"outlines": outlines} | places
    return {name: value.float() for name, value in people.items()}


def draw(p: dict[str, Tensor]) -> Tensor:
    """The prepared people's pictures (batch, 3, 224, 224), from the wall to the glasses."""
    grid = coordinates(p)
    textures = hair.strands(grid, p)
    locks = hair.shade_hair(grid, p, textures)
    image = shading.backdrop(grid["px"], grid["py"], p)
    image = hair.back_hair(image, grid, p, textures, locks)
    image = within((148, 224, 0, 224), shading.body, image, grid, p)
    image = within((68, 176, 28, 196), shading.ears, image, grid, p)
    image = within((14, 222, 34, 190), shading.skin, image, grid, p)
    image = features.nostrils(image, grid, p)
    image = within((96, 224, 34, 190), hair.beard, image, grid, p)
    image = features.mouth(image, grid, p)
    for side in (-1.0, 1.0):
        image = features.eye(image, grid, p, side)
        image = features.brow(image, grid, p, side)
    image = hair.front_hair(image, grid, p, textures, locks)
    image = within((72, 156, 28, 196), features.glasses, image, grid, p)
    return shading.develop(image, grid)


def within(
    box: tuple[int, int, int, int], layer: Callable[..., Tensor], image: Tensor, grid: People, p: People
) -> Tensor:
    """The image with a layer drawn within top, bottom, left and right, beyond which it never reaches."""
    top, bottom, left, right = box
    part = {name: plane[:, top:bottom, left:right].contiguous() for name, plane in grid.items()}
    image[:, :, top:bottom, left:right] = layer(image[:, :, top:bottom, left:right], part, p)
    return image


def coordinates(p: dict[str, Tensor]) -> dict[str, Tensor]:
    """Planes (batch, 224, 224): picture, head and polar coordinates, and the distances from the polar outlines."""
    axis = torch.arange(0, SIZE + 1, 2, device=p["eye_y"].device, dtype=torch.float32)
    # the pose is undone on every second pixel: it is smooth
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
