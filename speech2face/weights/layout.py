"""Published layouts of weights: how their tensors are recognised and renamed, and which front end they need.

The layouts are defined beside their networks, in speech2face.encoders and speech2face.decoders.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from speech2face.weights.part import Description

Tensors = dict[str, torch.Tensor]
Renames = tuple[tuple[str, str | Callable[[re.Match[str]], str] | None], ...]


@dataclass
class Layout:
    """A published layout of weights.

    name: for messages and the record.
    renames: (pattern, replacement) of whole tensor names. Every tensor must match a pattern; a replacement of None
        drops the tensor.
    needs: tensor names, after renaming, that a checkpoint must have.
    architecture: renamed tensors -> arguments of the network. convert: renamed tensors -> the network's tensors.
    preprocessing: the front end that the weights were trained with, if it is published.
    config: config.json of a Hugging Face directory -> further arguments of the network.
    extractor: its preprocessor_config.json -> further arguments of the front end's `features`.
    has_head: whether an encoder's head is in it.
    """

    name: str
    renames: Renames
    needs: tuple[str, ...]
    architecture: Callable[[Tensors], Description]
    convert: Callable[[Tensors], Tensors] = field(default=lambda tensors: tensors)
    preprocessing: Description | None = None
    config: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    extractor: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    has_head: bool = True

    def rename(self, tensors: Tensors) -> Tensors | None:
        """The tensors under the network's names, or None if a tensor matches no pattern of this layout."""
        renamed, others = self.split(tensors)
        return None if others else renamed

    def split(self, tensors: Tensors) -> tuple[Tensors, list[str]]:
        """The tensors that match a pattern of this layout, under the network's names; the names of all others."""
        renamed: Tensors = {}
        others: list[str] = []
        for name, tensor in tensors.items():
            for pattern, replacement in self.renames:
                match = re.fullmatch(pattern, name)
                if match:
                    if replacement is not None:
                        renamed[match.expand(replacement) if isinstance(replacement, str) else replacement(match)] = (
                            tensor
                        )
                    break
            else:
                others.append(name)
        return renamed, others


def count(tensors: Tensors, pattern: str) -> int:
    """Number of distinct values of the first group of `pattern`, matched at the start of tensor names.

    Counts blocks, for example: r"blocks\\.(\\d+)\\.".
    """
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})
