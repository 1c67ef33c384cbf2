"""Networks that dlib has serialised (.dat) -> named tensors.

The format is that of dlib 19 (dlib/serialize.h, dlib/dnn): whole numbers as a byte with their sign and length, and then
their bytes; fractions as mantissa and exponent, which are whole numbers; tensors as four sizes and plain float32. No
code is run, and no more is read than the file has.
"""

import math
import mmap
from pathlib import Path

import numpy as np
import torch

from speech2face.errors import UserError

WHOLE, FRACTION, TENSOR, ALIAS = "whole", "fraction", "tensor", "alias"
# What a layer has after its name. Where layers have parameters, these come first, for all of its tensors in one.
CONVOLUTION = (TENSOR, *[WHOLE] * 7, ALIAS, ALIAS, *[FRACTION] * 4)
FIELDS = {
    "input_rgb_image_sized": (*[FRACTION] * 3, WHOLE, WHOLE),
    "input_rgb_image_pyramid": (FRACTION,) * 3,
    "con_4": CONVOLUTION,  # filters, rows, columns, strides, paddings; shapes of weight and bias; learning rates
    "affine_": (TENSOR, ALIAS, ALIAS, WHOLE),
    "bn_con2": (TENSOR, ALIAS, ALIAS, *[TENSOR] * 4, WHOLE, WHOLE, *[FRACTION] * 5),  # with means, variances, epsilon
    "fc_2": (WHOLE, WHOLE, TENSOR, ALIAS, ALIAS, WHOLE, *[FRACTION] * 4),
    "relu_": (),
    "max_pool_2": (WHOLE,) * 6,
    "avg_pool_2": (WHOLE,) * 6,
    "add_prev_": (),
}
KINDS = {"con_4": "convolution", "affine_": "affine", "bn_con2": "affine", "fc_2": "dense"}
# Losses by name: what follows the name, and the number of layers with weights. The network comes after it.
LOSSES = {"loss_metric_2": ((FRACTION,) * 2, 59), "loss_mmod_": ((*[WHOLE] * 3, *[FRACTION] * 7), 13)}
LONGEST_NAME = 64
MOST_NUMBERS = 1 << 32  # of a tensor


def read_dlib(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of dlib's face descriptor or of its face detector as float32, with axes in dlib's order.

    Tensors are named as those of Keras files: by the number and kind of the layer among those with weights, such as
    layer1.convolution.weight and .bias, layer2.affine.weight and .bias, layer59.dense.weight. A convolution has axes
    (outputs, inputs, rows, columns), a dense layer (inputs, outputs). Batch normalisation is read as the affine layer
    that it is after training. Raises UserError for a file that is damaged or has layers of other kinds.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _layers(_Reader(data))
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: damaged, or not a face descriptor of dlib ({error})") from None


class _Reader:
    """Reads the values of a file one after another. Raises ValueError at its end and for values out of range."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.place = data, 0

    def bytes(self, count: int) -> bytes:
        taken = self.data[self.place : self.place + count]
        if len(taken) < count:
            raise ValueError("cut short")
        self.place += count
        return taken

    def whole(self) -> int:
        (head,) = self.bytes(1)
        if head & 0x70 or head & 0x0F > 8:
            raise ValueError(f"no whole number at byte {self.place - 1}")
        value = int.from_bytes(self.bytes(head & 0x0F), "little")
        return -value if head & 0x80 else value

    def fraction(self) -> float:
        mantissa, exponent = self.whole(), self.whole()
        return math.ldexp(mantissa, exponent)

    def name(self) -> str:
        """The next name. Versions, which are small, and flags may come before it."""
        while (length := self.whole()) <= 3:
            pass
        if length > LONGEST_NAME:
            raise ValueError(f"no name of a layer at byte {self.place}")
        return self.bytes(length).decode("ascii")

    def sizes(self) -> tuple[int, ...]:
        version = self.whole()
        found = tuple(self.whole() for _ in range(4))
        if version not in (1, 2) or min(found) < 0 or np.prod(found, dtype=float) > MOST_NUMBERS:
            raise ValueError(f"no tensor at byte {self.place}")
        return found

    alias = sizes

    def tensor(self) -> torch.Tensor:
        """All numbers of a tensor as one row."""
        count = int(np.prod(self.sizes(), dtype=np.int64))
        return torch.from_numpy(np.frombuffer(self.bytes(4 * count), "<f4").astype(np.float32))

    def fields(self, kinds: tuple[str, ...]) -> list:
        return [getattr(self, kind)() for kind in kinds]


def _layers(reader: _Reader) -> dict[str, torch.Tensor]:
    loss = reader.name()
    if loss not in LOSSES:
        raise ValueError(f"its loss is {loss}, not one of {', '.join(LOSSES)}")
    options, layers = LOSSES[loss]
    reader.fields(options)
    tensors: dict[str, torch.Tensor] = {}
    number = 0
    while number < layers:
        layer = reader.name()
        if layer not in FIELDS:
            raise ValueError(f"layers of the kind {layer!r} are not known")
        fields = reader.fields(FIELDS[layer])
        if layer in KINDS:
            number += 1
            values, *others = (one for one in fields if isinstance(one, torch.Tensor))
            if layer == "bn_con2":
                values = _affine(values, *others[2:], epsilon=fields[-1])
            first, second = (one for one in fields if isinstance(one, tuple) and len(one) == 4)
            for part, shape in (("weight", first), ("bias", second)):
                count = int(np.prod(shape, dtype=np.int64))
                if count > len(values):
                    raise ValueError(f"layer {number} has fewer numbers than its shape needs")
                if count:
                    tensors[f"layer{number}.{KINDS[layer]}.{part}"] = _shaped(values[:count], shape, layer, part)
                values = values[count:]
        if not layer.startswith("input_"):  # what is left of training: three flags and three tensors
            reader.bytes(3)
            reader.fields((TENSOR,) * 3)
    return tensors


def _affine(values: torch.Tensor, means: torch.Tensor, variances: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Scales and offsets of a batch normalisation -> factors and offsets of the affine layer that is the same."""
    if not len(values) == 2 * len(means) == 2 * len(variances):
        raise ValueError("a batch normalisation of several sizes")
    scales, offsets = values.view(2, -1)
    factors = scales / (variances + epsilon).sqrt()
    return torch.cat([factors, offsets - factors * means])


def _shaped(values: torch.Tensor, shape: tuple[int, ...], layer: str, part: str) -> torch.Tensor:
    if layer == "con_4" and part == "weight":
        return values.view(shape)
    return values.view(shape[:2]) if layer == "fc_2" and part == "weight" else values
