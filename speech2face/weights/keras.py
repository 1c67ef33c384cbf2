"""Keras .h5 files -> named tensors.

Only numbers are read, only from the file itself, and no more bytes than the file has.
"""

import re
from pathlib import Path

import h5py
import numpy as np
import torch

from speech2face.errors import UserError

KINDS = {2: "dense", 4: "convolution"}
PARTS = {0: "weight", 1: "bias"}
MAX_NAMES_BYTES = 65_536


def read_keras(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a Keras model as float32, with axes in the order of Keras: (rows, columns, inputs, outputs).

    Reads .h5 files of Keras 1 to 3, with weights or whole models, and .weights.h5 files of Keras 3. Tensors are named
    by the number and kind of the layer and not by its name in the file: the second layer that has weights becomes
    layer2.convolution.weight and .bias, or layer2.dense, by its number of axes, or layer2.other (with .2, .3).
    Raises UserError for a file that is damaged, is not of Keras, or refers to other files.
    """
    try:
        with h5py.File(path, "r") as file:
            layers = _layers(file)
            if not layers:
                raise ValueError("no weights in it")
            if sum(weight.nbytes for layer in layers for weight in layer) > path.stat().st_size:
                raise ValueError("it claims more numbers than it has")
            return {
                f"layer{number}.{KINDS.get(layer[0].ndim, 'other')}.{PARTS.get(index, index)}": _read(weight)
                for number, layer in enumerate(layers, 1)
                for index, weight in enumerate(layer)
            }
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py raises all of these
        raise UserError(f"{path}: damaged, not a Keras file ({' '.join(str(error).split())})") from None


def _layers(file: h5py.File) -> list[list[h5py.Dataset]]:
    """The weights of each layer in the order of the model, kernel before bias."""
    layers: dict[str, list[h5py.Dataset]] = {}
    order = _layer_names(file)

    def visit(path: str, found: h5py.Group | h5py.Dataset) -> None:
        if path == "model_weights":
            order.extend(_layer_names(found))
        elif isinstance(found, h5py.Dataset) and not path.startswith("optimizer"):
            layers.setdefault(path.removeprefix("model_weights/").rpartition("/")[0], []).append(found)

    file.visititems(visit)  # does not follow links to other files, and visits an object once
    position = {name: i for i, name in enumerate(order)}
    paths = sorted(layers, key=lambda path: (position.get(path.partition("/")[0], len(order)), _counted(path)))
    return [sorted(layers[path], key=lambda weight: -weight.ndim) for path in paths]


def _layer_names(group: h5py.Group) -> list[str]:
    """The names of the model's layers in order, or none if the file does not list them.

    Newer files list them in strings of variable length. These are not read, because damaged ones can keep HDF5 busy
    for ever.
    """
    if "layer_names" not in group.attrs:
        return []
    names = group.attrs.get_id("layer_names")
    if names.dtype.kind != "S" or np.prod(names.shape) * names.dtype.itemsize > MAX_NAMES_BYTES:
        return []
    return [name.decode() for name in group.attrs["layer_names"]]


def _counted(path: str) -> list[tuple[str, int]]:
    """Sort key that puts conv2d before conv2d_1, and conv2d_2 before conv2d_10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", path)]


def _read(weight: h5py.Dataset) -> torch.Tensor:
    storage = weight.id.get_create_plist()
    # A compressed array can decompress to any size. Virtual and external arrays are in other files.
    if storage.get_layout() != h5py.h5d.CONTIGUOUS or storage.get_external_count():
        raise ValueError(f"{weight.name}: not a plain array in this file")
    if weight.dtype.kind != "f":
        raise ValueError(f"{weight.name}: {weight.dtype}, not floating point")
    return torch.from_numpy(weight.astype(np.float32)[()])
