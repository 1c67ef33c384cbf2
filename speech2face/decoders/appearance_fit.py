"""The closed-form fit of an appearance model to normalized faces and their embeddings."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from speech2face.decoders import warp as spline
from speech2face.decoders.normalized import WARPED

if TYPE_CHECKING:
    from speech2face.decoders.base import Examples

PICTURE = 224  # width and height of a face in pixels
REACH = 16  # pixels from the outline at which the signed distance is cut off
MOST = 4000  # examples that are used
TOGETHER = 32
PERSON = 2  # the value of the masks inside the person; 0 is unknown
FACE_WEIGHT, OTHER_WEIGHT, OUTLINE_WEIGHT, CLOTHES_WEIGHT = 2.0, 0.6, 0.6, 0.4  # of the squared error of the texture
Affine = tuple[np.ndarray, np.ndarray]  # weight (out, in), bias (out,)


@dataclass
class Fit:
    """The weights of the three layers of an appearance model."""

    texture: Affine
    shape: Affine
    regression: Affine


def fit(examples: "Examples", components: int, landmark_components: int, size: int, ridge: float) -> Fit:
    """Fit textures and landmarks to the embeddings by reduced-rank ridge regression (Izenman 1975).

    The components are the principal components of what a ridge regression predicts from the embeddings, so they hold
    what the embeddings determine, and not clothes or light. examples: see Examples. ridge: the penalty.
    Fewer examples than components leave the others zero.
    """
    count = len(examples.which)
    chosen = np.linspace(0, count - 1, min(MOST, count)).astype(int)
    faces = examples.which[chosen]
    landmarks = examples.landmarks[faces].astype(np.float32)
    mean = landmarks.mean(0)
    texture, known = textures(examples, faces, mean, size)
    weights = texture_weights(mean, size)
    average = (texture * known).sum(0) / np.maximum(known.sum(0), 1)
    residual = np.where(known, texture - average, 0).reshape(len(chosen), -1)
    del texture
    residual *= weights
    moved = (landmarks - mean).reshape(len(chosen), -1)
    embeddings = np.asarray(examples.embeddings[chosen], np.float64)
    centre = embeddings.mean(0)
    embeddings -= centre
    kernel = embeddings @ embeddings.T
    solved = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), np.eye(len(kernel)))
    smoother = (kernel @ solved).astype(np.float32)
    bases = [_components(smoother @ one, n) for one, n in ((residual, components), (moved, landmark_components))]
    coefficients = np.concatenate([one @ basis for one, basis in zip((residual, moved), bases, strict=True)], 1)
    regression = (embeddings.T @ (solved @ coefficients)).T
    return Fit(
        texture=((bases[0] / weights[:, None]), average.ravel()),
        shape=(bases[1], mean.ravel()),
        regression=(regression, -regression @ centre),
    )


def textures(examples: "Examples", faces: np.ndarray, mean: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Textures on the mean landmarks: (n, 4, size, size) float32 in [0, 1], and (n, 1, size, size), where known.

    Colours of the person continue outside its outline. The fourth channel is the signed distance to the outline in
    pixels of the picture, from -REACH (0) to REACH (1).
    """
    drawn = []
    for row in tqdm(faces, "textures", unit="faces"):
        mask = examples.masks[row]
        drawn.append(_resized(_layers(examples.pictures[row], mask == PERSON, mask > 0), size))
    layers, scale = torch.cat(drawn), size / PICTURE
    points = (torch.from_numpy(examples.landmarks[faces].astype(np.float32))[:, WARPED] + 0.5) * scale - 0.5
    target = (torch.from_numpy(mean)[WARPED, :] + 0.5) * scale - 0.5
    parts = zip(layers.split(TOGETHER), points.split(TOGETHER), strict=True)
    warped = torch.cat([spline.warp(one, at, target.expand_as(at)) for one, at in parts])
    return warped[:, :4].numpy(), (warped[:, 4:] > 0.99).numpy()


def _layers(picture: np.ndarray, person: np.ndarray, known: np.ndarray) -> torch.Tensor:
    """RGB, signed distance to the outline, and where the picture is known: (1, 5, height, width) in [0, 1]."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(person, iterations=2)  # the rim mixes with the background
    if not inner.any() or inner.all():
        colour = picture / np.float32(255)
    else:
        nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
        colour = picture[tuple(nearest)] / np.float32(255)
        colour = np.where(inner[..., None], colour, ndimage.gaussian_filter(colour, (4, 4, 0)))
    distance = ndimage.distance_transform_edt(person) if not person.all() else np.full(person.shape, REACH)
    distance = distance - (ndimage.distance_transform_edt(~person) if not person.all() else 0)
    outline = distance.clip(-REACH, REACH) / (2 * REACH) + 0.5
    layers = np.concatenate([colour, outline[..., None], known[..., None]], 2).astype(np.float32)
    return torch.from_numpy(layers).permute(2, 0, 1)[None]


def _resized(layers: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(layers, (size, size), mode="bilinear", antialias=True)


def texture_weights(mean: np.ndarray, size: int) -> np.ndarray:
    """Weights of the pixels of a texture, (4 * size * size,): the face counts more than hair, clothes less."""
    from scipy import ndimage
    from skimage.draw import polygon2mask

    scale = size / PICTURE
    outline = np.concatenate([mean[:17], mean[17:27][::-1]])  # chin, then the brows from right to left
    face = ndimage.gaussian_filter(polygon2mask((size, size), outline[:, ::-1] * scale).astype(np.float32), 3)
    below = ((np.arange(size)[:, None] / scale - mean[8, 1]) / 20).clip(0, 1)  # the chin's lowest point
    colour = (OTHER_WEIGHT + (FACE_WEIGHT - OTHER_WEIGHT) * face) * (1 - (1 - CLOTHES_WEIGHT) * below)
    layers = np.stack([colour] * 3 + [np.full((size, size), OUTLINE_WEIGHT)])
    return layers.astype(np.float32).ravel()


def _components(values: np.ndarray, count: int) -> np.ndarray:
    """The first principal components (width, count) of values (n, width), orthonormal; zero where there are fewer."""
    powers, vectors = np.linalg.eigh((values @ values.T).astype(np.float64))
    order = np.argsort(powers)[::-1][:count]
    order = order[powers[order] > 1e-9 * powers.max()]
    found = np.zeros((values.shape[1], count), np.float32)
    found[:, : len(order)] = values.T @ (vectors[:, order] / np.sqrt(powers[order])).astype(np.float32)
    return found
