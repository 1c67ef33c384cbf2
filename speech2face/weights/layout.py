"""A published layout of weights: how its tensors are recognised and renamed, and which front end goes with it.

The layouts themselves stand beside their networks, in speech2face.encoders and speech2face.decoders.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
Renames = tuple[tuple[str, str | Callable[[re.Match], str] | None], ...]


@dataclass
class Layout:
    """A published layout.

    name: for messages and the record. renames: (pattern, replacement) of whole tensor names; None drops the tensor;
        every tensor must match one. needs: names, after renaming, that must be there.
    architecture: renamed tensors -> arguments of the network. convert: renamed tensors -> the network's tensors.
    preprocessing: the front end that the weights were trained with, where it is published.
    config, extractor: config.json and preprocessor_config.json of a Hugging Face directory -> further arguments of the
        network and of the front end's `features`.
    """

    name: str
    renames: Renames
    needs: tuple[str, ...]
    architecture: Callable[[Tensors], dict[str, Any]]
    convert: Callable[[Tensors], Tensors] = field(default=lambda tensors: tensors)
    preprocessing: dict[str, Any] | None = None
    config: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    extractor: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def rename(self, tensors: Tensors) -> Tensors | None:
        """The tensors under the network's names, or None where a tensor belongs to another layout."""
        renamed: Tensors = {}
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
                return None
        return renamed


def count(tensors: Tensors, pattern: str) -> int:
    """Number of different first groups of `pattern` at the beginning of tensor names, such as of blocks."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})
