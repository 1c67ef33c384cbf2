"""Small VGG-Face networks as the two authors' Keras files have them."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

CONVOLUTIONS = (2, 2, 3, 3, 3)
WIDTHS = (2, 3, 4, 5, 6)
CONVOLUTION_NAMES = [f"conv{block}_{i}" for block, n in enumerate(CONVOLUTIONS, 1) for i in range(1, n + 1)]
NAMES = {
    "serengil": ["conv2d", *(f"conv2d_{i}" for i in range(1, 16))],
    "rcmalli": [*CONVOLUTION_NAMES, "fc6", "fc7", "fc8"],
}
Layers = list[tuple[np.ndarray, np.ndarray]]


def keras_layers(origin: str) -> Layers:
    """(kernel, bias) of each layer, in Keras's shapes."""
    rng = np.random.default_rng(0)
    channels = [width for n, width in zip(CONVOLUTIONS, WIDTHS, strict=True) for _ in range(n)]
    shapes = [(3, 3, *pair) for pair in zip([3, *channels], channels, strict=False)]
    if origin == "serengil":
        shapes += [(7, 7, WIDTHS[-1], 8), (1, 1, 8, 4096), (1, 1, 4096, 11)]
    else:
        shapes += [(7 * 7 * WIDTHS[-1], 8), (8, 4096), (4096, 11)]
    drawn = [(rng.normal(0, np.sqrt(2 / np.prod(s[:-1])), s), rng.normal(0, 0.05, s[-1])) for s in shapes]
    return [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in drawn]


def write_keras(
    path: Path, origin: str, layers: Layers, form: str = "keras2", names: Sequence[str] | None = None
) -> Path:
    """Write what `save_weights` of Keras 1 or 2, `save` of Keras 2 ("whole"), or `save_weights` of Keras 3 writes."""
    named = dict(zip(names or NAMES[origin], layers, strict=False))
    with h5py.File(path, "w") as file:
        if form == "keras3":
            for name, weights in named.items():
                for i, weight in enumerate(weights):
                    file[f"layers/{name}/vars/{i}"] = weight
            file.create_group("layers/flatten/vars")
            return path
        root = file.create_group("model_weights") if form == "whole" else file
        parts = ("{}_W_1:0", "{}_b_1:0") if form == "keras1" else ("{}/kernel:0", "{}/bias:0")
        order: list[str] = []
        for name, weights in named.items():
            layer = root.create_group(name)
            paths = [part.format(name) for part in parts]
            for weight_path, weight in zip(paths, weights, strict=True):
                layer[weight_path] = weight
            layer.attrs["weight_names"] = np.array(paths, "S") if form == "keras1" else paths
            root.create_group(f"{name}/activation").attrs["weight_names"] = []
            order += [name, f"{name}/activation"]
        root.attrs["layer_names"] = np.array(order, "S") if form == "keras1" else order
    return path
