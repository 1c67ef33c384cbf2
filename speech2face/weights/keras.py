"""Keras .h5 files -> named tensors: numbers only, of this file only, and no more of them than it has bytes."""

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from speech2face.errors import UserError

KINDS = {2: "dense", 4: "convolution"}
PARTS = {0: "weight", 1: "bias"}
MAX_NAMES_BYTES = 16_384


def read_keras(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a Keras model, float32, with the axes as Keras has them: (rows, columns, inputs, outputs).

    Reads what Keras 1 to 3 write as .h5, weights or whole models, and Keras 3's .weights.h5. The names that users give
    to layers say nothing: the second layer with weights has layer2.convolution.weight and .bias, or layer2.dense by its
    number of axes, or layer2.other (and .2, .3). Raises UserError for what is damaged, not Keras's, or elsewhere.
    """
    try:
        with h5py.File(path, "r") as file:
            layers = [layer for layer in _layers(file) if layer]
            if sum(weight.nbytes for layer in layers for weight in layer) > path.stat().st_size:
                raise ValueError("it claims more numbers than it has")
            return {
                f"layer{number}.{KINDS.get(layer[0].ndim, 'other')}.{PARTS.get(index, index)}": _read(weight)
                for number, layer in enumerate(layers, 1)
                for index, weight in enumerate(layer)
            }
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:  # h5py raises all
        raise UserError(f"{path}: damaged, not a Keras file ({' '.join(str(error).split())})") from None


def _layers(file: h5py.File) -> Iterator[list[h5py.Dataset]]:
    """The weights of each layer, in the model's order."""
    root = file if "layer_names" in file.attrs or "model_weights" not in file else _open(file, "model_weights")
    if "layer_names" in root.attrs:
        for name in _names(root, "layer_names"):
            layer = _open(root, name)
            yield [_open(layer, weight) for weight in _names(layer, "weight_names")]
    else:
        layers = _open(file, "layers")
        for name in sorted(layers, key=_counted):
            variables = _open(layers, f"{name}/vars")
            yield [_open(variables, weight) for weight in sorted(variables, key=_counted)]


def _counted(name: str) -> list[tuple[str, int]]:
    """Sorts conv2d before conv2d_1, and that before conv2d_10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d{0,9})", name)]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    names = group.attrs.get_id(attribute)
    if np.prod(names.shape) * names.dtype.itemsize > MAX_NAMES_BYTES:
        raise ValueError(f"{attribute}: too many")
    return [name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]]


def _open(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What is at `path` below `group`, in this very file."""
    for name in filter(None, path.split("/")):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{path}: missing, or a link elsewhere")
        group = group[name]
    return group


def _read(weight: h5py.Dataset) -> torch.Tensor:
    storage = weight.id.get_create_plist()
    # Compressed arrays can grow without bound, virtual and external ones are in other files.
    if storage.get_layout() != h5py.h5d.CONTIGUOUS or storage.get_external_count():
        raise ValueError(f"{weight.name}: not a plain array in this file")
    if weight.dtype.kind != "f":
        raise ValueError(f"{weight.name}: {weight.dtype}, not floating point")
    return torch.from_numpy(weight.astype(np.float32)[()])
