"""Keras .h5 files -> named tensors: numbers only, of this file only, and no more bytes of them than it has."""

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
    """Weights of a Keras model, float32, with the axes as Keras has them: (rows, columns, inputs, outputs).

    Reads what Keras 1 to 3 write as .h5, weights or whole models, and Keras 3's .weights.h5. Names are by number and
    kind, whatever a file calls its layers: the second with weights has layer2.convolution.weight and .bias, or
    layer2.dense by its number of axes, or layer2.other (and .2, .3). Raises UserError for what is damaged, not Keras's,
    or elsewhere.
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
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py raises all
        raise UserError(f"{path}: damaged, not a Keras file ({' '.join(str(error).split())})") from None


def _layers(file: h5py.File) -> list[list[h5py.Dataset]]:
    """The weights of each layer, kernel before bias, in the model's order."""
    layers: dict[str, list[h5py.Dataset]] = {}
    order = _layer_names(file)

    def visit(path: str, found: h5py.Group | h5py.Dataset) -> None:
        if path == "model_weights":
            order.extend(_layer_names(found))
        elif isinstance(found, h5py.Dataset) and not path.startswith("optimizer"):
            layers.setdefault(path.removeprefix("model_weights/").rpartition("/")[0], []).append(found)

    file.visititems(visit)  # follows no link to another file, and visits nothing twice
    position = {name: i for i, name in enumerate(order)}
    paths = sorted(layers, key=lambda path: (position.get(path.partition("/")[0], len(order)), _counted(path)))
    return [sorted(layers[path], key=lambda weight: -weight.ndim) for path in paths]


def _layer_names(group: h5py.Group) -> list[str]:
    """The model's layers in order, none where the file does not say.

    Newer files say it in strings of variable length, which are left unread: damaged ones can keep HDF5 busy for ever.
    """
    if "layer_names" not in group.attrs:
        return []
    names = group.attrs.get_id("layer_names")
    if names.dtype.kind != "S" or np.prod(names.shape) * names.dtype.itemsize > MAX_NAMES_BYTES:
        return []
    return [name.decode() for name in group.attrs["layer_names"]]


def _counted(path: str) -> list[tuple[str, int]]:
    """Sorts conv2d before conv2d_1, and conv2d_2 before conv2d_10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", path)]


def _read(weight: h5py.Dataset) -> torch.Tensor:
    storage = weight.id.get_create_plist()
    # Compressed arrays can grow without bound, virtual and external ones are in other files.
    if storage.get_layout() != h5py.h5d.CONTIGUOUS or storage.get_external_count():
        raise ValueError(f"{weight.name}: not a plain array in this file")
    if weight.dtype.kind != "f":
        raise ValueError(f"{weight.name}: {weight.dtype}, not floating point")
    return torch.from_numpy(weight.astype(np.float32)[()])
