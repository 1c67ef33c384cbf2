"""dlib's convolutional face detector (King, arXiv 1502.00046) in torch, where it takes a fifteenth of dlib's own time.

The network is `net_type` in dlib's example dnn_mmod_face_detection_ex.cpp. It sees a photo and its reductions by 5/6
side by side in one image, and finds faces of about 80 pixels in any of them.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from speech2face.preprocessing.dlib_dat import read_dlib

MEANS = (122.782, 117.001, 104.298)  # of red, green and blue, as in dlib's input_rgb_image_pyramid
LAYERS, HALVING = 7, 3  # convolutions; the first ones halve the size, and have no padding
STEP, FIRST = 8, 14  # pixels between the centres of two outputs, and of the first one
WINDOW = 80  # pixels, width and height of a found face
GAP, EDGE = 10, 11  # pixels between two tiles, and around all of them
SMALLEST = 7  # pixels; the network has no output for a narrower photo
OVERLAP = 0.3382838  # intersection over union, above which two boxes are the same face
Tile = tuple[int, int, int, int]  # top, left, height, width in pixels


@cache
def _layers() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias of each convolution, with the affine layer after it."""
    import face_recognition_models

    tensors = read_dlib(Path(face_recognition_models.cnn_face_detector_model_location()))
    layers = []
    for i in range(1, 2 * LAYERS, 2):
        weight, bias = (tensors[f"layer{i}.convolution.{part}"] for part in ("weight", "bias"))
        if i + 1 < 2 * LAYERS:
            factor, offset = (tensors[f"layer{i + 1}.affine.{part}"] for part in ("weight", "bias"))
            weight, bias = weight * factor.view(-1, 1, 1, 1), bias * factor + offset
        layers.append((weight.contiguous(memory_format=torch.channels_last), bias))
    return layers


@torch.inference_mode()
def find_faces(pixels: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Faces of 80 pixels and more in (height, width, 3) uint8 RGB, with the most confident first.

    Returns the score, above 0, and the box (4,) of each: left, top, right, bottom, the last pixels of the face, whole
    numbers. They are those of dlib's cnn_face_detection_model_v1.
    """
    if min(pixels.shape[:2]) < SMALLEST:
        return []
    tiles, size = _tiles(*pixels.shape[:2])
    level = (torch.tensor(pixels).permute(2, 0, 1)[None] - torch.tensor(MEANS).view(3, 1, 1)) / 256
    x = torch.zeros(1, 3, *size).contiguous(memory_format=torch.channels_last)
    for i, (top, left, height, width) in enumerate(tiles):
        if i:
            level = F.interpolate(level, (height, width), mode="bilinear", align_corners=True)
        x[:, :, top : top + height, left : left + width] = level
    for i, (weight, bias) in enumerate(_layers()):
        halving = i < HALVING
        x = F.conv2d(F.relu(x) if i else x, weight, bias, 2 if halving else 1, 0 if halving else weight.shape[-1] // 2)
    scores = x[0, 0].numpy()
    found = [(float(scores[row, column]), _box(row, column, tiles)) for row, column in np.argwhere(scores > 0)]
    kept: list[tuple[float, np.ndarray]] = []
    for score, box in sorted(found, key=lambda one: -one[0]):
        if not any(_same(box, other) for _, other in kept):
            kept.append((score, box))
    return kept


def _tiles(height: int, width: int) -> tuple[list[Tile], tuple[int, int]]:
    """Places of a photo and its reductions in one image, and the image's height and width.

    The tiles go down along the left, until the next one fits between the last one and the right border. Then they go up
    along the right. dlib places them so, and the scores depend on the place.
    """
    sizes = [(height, width)]
    while min(sizes[-1][0] * 5 // 6 - 4, sizes[-1][1] * 5 // 6) > 0:  # 5 rows, 1 column at least
        sizes.append((sizes[-1][0] * 5 // 6, sizes[-1][1] * 5 // 6))
    half = (sum(rows + GAP for rows, _ in sizes[1:]) - GAP) / 2
    tiles, bottom, before = [], EDGE, 0
    for rows, columns in sizes:
        if columns <= width - before - GAP and bottom - EDGE - height >= half:
            break
        tiles.append((bottom, EDGE, rows, columns))
        bottom, before = bottom + rows + GAP, columns
    size = bottom - GAP + EDGE, width + 2 * EDGE
    bottom -= GAP
    for rows, columns in sizes[len(tiles) :]:
        if bottom - rows < EDGE + height:  # it would cover the photo
            break
        tiles.append((bottom - rows, EDGE + width - columns, rows, columns))
        bottom -= rows + GAP
    return tiles, size


def _box(row: int, column: int, tiles: list[Tile]) -> np.ndarray:
    """The box (4,) in the photo that an output of the network stands for."""
    y, x = STEP * row + FIRST, STEP * column + FIRST
    tops, lefts, heights, widths = np.array(tiles).T
    beside = np.maximum(np.maximum(lefts - x, x - (lefts + widths - 1)), 0)
    above = np.maximum(np.maximum(tops - y, y - (tops + heights - 1)), 0)
    level = int(np.argmin(beside**2 + above**2))
    half = (WINDOW - 1) / 2
    box = np.array([x - half, y - half, x + half, y + half]) - np.tile([lefts[level], tops[level]], 2)
    for _ in range(level):
        box = box * 1.2 + 0.3
    return np.floor(box + 0.5)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two boxes overlap too much to be two faces."""
    common = _area(np.concatenate([np.maximum(first, second)[:2], np.minimum(first, second)[2:]]))
    return common > OVERLAP * (_area(first) + _area(second) - common)


def _area(box: np.ndarray) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2] + 1, 0)))
