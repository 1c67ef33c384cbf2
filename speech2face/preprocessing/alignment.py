"""Aligned crops: a photo turned, scaled and shifted so that eyes and mouth have fixed places."""

import numpy as np
from PIL import Image as PillowImage

SIDE = 224
# Centres of the left eye, the right eye and the mouth in an aligned crop of SIDE x SIDE pixels. Simulated talkers have
# them there, too. Left and right are the viewer's.
PLACES = np.array([(89.5, 108.0), (134.5, 108.0), (112.0, 161.0)])
PARTS = (slice(36, 42), slice(42, 48), slice(48, 72))  # the landmarks of these
GAP = 3.0  # Pillow averages blocks of pixels first if a photo is reduced by more than this


def alignment(landmarks: np.ndarray, size: int = SIDE) -> np.ndarray:
    """The matrix (2, 3) that takes x, y, 1 in pixels of a photo to pixels of its aligned crop of size x size.

    It is the similarity that brings the centres of eyes and mouth to PLACES. landmarks: (72, 2) in pixels of the photo.
    """
    points = np.array([landmarks[part].mean(0) for part in PARTS], np.float64)
    return similarity(points, (PLACES + 0.5) * (size / SIDE) - 0.5)


def similarity(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) of the similarity that brings points to places, (n, 2) each, with the least squared error.

    Umeyama, IEEE PAMI 13(4), 1991, for two dimensions and without reflection.
    """
    points, places = points @ (1, 1j), places @ (1, 1j)
    away = points - points.mean()
    factor = (away.conj() @ (places - places.mean())) / max((away.conj() @ away).real, 1e-6)
    shift = places.mean() - factor * points.mean()
    return np.array([(factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)])


def box_matrix(box: tuple[int, int, int, int], size: int) -> np.ndarray:
    """The matrix (2, 3) as of `alignment`, for a crop to a box (left, top, right, bottom) that is resized."""
    left, top, right, bottom = box
    x, y = size / (right - left), size / (bottom - top)
    return np.array([(x, 0, (0.5 - left) * x - 0.5), (0, y, (0.5 - top) * y - 0.5)])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) as x, y -> where a matrix (2, 3) takes them. Integer coordinates are the centres of pixels."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) of the way back."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def corners(matrix: np.ndarray, size: int) -> np.ndarray:
    """The corners (4, 2) of a crop of size x size in pixels of the photo, clockwise from the top left."""
    low, high = -0.5, size - 0.5
    return transform(np.array([(low, low), (high, low), (high, high), (low, high)]), inverse(matrix))


def align(image: PillowImage.Image, landmarks: np.ndarray, size: int = SIDE) -> tuple[PillowImage.Image, np.ndarray]:
    """The aligned crop of a photo: see `warp`. landmarks: (72, 2) in pixels of the photo."""
    return warp(image, alignment(landmarks, size), size)


def warp(image: PillowImage.Image, matrix: np.ndarray, size: int) -> tuple[PillowImage.Image, np.ndarray]:
    """A photo as a matrix (2, 3) of a similarity takes it to size x size pixels, and which of these are inside it.

    image: RGB. The second is (size, size) bool. A pixel outside the photo is unknown; it has the mean colour of the
    photo's border. A photo that is reduced is low-pass filtered, so that nothing aliases.
    """
    back = inverse(matrix)
    x, y = np.moveaxis(transform(np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1), back), -1, 0)
    inside = (x >= -0.5) & (x < image.width - 0.5) & (y >= -0.5) & (y < image.height - 0.5)
    unknown = border_colour(image)
    if not inside.any():
        return PillowImage.fromarray(np.full((size, size, 3), unknown)), inside
    # First the part of the photo that the crop shows, in the crop's scale, then turned.
    scale = min(np.hypot(*matrix[:, 0]), 1.0)
    reach = 3 / scale
    left, top = max(0, int(x.min() - reach)), max(0, int(y.min() - reach))
    right, bottom = min(image.width, int(x.max() + reach) + 1), min(image.height, int(y.max() + reach) + 1)
    box, near = (left, top, right, bottom), image.crop((left, top, right, bottom))
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in near.size)
        near = near.resize((width, height), PillowImage.Resampling.LANCZOS, reducing_gap=GAP)
    ratio = np.array([near.width / (right - left), near.height / (bottom - top)])
    # Pillow's coordinates have the corner of a pixel at integers, and ours its centre.
    linear = back[:, :2] * ratio[:, None]
    offset = (back[:, 2] + 0.5 - box[:2]) * ratio - linear @ (0.5, 0.5)
    coefficients = np.column_stack([linear, offset]).ravel().tolist()
    padded = PillowImage.fromarray(np.pad(np.asarray(near), ((2, 2), (2, 2), (0, 0)), mode="edge"))
    coefficients[2] += 2
    coefficients[5] += 2
    crop = padded.transform((size, size), PillowImage.Transform.AFFINE, coefficients, PillowImage.Resampling.BICUBIC)
    result = np.array(crop)
    result[~inside] = unknown
    return PillowImage.fromarray(result), inside


def border_colour(image: PillowImage.Image) -> np.ndarray:
    """The mean colour (3,) uint8 of the outermost pixels of an RGB image."""
    width, height = image.size
    edges = [(0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)]
    border = np.concatenate([np.asarray(image.crop(edge)).reshape(-1, 3) for edge in edges])
    return border.mean(0).round().astype(np.uint8)
